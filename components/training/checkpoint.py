"""The state of a training between two epochs, on disk: whole or absent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from components.shared.errors import DamagedArtifactError
from components.shared.files.atomic import whole_file

CHECKPOINT_FILE = "checkpoint.pt"


def save_checkpoint(directory: Path, state: dict[str, Any]) -> None:
    """Write tensors, numbers, strings, lists and dictionaries of them."""
    with whole_file(directory / CHECKPOINT_FILE) as temporary:
        torch.save(state, temporary)


def load_checkpoint(directory: Path) -> dict[str, Any] | None:
    """Read the checkpoint, or None where there is none. Nothing in the file is executed.

    Raises:
        DamagedArtifactError: the file is not a checkpoint.
    """
    path = directory / CHECKPOINT_FILE
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of bytes that are no checkpoint, the reader raises whatever they happen to lead to
        raise DamagedArtifactError(
            f"{path} is not a readable checkpoint ({error}); remove it to start again", file=path.name
        ) from error
    return state
