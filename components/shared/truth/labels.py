"""The output of labelling: the pairs to learn from, the judgements to measure by, and the rule for all other images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from components.shared.errors import ContractError
from components.shared.files.atomic import write_json
from components.shared.truth.relevance import RelevanceRule

PAIRS_FILE = "pairs.parquet"  # table PAIRS, training images only
JUDGEMENTS_FILE = "judgements.parquet"  # table JUDGEMENTS, all splits
LABELS_FILE = "labels.json"


class LabelsSpec(BaseModel):
    """Origin of the labels.

    Attributes:
        rule: relevance of unjudged images.
        pairs: number of pairs per source.
        judgements: number of human judgements kept, and dropped per reason.
        clicks: figures of the click log: rows, bots, estimated propensities per position and, if the truth is known, the
            true ones and the precision of the mined pairs; None without a log.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    rule: RelevanceRule
    pairs: dict[str, int]
    judgements: dict[str, Any] = {}
    clicks: dict[str, Any] | None = None


def write_labels_spec(directory: Path, spec: LabelsSpec) -> None:
    """Write `labels.json`."""
    write_json(directory / LABELS_FILE, spec.model_dump(mode="json"))


def read_labels_spec(directory: Path) -> LabelsSpec:
    """Read `labels.json`.

    Raises:
        ContractError: it is missing or unreadable.
    """
    path = directory / LABELS_FILE
    try:
        return LabelsSpec.model_validate(json.loads(path.read_text()))
    except (OSError, ValueError, ValidationError) as error:
        raise ContractError(f"{path} does not describe labels ({error}); run the labelling step again") from error
