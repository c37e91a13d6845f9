"""What every way to train hands on to the description of the encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from components.shared.pictures.preprocessing import PreprocessingSpec
from components.training.dataset import Dataset


@dataclass(frozen=True)
class Trained:
    """A trained encoder, beside the files that were written.

    Attributes:
        dataset: the pictures it was trained and validated on.
        preprocessing: from a decoded picture to its input.
        architecture: for people.
        history: figures of each epoch or validation.
        parity: smallest cosine between the exported file's embeddings and those of the training framework.
        facts: mode, reason, origin of the initial weights; for the release and the report.
        best: entry of the history (from 1) that was kept; 0: the one with the best hit rate.
        forecast_minutes: by way to train; for the summary only, since equal trainings give equal releases.
    """

    dataset: Dataset
    preprocessing: PreprocessingSpec
    architecture: str
    history: list[dict[str, float]]
    parity: float
    facts: dict[str, Any]
    forecast_minutes: dict[str, float]
    best: int = 0
