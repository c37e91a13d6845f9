"""Choice of the way to train, with its reasons, and a forecast of the time before anything starts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from components.training.dataset import Dataset
from components.training.parameters import Mode, TrainingParameters

FULL_PAIRS = 1_000  # query images; with fewer, millions of weights would learn the few pictures by heart
_BACKWARD = 6.0  # a fine-tuning step on a processor, per picture, as a multiple of computing its features by OpenVINO


@dataclass(frozen=True)
class TrainingPlan:
    """A way to train.

    Attributes:
        mode: the way.
        reason: one sentence.
        minutes: forecast by way, as far as it was made.
    """

    mode: Mode
    reason: str
    minutes: dict[str, float]

    def __str__(self) -> str:
        """Return one line for people."""
        times = ", ".join(f"{name} {minutes:.1f} min" for name, minutes in self.minutes.items())
        return f"training mode {self.mode}: {self.reason}" + (f"; forecast: {times}" if times else "")


def needs_features(parameters: TrainingParameters) -> bool:
    """Whether the way to train begins with the features of a pretrained backbone."""
    if parameters.mode == "auto":
        return bool(parameters.onnx) or (parameters.is_timm and bool(parameters.weights))
    return parameters.mode != "scratch"


def choose_mode(
    parameters: TrainingParameters, dataset: Dataset, *, seconds_per_picture: float, has_gpu: bool, can_tune: bool
) -> TrainingPlan:
    """Choose among frozen, head and full; the parameters' own choice stands.

    Args:
        parameters: mode, minutes and the dials that the time depends on.
        dataset: pairs and pictures.
        seconds_per_picture: of computing features, measured on this machine.
        has_gpu: fine-tuning runs there, and is not worth a forecast then.
        can_tune: whether the backbone is a network of ours to train, rather than an ONNX file.
    """
    pictures = len(dataset.training.rows)
    plain = (pictures + len(dataset.validation.rows)) * seconds_per_picture / 60
    head = plain + pictures * parameters.head_views * seconds_per_picture / 60
    queries = min(len(np.unique(dataset.pairs.query)), parameters.pairs_per_epoch)
    full = head + parameters.full_epochs * 2 * queries * _BACKWARD * seconds_per_picture / 60
    minutes = {"frozen": plain, "head": head}
    if can_tune and not has_gpu:
        minutes["full"] = full
    if parameters.mode != "auto":
        return TrainingPlan(parameters.mode, "as asked for", {n: m for n, m in minutes.items() if n == parameters.mode})
    if not dataset.is_labelled:
        return TrainingPlan(
            "frozen", "no label, item, click or category relates two images, so nothing could be learnt", minutes
        )
    if not can_tune:
        return TrainingPlan("head", "an own ONNX encoder is not trained itself", minutes)
    if queries < FULL_PAIRS:
        return TrainingPlan(
            "head", f"{queries} query images are too few to fine-tune on (from {FULL_PAIRS} on)", minutes
        )
    if has_gpu or full <= parameters.minutes:
        return TrainingPlan("full", f"{queries} query images, and " + ("a GPU" if has_gpu else "time enough"), minutes)
    return TrainingPlan(
        "head", f"fine-tuning would take longer than training.minutes ({parameters.minutes:g})", minutes
    )
