"""The encoder as a torch module: uint8 pictures in, unit vectors out; reduction and normalisation are part of it."""

from __future__ import annotations

import urllib.error
from pathlib import Path
from typing import cast

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.models.vision_transformer import VisionTransformer

from components.shared.errors import ParameterError, ResourceError
from components.shared.pictures.preprocessing import ENCODER_SIDE
from components.training.convolution import convert
from components.training.parameters import TrainingParameters

_RESNETS: dict[str, tuple[type[BasicBlock | Bottleneck], list[int]]] = {
    "resnet10": (BasicBlock, [1, 1, 1, 1]),
    "resnet18": (BasicBlock, [2, 2, 2, 2]),
    "resnet34": (BasicBlock, [3, 4, 6, 3]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
}
_VITS: dict[str, tuple[int, int]] = {"vit_small": (6, 384), "vit_base": (12, 768)}  # heads, width
_TORCHVISION_NAMES = {"resnet18": "resnet18", "resnet34": "resnet34", "resnet50": "resnet50", "vit_base": "vit_b_16"}
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, in [0, 1]


class Encoder(nn.Module):
    """Pictures to unit vectors.

    Args:
        backbone: a network (b, 3, s, s) → (b, w).
        width: w.
        dimension: length d of an embedding.
        head: "linear", or "normed" with batch normalisation after the linear map.
        training_side: s, the pixels per side that the backbone sees.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, backbone: nn.Module, width: int, dimension: int, training_side: int, head: str = "linear"
    ) -> None:
        super().__init__()
        self.training_side = training_side
        self.dimension = dimension
        self.backbone = backbone
        self.projection = nn.Linear(width, dimension, bias=False)
        self.norm = nn.BatchNorm1d(dimension) if head == "normed" else nn.Identity()
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1) * 255, persistent=False)
        matrix = _area_matrix(ENCODER_SIDE, training_side) if ENCODER_SIDE % training_side else torch.empty(0)
        self.register_buffer("reduction", matrix, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Embed pictures.

        Args:
            images: (b, 224, 224, 3) uint8 RGB, or smaller ones (b, v, v, 3) that are taken as they are.

        Returns:
            (b, d) float32, rows of unit L2 norm.
        """
        pixels = images.permute(0, 3, 1, 2).float()
        if images.shape[1] == ENCODER_SIDE != self.training_side:
            pixels = self._reduce(pixels)
        features = self.backbone((pixels - self.mean) / self.std)
        return functional.normalize(self.norm(self.projection(features)).float(), dim=1)

    def _reduce(self, pixels: Tensor) -> Tensor:
        if ENCODER_SIDE % self.training_side == 0:
            return functional.avg_pool2d(pixels, ENCODER_SIDE // self.training_side)
        with torch.autocast(pixels.device.type, enabled=False):
            reduction = cast(Tensor, self.reduction)
            return reduction @ pixels @ reduction.T


def build_encoder(parameters: TrainingParameters) -> Encoder:
    """Build the encoder that the parameters name, with initial weights drawn from their seed, or loaded.

    Raises:
        ParameterError: the weights do not exist or do not fit the architecture.
        ResourceError: torchvision's weights cannot be fetched.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(parameters.seed)
        backbone, width = _build_backbone(parameters)
        encoder = Encoder(backbone, width, parameters.dimension, parameters.training_side, parameters.head)
    if parameters.weights.endswith(".safetensors"):
        _load_file(encoder, Path(parameters.weights))
    elif parameters.weights:
        _load_named(encoder, parameters)
    return encoder.to(memory_format=torch.channels_last)


def _build_backbone(parameters: TrainingParameters) -> tuple[nn.Module, int]:
    if parameters.architecture in _RESNETS:
        block, layers = _RESNETS[parameters.architecture]
        network = _ScaledResNet(block, layers, parameters.width, light=parameters.stem == "light")
        return network, network.channels
    heads, width = _VITS[parameters.architecture]
    side = parameters.training_side
    patch = next(p for p in range(1, side + 1) if side % p == 0 and side // p <= 14)
    transformer = VisionTransformer(side, patch, 12, heads, width, 4 * width)
    transformer.heads = nn.Identity()
    return transformer, width


class _ScaledResNet(ResNet):  # type: ignore[misc]  # torchvision is not typed
    """torchvision's ResNet with a multiple of its channels, under the same names, and without its last layer.

    Args:
        block: BasicBlock or Bottleneck.
        layers: blocks of each stage.
        width: multiple of the usual channels.
        light: one 3 × 3 convolution of stride 2 in place of a 7 × 7 one and pooling.

    Attributes:
        channels: of the features, (b, channels).
    """

    def __init__(self, block: type[BasicBlock | Bottleneck], layers: list[int], width: float, *, light: bool) -> None:
        super().__init__(block, [1, 1, 1, 1])
        first = max(8, round(64 * width / 8) * 8)  # processors multiply blocks of 8 and more
        self.inplanes = first
        self.conv1 = nn.Conv2d(3, first, 3 if light else 7, stride=2, padding=1 if light else 3, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        if light:
            self.maxpool = nn.Identity()
        self.layer1 = self._make_layer(block, first, layers[0])
        self.layer2 = self._make_layer(block, 2 * first, layers[1], stride=2)
        self.layer3 = self._make_layer(block, 4 * first, layers[2], stride=2)
        self.layer4 = self._make_layer(block, 8 * first, layers[3], stride=2)
        self.fc = nn.Identity()
        self.channels = 8 * first * block.expansion
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(module, BasicBlock):  # a block begins as the identity: arXiv:1706.02677, section 5.1
                nn.init.zeros_(module.bn2.weight)
            if isinstance(module, Bottleneck):
                nn.init.zeros_(module.bn3.weight)
        convert(self)


def _area_matrix(source: int, target: int) -> Tensor:
    """Return the (target, source) float32 matrix that averages areas when it shrinks a line of pixels; rows sum to 1."""
    edges = torch.linspace(0, source, target + 1, dtype=torch.float64)
    pixels = torch.arange(source, dtype=torch.float64)
    overlap = torch.minimum(edges[1:, None], pixels + 1) - torch.maximum(edges[:-1, None], pixels)
    return (overlap.clamp(min=0) * target / source).float()


def _load_file(encoder: Encoder, path: Path) -> None:
    """Load an encoder's or, under torchvision's names, a backbone's weights."""
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ParameterError(f"weights: {path} is not a readable .safetensors file ({error})") from error
    module: nn.Module = encoder if any(name.startswith("backbone.") for name in state) else encoder.backbone
    _load(module, state, str(path))


def _load_named(encoder: Encoder, parameters: TrainingParameters) -> None:
    name = _TORCHVISION_NAMES.get(parameters.architecture)
    known = [w.name for w in torchvision.models.get_model_weights(name)] if name else []
    if parameters.weights not in known:
        raise ParameterError(
            f"weights: expected a .safetensors file or one of {', '.join(known) or 'none'} for {parameters.architecture}, "
            f"got {parameters.weights!r}"
        )
    try:
        state = torchvision.models.get_model_weights(name)[parameters.weights].get_state_dict(
            progress=False, check_hash=True
        )
    except (urllib.error.URLError, OSError) as error:
        raise ResourceError(
            f"torchvision's weights {parameters.weights} of {name} cannot be fetched from here ({error}); "
            "give them as a local .safetensors file, or leave weights empty to train from scratch"
        ) from error
    _load(encoder.backbone, state, f"{name} {parameters.weights}")


def _load(module: nn.Module, state: dict[str, Tensor], source: str) -> None:
    wanted = module.state_dict()
    state = {name: value for name, value in state.items() if not name.startswith(("fc.", "heads."))}
    wrong = sorted(
        n
        for n in wanted.keys() | state.keys()
        if n not in wanted or n not in state or wanted[n].shape != state[n].shape
    )
    if wrong:
        raise ParameterError(
            f"weights: {source} does not fit the chosen architecture, stem, side and dimension; "
            f"{len(wrong)} tensors differ, for example {wrong[0]}"
        )
    module.load_state_dict(state)
