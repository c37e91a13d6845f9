"""The output of labelling: the pairs to learn from, the judgements to measure by, and the rule for all other images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from components.shared.files.specs import read_spec, write_spec
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
    write_spec(directory / LABELS_FILE, spec)


def read_labels_spec(directory: Path) -> LabelsSpec:
    """Read `labels.json`.

    Raises:
        ContractError: it is missing or unreadable.
    """
    return read_spec(directory / LABELS_FILE, LabelsSpec, subject="labels", step="labelling")
