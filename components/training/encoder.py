"""The encoder as a torch module: uint8 pictures in, unit vectors out; reduction and normalisation are part of it."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from components.training.backbone import Backbone, build_backbone
from components.training.parameters import TrainingParameters
from components.training.weights import load_state


class Encoder(nn.Module):
    """Pictures to unit vectors.

    Args:
        backbone: the network, and the input that it expects.
        dimension: length d of an embedding.
        head: "linear", or "normed" with batch normalisation after the linear map.

    Attributes:
        side: pixels per side of the input.
        seen_side: pixels per side that the backbone sees.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone, dimension: int, head: str = "linear") -> None:
        super().__init__()
        expected = backbone.input
        self.side, self.seen_side = expected.preprocessing.side, expected.seen_side
        self.dimension = dimension
        self.backbone = backbone.network
        self.projection = nn.Linear(backbone.width, dimension, bias=head == "linear")
        self.norm = nn.BatchNorm1d(dimension) if head == "normed" else nn.Identity()
        self.register_buffer("mean", torch.tensor(expected.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(expected.std).view(1, 3, 1, 1), persistent=False)
        matrix = _area_matrix(self.side, self.seen_side) if self.side % self.seen_side else torch.empty(0)
        self.register_buffer("reduction", matrix, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Embed pictures.

        Args:
            images: (b, side, side, 3) uint8 RGB, or smaller ones (b, v, v, 3) that are taken as they are.

        Returns:
            (b, d) float32, rows of unit L2 norm.
        """
        return functional.normalize(self.norm(self.projection(self.features(images))).float(), dim=1)

    def features(self, images: Tensor) -> Tensor:
        """Return what the backbone makes of pictures, (b, w), before the projection."""
        pixels = images.permute(0, 3, 1, 2).float()
        if images.shape[1] == self.side != self.seen_side:
            pixels = self._reduce(pixels)
        features: Tensor = self.backbone((pixels - self.mean) / self.std)
        return features

    def _reduce(self, pixels: Tensor) -> Tensor:
        if self.side % self.seen_side == 0:
            return functional.avg_pool2d(pixels, self.side // self.seen_side)
        with torch.autocast(pixels.device.type, enabled=False):
            reduction = cast(Tensor, self.reduction)
            return reduction @ pixels @ reduction.T


class FeatureExtractor(nn.Module):
    """An encoder without its projection: uint8 pictures to features."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder, self.side = encoder, encoder.side

    def forward(self, images: Tensor) -> Tensor:
        """Return the (b, w) float32 features of (b, side, side, 3) uint8 pictures."""
        return self.encoder.features(images).float()


def build_encoder(parameters: TrainingParameters, *, load: bool = True) -> Encoder:
    """Build the encoder that the parameters name, with initial weights drawn from their seed, or loaded.

    Args:
        parameters: architecture, weights, head and seed.
        load: False leaves all weights random.

    Raises:
        ParameterError: the weights do not exist or do not fit the architecture.
        ResourceError: the weights cannot be fetched.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(parameters.seed)
        backbone = build_backbone(parameters, load=load)
        encoder = Encoder(backbone, parameters.dimension, parameters.head)
    if backbone.file_state is not None:
        load_state(encoder, backbone.file_state, parameters.weights)
    return encoder.to(memory_format=torch.channels_last)


def _area_matrix(source: int, target: int) -> Tensor:
    """Return the (target, source) float32 matrix that averages areas when it shrinks a line of pixels; rows sum to 1."""
    edges = torch.linspace(0, source, target + 1, dtype=torch.float64)
    pixels = torch.arange(source, dtype=torch.float64)
    overlap = torch.minimum(edges[1:, None], pixels + 1) - torch.maximum(edges[:-1, None], pixels)
    return (overlap.clamp(min=0) * target / source).float()
