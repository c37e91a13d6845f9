"""Dials of training."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from components.shared.pictures.preprocessing import LARGEST_SIDE

Mode = Literal["frozen", "head", "full", "scratch"]

TIMM = "timm/"
DEFAULT_ARCHITECTURE = "timm/tf_efficientnet_lite0"
OWN_ARCHITECTURES = ("resnet10", "resnet18", "resnet34", "resnet50", "vit_small", "vit_base")
PUBLISHED_WEIGHTS = "published"

Levels = tuple[float, float, float]
NORMALISATIONS: dict[str, tuple[Levels, Levels]] = {  # mean and standard deviation, grey levels 0-255
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "clip": ((122.7709383, 116.7460125, 104.09373615), (68.5005327, 66.6321579, 70.32316305)),
    "half": ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    "unit": ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),
    "levels": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


class TrainingParameters(BaseModel):
    """Parameters of the training step: with catalogue and labels they determine the encoder.

    One epoch shows every query image that has a pair once, with one of its positives drawn by weight.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="seed of initial weights, batches and augmentation")

    mode: Literal["auto", "frozen", "head", "full", "scratch"] = Field(
        default="auto",
        description="frozen: pretrained features, reduced by PCA; head: a projection trained on pretrained features; full: "
        "fine-tuning that starts from the head; scratch: everything from random weights; auto: by pairs, processor and time",
    )
    minutes: float = Field(
        default=10.0, gt=0, le=100_000, description="training time that mode auto may plan for, by its forecast"
    )
    architecture: str = Field(
        default=DEFAULT_ARCHITECTURE,
        pattern=rf"^({TIMM}[a-z0-9_]+(\.[a-z0-9_]+)?|{'|'.join(OWN_ARCHITECTURES)})$",
        description="backbone: timm/NAME for a network of timm, or one of this project's for training from scratch: "
        f"{', '.join(OWN_ARCHITECTURES)}",
    )
    onnx: str = Field(
        default="",
        max_length=4096,
        description="an image encoder of one's own (.onnx, local or s3://) to use instead of an architecture",
    )
    normalisation: Literal["imagenet", "clip", "half", "unit", "levels"] = Field(
        default="imagenet",
        description="pixels that an own ONNX file expects: imagenet or clip statistics, half: -1 to 1, unit: 0 to 1, levels: "
        "0 to 255; a network of timm has its own",
    )
    side: int = Field(
        default=0,
        ge=0,
        le=LARGEST_SIDE,
        description="pixels per side of the encoder's input, 32 or more; 0 = the one that the weights were trained with",
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
        default=PUBLISHED_WEIGHTS,
        max_length=4096,
        description="initial weights: published (those of timm/NAME; for the default backbone from an installed package, for "
        'others from the hub), a torchvision weights enum name, a .safetensors or .pth file (local or s3://), or "" for none',
    )
    training_side: int = Field(
        default=112,
        ge=32,
        le=LARGEST_SIDE,
        description="pixels per side that a network of this project sees; its graph reduces the input to it",
    )
    start_side: int = Field(
        default=0,
        ge=0,
        le=224,
        description="pixels per side of the first epochs' views; 0 = training_side. Own ResNets only",
    )
    final_side: int = Field(
        default=0,
        ge=0,
        le=224,
        description="pixels per side of the last epochs' views; 0 = training_side. Own ResNets only",
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
        default="multiple",
        description="multiple: every relevant view of the batch shares the anchor's probability (SupCon); each: every relevant "
        "view alone against the negatives; single: only the partner against the negatives",
    )
    temperature: float = Field(default=0.1, ge=0.005, le=10, description="temperature of the contrastive loss")

    category_weight: float = Field(
        default=0.3,
        ge=0,
        le=10,
        description="weight of the second level of relevance (same category, or judged 1) beside the first; 0 = only the first",
    )
    category_temperature: float = Field(
        default=0.1, ge=0.005, le=10, description="temperature of the loss at the second level"
    )

    head_views: int = Field(
        default=2, ge=0, le=32, description="augmented views of each training image whose features the head learns from"
    )
    head_steps: int = Field(default=200, ge=1, le=1_000_000, description="steps that the head is trained for")
    head_pairs: int = Field(
        default=256, ge=2, le=65_536, description="pairs of one step of the head; twice as many views"
    )
    head_learning_rate: float = Field(default=3e-4, gt=0, le=10, description="peak learning rate of the head (AdamW)")
    head_dropout: float = Field(
        default=0.3, ge=0, lt=1, description="share of the features that a step of the head does not see"
    )
    whitening: float | None = Field(
        default=None,
        ge=0,
        le=0.5,
        description="how far PCA evens out the variances of the components: 0 not at all, 0.5 entirely; "
        "null tries 0, 0.25 and 0.5 on the validation images, and takes 0.25 where those cannot tell",
    )

    full_epochs: int = Field(default=6, ge=1, le=100_000, description="passes of mode full over the query images")
    full_learning_rate: float = Field(
        default=3e-4, gt=0, le=10, description="peak learning rate of mode full (AdamW), of the last layers"
    )
    full_layer_decay: float = Field(
        default=0.8, gt=0, le=1, description="learning rate of a group of layers relative to that of the next one"
    )
    full_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="share of the backbone's groups of layers, the last ones, that mode full trains",
    )

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
        if 0 < self.side < 32:
            raise ValueError("side must be 0 or at least 32")
        if self.onnx and self.mode not in {"auto", "frozen", "head"}:
            raise ValueError(
                f"mode {self.mode} trains a network, which an own ONNX file is not: set mode to frozen or head"
            )
        if self.mode in {"frozen", "head"} and not self.onnx and not self.weights:
            raise ValueError(f"mode {self.mode} needs pretrained weights: set weights, or mode to scratch")
        if self.architecture.startswith("vit") and (self.stem != "standard" or self.width != 1):
            raise ValueError("stem light and width are for ResNets only: set stem to standard and width to 1")
        if self.architecture.startswith("vit") and (self.start_side or self.final_side):
            raise ValueError("start_side and final_side are for ResNets only: set both to 0")
        if any(0 < side < 32 for side in (self.start_side, self.final_side)):
            raise ValueError("start_side and final_side must be 0 or at least 32")
        if self.is_timm and (self.start_side or self.final_side or self.stem != "standard" or self.width != 1):
            raise ValueError("stem, width, start_side and final_side are for this project's networks: leave them out")
        if self.batch_pairs % self.processes:
            raise ValueError(f"batch_pairs {self.batch_pairs} must be a multiple of processes {self.processes}")
        return self

    def for_fine_tuning(self) -> TrainingParameters:
        """Return the parameters by which the training loop fine-tunes."""
        changes = {
            "epochs": self.full_epochs,
            "learning_rate": self.full_learning_rate,
            "optimiser": "adamw",
            "weight_decay": 0.05,
            "head": "linear",
        }
        return self.model_copy(update=changes)

    @property
    def is_timm(self) -> bool:
        """Whether the backbone is one of timm's."""
        return self.architecture.startswith(TIMM)

    def view_side(self, epoch: int) -> int:
        """Return the pixels per side of the views of an epoch counted from 0; a multiple of 8 while they grow."""
        first, last = self.start_side or self.training_side, self.final_side or self.training_side
        done = min(1.0, epoch / max(1.0, self.growth_share * self.epochs))
        return last if done == 1 or first == last else round((first + (last - first) * done) / 8) * 8
