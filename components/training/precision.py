"""Which device trains, and whether bf16 pays there."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

from components.shared.errors import ParameterError
from components.training.parameters import TrainingParameters


def choose_device(parameters: TrainingParameters, rank: int = 0) -> torch.device:
    """Return the device of a process.

    Raises:
        ParameterError: a GPU was asked for and there is none.
    """
    if parameters.device == "cuda" and not torch.cuda.is_available():
        raise ParameterError("device: expected a GPU for cuda, found none; set device to auto or cpu")
    if parameters.device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", rank % torch.cuda.device_count())


def choose_type(parameters: TrainingParameters, device: torch.device) -> torch.dtype:
    """Return bfloat16 where it was asked for or the hardware multiplies it, else float32.

    The choice reads the processor's abilities rather than a clock: on a loaded machine a race could end either way, and
    a rerun would then train another encoder.
    """
    if parameters.precision != "auto":
        return torch.bfloat16 if parameters.precision == "bf16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if fast else torch.float32


def mixed(device: torch.device, kind: torch.dtype) -> AbstractContextManager[None]:
    """Return the context in which the encoder runs in `kind` where that is safe."""
    return torch.autocast(device.type, kind, enabled=kind is not torch.float32)
