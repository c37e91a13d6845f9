"""Draws the report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.evaluation.gallery import Gallery
from components.evaluation.gate import Decision
from components.evaluation.measurement import Outcome
from components.evaluation.parameters import EvaluationParameters
from components.evaluation.results import Results
from components.shared.encoder import EncoderSpec
from components.shared.files import sha256_of, whole_file
from components.shared.labels import LabelsSpec

TEMPLATE = Path(__file__).parent / "report.html.j2"


@dataclass(frozen=True)
class ReportInputs:
    """Everything the report shows."""

    gallery: Gallery
    outcomes: dict[str, Outcome]
    results: Results
    decision: Decision
    metrics: dict[str, Any]
    encoder: EncoderSpec
    labels: LabelsSpec
    catalogue_directory: Path
    encoder_directory: Path
    embeddings_directory: Path
    index_directory: Path
    titles: dict[str, str]
    parameters: EvaluationParameters


def template_digest() -> str:
    """Return the digest of the template: a page depends on it as it does on code."""
    return sha256_of(TEMPLATE)


def write_report(path: Path, inputs: ReportInputs) -> None:
    """Write the page."""
    with whole_file(path) as temporary:
        temporary.write_text("<!doctype html><title>Evaluation</title>")
