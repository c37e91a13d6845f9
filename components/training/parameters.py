"""Dials of contrastive training."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Architecture = Literal["resnet10", "resnet18", "resnet34", "resnet50", "vit_small", "vit_base"]


class TrainingParameters(BaseModel):
    """Parameters of the training step: with catalogue and labels they determine the encoder.

    One epoch shows every query image that has a pair once, with one of its positives drawn by weight.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="seed of initial weights, batches and augmentation")

    architecture: Architecture = Field(
        default="resnet18", description="backbone; resnet10 has one block per stage instead of ResNet-18's two"
    )
    stem: Literal["standard", "light"] = Field(
        default="standard",
        description="first layers of a ResNet: 7x7 convolution and pooling (4x smaller), or 3x3 convolution (2x smaller)",
    )
    width: float = Field(
        default=1.0,
        ge=0.125,
        le=4,
        description="channels of a ResNet as a multiple of the usual; the cost grows with its square",
    )
    head: Literal["linear", "normed"] = Field(
        default="normed",
        description="projection to the embedding: a linear map, or one followed by batch normalisation",
    )
    dimension: int = Field(default=128, ge=8, le=2048, description="length d of an embedding")
    weights: str = Field(
        default="",
        max_length=4096,
        description='"" from scratch, a torchvision weights enum name, or a .safetensors file',
    )
    training_side: int = Field(
        default=112, ge=32, le=224, description="pixels per side that the backbone sees; the graph reduces 224 to it"
    )
    start_side: int = Field(
        default=0,
        ge=0,
        le=224,
        description="pixels per side of the first epochs' views; 0 = training_side. ResNets only",
    )
    final_side: int = Field(
        default=0,
        ge=0,
        le=224,
        description="pixels per side of the last epochs' views; 0 = training_side. ResNets only",
    )
    growth_share: float = Field(default=0.7, gt=0, le=1, description="share of the epochs over which views grow")
    fit: Literal["pad", "crop", "stretch"] = Field(default="pad", description="how a picture is brought to a square")
    pad_level: int = Field(default=255, ge=0, le=255, description="grey level of the padding")

    epochs: int = Field(default=30, ge=1, le=100_000, description="passes over the query images")
    patience: int = Field(
        default=0,
        ge=0,
        le=100_000,
        description="stop after this many epochs without a better validation; 0 never stops",
    )
    batch_pairs: int = Field(
        default=64, ge=1, le=1_048_576, description="pairs of one step over all processes; twice as many views"
    )
    chunk_images: int = Field(
        default=0,
        ge=0,
        le=1_048_576,
        description="views of one forward pass when a batch is too big for memory; 0 = all",
    )
    pairs_per_epoch: int = Field(
        default=200_000, ge=1, description="pairs per epoch at most; a larger catalogue is sampled"
    )
    max_images: int = Field(
        default=200_000,
        ge=2,
        description="training images kept decoded on disk (150 kB each); more are sampled by item",
    )
    max_validation_images: int = Field(
        default=4_000, ge=0, description="validation images to watch; more are sampled by item"
    )
    validation_interval: int = Field(
        default=1, ge=1, le=1000, description="epochs between validations; the last epoch is always validated"
    )

    objective: Literal["multiple", "each", "single"] = Field(
        default="each",
        description="multiple: every relevant view of the batch shares the anchor's probability (SupCon); each: every relevant "
        "view alone against the negatives; single: only the partner against the negatives",
    )
    temperature: float = Field(default=0.1, ge=0.005, le=10, description="temperature of the contrastive loss")
    queue: int = Field(
        default=0, ge=0, le=4_194_304, description="embeddings of earlier batches to contrast with; 0 = none"
    )
    queue_encoder: Literal["current", "momentum"] = Field(
        default="current",
        description="source of the embeddings in the queue: the encoder itself (XBM) or its averaged weights (MoCo)",
    )
    queue_start_epoch: int = Field(default=1, ge=0, le=100_000, description="first epoch that contrasts with the queue")
    hard_negative_share: float = Field(
        default=0.0,
        ge=0,
        le=0.9,
        description="share of a batch made of mined neighbours that are not relevant to its queries",
    )
    hard_negative_neighbours: int = Field(
        default=10, ge=1, le=1000, description="nearest non-relevant images kept per image"
    )
    hard_negative_interval: int = Field(default=5, ge=1, le=1000, description="epochs between two minings")

    optimiser: Literal["adamw", "sgd"] = Field(
        default="sgd", description="SGD with Nesterov momentum 0.9, or AdamW (better for ViTs, at a rate near 0.001)"
    )
    learning_rate: float = Field(default=0.1, gt=0, le=10, description="peak learning rate")
    weight_decay: float = Field(
        default=5e-4, ge=0, le=1, description="decay of weight matrices (not of biases and norms)"
    )
    warm_up_share: float = Field(
        default=0.05, ge=0, le=0.5, description="share of all steps with a growing learning rate"
    )
    gradient_norm: float = Field(default=5.0, gt=0, le=1e6, description="gradients are scaled down to this norm")
    average_decay: float = Field(
        default=0.995,
        ge=0,
        lt=1,
        description="decay per step of the averaged weights that are validated and exported; 0 = none",
    )

    crop_area: float = Field(default=0.3, gt=0, le=1, description="smallest share of the picture that a view shows")
    rotation_degrees: float = Field(default=10.0, ge=0, le=180, description="largest rotation of a view, either way")
    flip: float = Field(default=0.5, ge=0, le=1, description="probability of a mirrored view")
    colour: float = Field(
        default=0.4, ge=0, le=1, description="strength of brightness, contrast and saturation changes"
    )
    hue: float = Field(default=0.05, ge=0, le=0.5, description="largest rotation of the hue, in turns")
    grey: float = Field(default=0.1, ge=0, le=1, description="probability of a view without colour")
    blur: float = Field(default=0.1, ge=0, le=1, description="probability of a blurred view")
    erase: float = Field(default=0.2, ge=0, le=1, description="probability of a view with a covered rectangle")

    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="auto takes bf16 where the processor multiplies it in hardware"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto takes a GPU where there is one")
    processes: int = Field(default=1, ge=1, le=64, description="processes of torchrun on this machine, one per GPU")
    threads: int = Field(default=0, ge=0, le=1024, description="threads per process; 0 leaves the choice to torch")

    @model_validator(mode="after")
    def _check(self) -> TrainingParameters:
        if self.queue and self.queue_encoder == "momentum" and not self.average_decay:
            raise ValueError("queue_encoder momentum needs averaged weights: set average_decay above 0")
        if self.architecture.startswith("vit") and (self.stem != "standard" or self.width != 1):
            raise ValueError("stem light and width are for ResNets only: set stem to standard and width to 1")
        if self.architecture.startswith("vit") and (self.start_side or self.final_side):
            raise ValueError("start_side and final_side are for ResNets only: set both to 0")
        if any(0 < side < 32 for side in (self.start_side, self.final_side)):
            raise ValueError("start_side and final_side must be 0 or at least 32")
        if self.batch_pairs % self.processes:
            raise ValueError(f"batch_pairs {self.batch_pairs} must be a multiple of processes {self.processes}")
        return self

    def view_side(self, epoch: int) -> int:
        """Return the pixels per side of the views of an epoch counted from 0; a multiple of 8 while they grow."""
        first, last = self.start_side or self.training_side, self.final_side or self.training_side
        done = min(1.0, epoch / max(1.0, self.growth_share * self.epochs))
        return last if done == 1 or first == last else round((first + (last - first) * done) / 8) * 8
