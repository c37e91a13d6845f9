"""Backbones: networks from pictures to features, with the input that their weights expect."""

from __future__ import annotations

from dataclasses import dataclass

import timm
import torch
from timm.data import resolve_model_data_config
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.models.vision_transformer import VisionTransformer

from components.shared.errors import ParameterError
from components.shared.pictures.preprocessing import Interpolation, PreprocessingSpec
from components.training.convolution import convert
from components.training.parameters import DEFAULT_ARCHITECTURE, PUBLISHED_WEIGHTS, TIMM, TrainingParameters
from components.training.weights import (
    State,
    WeightsFacts,
    fetch_published,
    fetch_torchvision,
    is_file,
    load_state,
    read_file,
)

OWN_SIDE = 224  # of the input of this project's own networks, whose graphs reduce it
_RESNETS: dict[str, tuple[type[BasicBlock | Bottleneck], list[int]]] = {
    "resnet10": (BasicBlock, [1, 1, 1, 1]),
    "resnet18": (BasicBlock, [2, 2, 2, 2]),
    "resnet34": (BasicBlock, [3, 4, 6, 3]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
}
_VITS: dict[str, tuple[int, int]] = {"vit_small": (6, 384), "vit_base": (12, 768)}  # heads, width
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_INTERPOLATIONS: dict[str, Interpolation] = {"bicubic": "bicubic", "bilinear": "bilinear"}


@dataclass(frozen=True)
class InputFormat:
    """The pictures that a backbone expects.

    Attributes:
        preprocessing: from a decoded picture to the encoder's input.
        seen_side: pixels per side that the network itself sees; the graph reduces the input to it.
        mean, std: per channel, grey levels 0–255; pixels are normalised by them inside the graph.
    """

    preprocessing: PreprocessingSpec
    seen_side: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class Backbone:
    """A network from normalised pixels to features.

    Attributes:
        network: (b, 3, s, s) → (b, w).
        width: w.
        input: the pictures that it expects.
        weights: origin of its initial weights; None: random.
        file_state: tensors of a whole encoder, where `weights` is a file of this project's training step.
    """

    network: nn.Module
    width: int
    input: InputFormat
    weights: WeightsFacts | None = None
    file_state: State | None = None


def input_format(parameters: TrainingParameters) -> InputFormat:
    """Return the input that the parameters' backbone expects, without building it with weights.

    Raises:
        ParameterError: timm has no such network.
    """
    fit, pad = parameters.fit, parameters.pad_level
    if not parameters.is_timm:
        side = parameters.side or OWN_SIDE
        return InputFormat(
            PreprocessingSpec(side=side, fit=fit, pad_level=pad),
            min(side, parameters.training_side),
            _levels(_IMAGENET_MEAN),
            _levels(_IMAGENET_STD),
        )
    with torch.device("meta"):
        network = _timm_network(parameters, side=0)
    configuration = resolve_model_data_config(network)
    side = parameters.side or int(configuration["input_size"][1])
    spec = PreprocessingSpec(
        side=side,
        fit=fit,
        pad_level=pad,
        crop=float(configuration["crop_pct"]) if fit == "crop" else 1.0,
        interpolation=_INTERPOLATIONS.get(str(configuration["interpolation"]), "area"),
    )
    if parameters.architecture == DEFAULT_ARCHITECTURE and parameters.weights == PUBLISHED_WEIGHTS:
        # The package's weights were trained on (x − 127) / 128; areas are averaged since it is faster and no worse.
        return InputFormat(spec.model_copy(update={"interpolation": "area"}), side, (127.0,) * 3, (128.0,) * 3)
    return InputFormat(spec, side, _levels(configuration["mean"]), _levels(configuration["std"]))


def build_backbone(parameters: TrainingParameters, *, load: bool = True) -> Backbone:
    """Build the backbone that the parameters name, with weights drawn from torch's current seed, or loaded.

    Args:
        parameters: architecture, side and weights.
        load: False leaves the weights random.

    Raises:
        ParameterError: the architecture is unknown, or the weights do not exist or do not fit.
        ResourceError: the weights cannot be fetched.
    """
    expected = input_format(parameters)
    network, width = _network(parameters, expected)
    weights = parameters.weights
    if not load or not weights or (weights == PUBLISHED_WEIGHTS and not parameters.is_timm):
        return Backbone(network, width, expected)
    if is_file(weights):
        state, facts = read_file(weights)
        if any(name.startswith("backbone.") for name in state):
            return Backbone(network, width, expected, facts, state)
    elif parameters.is_timm:
        if weights != PUBLISHED_WEIGHTS:
            raise ParameterError(
                f"weights: expected {PUBLISHED_WEIGHTS}, a file or nothing for {parameters.architecture}"
            )
        state, facts = fetch_published(parameters.architecture)
    else:
        state, facts = fetch_torchvision(parameters.architecture, weights)
    load_state(network, state, weights)
    return Backbone(network, width, expected, facts)


def _network(parameters: TrainingParameters, expected: InputFormat) -> tuple[nn.Module, int]:
    if parameters.is_timm:
        network = _timm_network(parameters, side=expected.seen_side)
        return network, _width_of(network, expected.seen_side, parameters.architecture)
    if parameters.architecture in _RESNETS:
        block, layers = _RESNETS[parameters.architecture]
        resnet = _ScaledResNet(block, layers, parameters.width, light=parameters.stem == "light")
        return resnet, resnet.channels
    heads, width = _VITS[parameters.architecture]
    side = expected.seen_side
    patch = next(p for p in range(1, side + 1) if side % p == 0 and side // p <= 14)
    transformer = VisionTransformer(side, patch, 12, heads, width, 4 * width)
    transformer.heads = nn.Identity()
    return transformer, width


def _timm_network(parameters: TrainingParameters, *, side: int) -> nn.Module:
    """Build a network of timm without classifier; `side` 0 keeps its own, and others are passed only where they differ."""
    name = parameters.architecture.removeprefix(TIMM)
    if not timm.is_model(name.split(".")[0]):
        near = timm.list_models(f"*{name.split('_')[0]}*")[:5]
        raise ParameterError(
            f"architecture: timm has no network {name!r}" + (f"; near are {', '.join(near)}" if near else "")
        )
    network: nn.Module = timm.create_model(name, pretrained=False, num_classes=0)
    own = int(resolve_model_data_config(network)["input_size"][1])
    if side in {0, own} or not hasattr(network, "patch_embed"):
        return network
    try:
        network = timm.create_model(name, pretrained=False, num_classes=0, img_size=side)
    except (TypeError, AssertionError, ValueError, RuntimeError) as error:
        raise ParameterError(f"side: {name} takes {own} pixels and cannot be built for {side} ({error})") from error
    return network


def _width_of(network: nn.Module, side: int, name: str) -> int:
    """Return the length of the features, by a picture: timm's networks do not all state it alike."""
    was_training = network.training
    try:
        with torch.no_grad():
            features = network.eval()(torch.zeros(1, 3, side, side))
    except (RuntimeError, AssertionError) as error:
        raise ParameterError(f"side: {name} does not take pictures of {side} pixels ({error})") from error
    finally:
        network.train(was_training)
    if not isinstance(features, torch.Tensor) or features.ndim != 2:
        raise ParameterError(f"architecture: {name} does not give one vector a picture; choose another network")
    return int(features.shape[1])


def _levels(values: tuple[float, ...]) -> tuple[float, float, float]:
    red, green, blue = (255 * float(value) for value in values)
    return red, green, blue


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
