"""Specs: small JSON files inside artifacts that describe the files beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from components.shared.errors import ContractError, UnfinishedArtifactError
from components.shared.files.atomic import write_json

Spec = TypeVar("Spec", bound=BaseModel)


def write_spec(path: Path, spec: BaseModel) -> None:
    """Write a spec, all or nothing."""
    write_json(path, spec.model_dump(mode="json"))


def read_spec(path: Path, model: type[Spec], *, subject: str, step: str) -> Spec:
    """Read a spec.

    `subject` and `step`, the spec's subject and the step that writes it, are for messages.

    Raises:
        UnfinishedArtifactError: the file is missing.
        ContractError: the spec is unreadable, or of a newer version.
    """
    try:
        return model.model_validate(json.loads(path.read_bytes()))
    except FileNotFoundError as error:
        raise UnfinishedArtifactError(f"{path} is missing: the {step} step did not finish; run it again") from error
    except (OSError, ValueError, RecursionError, ValidationError) as error:
        raise ContractError(f"{path} does not describe {subject} ({error}); run the {step} step again") from error
