"""Training on a pretrained backbone: frozen, with a head, or all of it from the head on."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from components.shared.files.atomic import whole_file, write_json
from components.shared.files.layout import HISTORY_FILE, UNTRAINED_FILE
from components.shared.pictures.preprocessing import PreprocessingSpec
from components.shared.vectors.encoder import ENCODER_FILE, OnnxEncoder
from components.training.backbone import build_backbone
from components.training.dataset import Dataset, open_dataset
from components.training.encoder import Encoder, FeatureExtractor
from components.training.export import check_parity, export_encoder
from components.training.features import FeatureComputer, FeatureSets, compute_features
from components.training.graphs import FEATURES_NAME, LinearHead, join_head, with_random_weights
from components.training.head import best_head, fit_frozen, random_head, train_head
from components.training.job import WEIGHTS_FILE, TrainingJob, launch
from components.training.loop import Figures, best_epoch
from components.training.modes import TrainingPlan, choose_mode
from components.training.own_onnx import wrap_own
from components.training.parameters import TrainingParameters
from components.training.precision import choose_device
from components.training.products import Trained
from components.training.tracking import Tracker
from components.training.weights import load_state

_PARITY_IMAGES = 16
_TIMED_IMAGES = 16
_START_FILE = "start.safetensors"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pretrained:
    """A backbone that is ready to compute features.

    Attributes:
        features: graph from pictures to features.
        preprocessing: from a decoded picture to its input.
        architecture: for people.
        encoder: the backbone with an untrained projection; None for an own ONNX file.
        parity: smallest cosine found while wrapping; 1 where it is checked later.
        facts: origin of the weights.
    """

    features: Path
    preprocessing: PreprocessingSpec
    architecture: str
    encoder: Encoder | None
    parity: float
    facts: dict[str, Any]


def train_pretrained(job: TrainingJob, output: Path) -> Trained:
    """Compute features once, choose the way to train, and write encoder, untrained encoder and history into `output`."""
    parameters = job.parameters
    pretrained, dataset, computer = open_pretrained(job)
    plan = _plan(parameters, dataset, computer, can_tune=pretrained.encoder is not None)
    print(plan, flush=True)
    if plan.mode != "frozen":
        dataset.require_pairs()
    views = 0 if plan.mode == "frozen" else parameters.head_views
    features = compute_features(dataset, computer, job.scratch, parameters, views=views)
    head, history = _fit_head(job, plan, dataset, features)
    facts = {"mode": plan.mode, "mode_reason": plan.reason, **pretrained.facts}
    parity = _write_head(pretrained, head, dataset, output)
    if plan.mode == "full":
        assert pretrained.encoder is not None
        history, tuned_parity = _fine_tune(job, pretrained.encoder, history, dataset, output)
        parity = min(parity, tuned_parity)
    best = 0 if plan.mode == "full" else best_head(history)
    _write_untrained(pretrained, computer.width, parameters, output)
    write_json(output / HISTORY_FILE, history)
    return Trained(
        dataset, pretrained.preprocessing, pretrained.architecture, history, parity, facts, plan.minutes, best
    )


def open_pretrained(job: TrainingJob) -> tuple[Pretrained, Dataset, FeatureComputer]:
    """Prepare a job's backbone and read its pictures."""
    pretrained, parameters = _prepare_backbone(job), job.parameters
    threads = parameters.threads or torch.get_num_threads()
    dataset = open_dataset(
        job.catalogue, job.labels, job.scratch, parameters, preprocessing=pretrained.preprocessing, threads=threads
    )
    return pretrained, dataset, FeatureComputer(pretrained.features, threads=parameters.threads)


def _prepare_backbone(job: TrainingJob) -> Pretrained:
    parameters, path = job.parameters, job.scratch / "features.onnx"
    if parameters.onnx:
        own = wrap_own(parameters.onnx, parameters, path)
        return Pretrained(
            path,
            own.preprocessing,
            f"onnx/{Path(parameters.onnx).stem}",
            None,
            own.parity,
            {"weights": own.facts.model_dump()},
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(parameters.seed)
        backbone = build_backbone(parameters)
        encoder = Encoder(backbone, parameters.dimension, "linear")
    if backbone.file_state is not None:
        load_state(encoder, backbone.file_state, parameters.weights)
    if not path.exists():  # a resumed run has it
        export_encoder(FeatureExtractor(encoder), path, output=FEATURES_NAME)
    facts: dict[str, Any] = {"weights": backbone.weights.model_dump() if backbone.weights is not None else None}
    return Pretrained(path, backbone.input.preprocessing, parameters.architecture, encoder, 1.0, facts)


def _plan(
    parameters: TrainingParameters, dataset: Dataset, computer: FeatureComputer, *, can_tune: bool
) -> TrainingPlan:
    rows = dataset.training.rows[:_TIMED_IMAGES]
    pictures = np.array(dataset.training.pixels[rows])
    seconds = computer.seconds_per_picture(pictures) if len(rows) else 0.0
    has_gpu = choose_device(parameters).type == "cuda"
    return choose_mode(parameters, dataset, seconds_per_picture=seconds, has_gpu=has_gpu, can_tune=can_tune)


def _fit_head(
    job: TrainingJob, plan: TrainingPlan, dataset: Dataset, features: FeatureSets
) -> tuple[LinearHead, list[Figures]]:
    frozen, figures = fit_frozen(dataset, features, job.parameters)
    if plan.mode == "frozen":
        return frozen, [{"epoch": 1, **figures}]
    tracked = job.tracking_uri if plan.mode == "head" else ""  # fine-tuning opens a run of its own
    with Tracker(tracked, job.scratch, job.parameters.model_dump(mode="json")) as tracker:
        return train_head(
            dataset, features, frozen, job.parameters, lambda figures: tracker.log(figures, step=int(figures["step"]))
        )


def _write_head(pretrained: Pretrained, head: LinearHead, dataset: Dataset, output: Path) -> float:
    """Write the encoder of backbone and head, check it against torch, and return the smallest cosine."""
    join_head(pretrained.features, head, output / ENCODER_FILE)
    pictures = np.array(dataset.training.pixels[dataset.training.rows[:_PARITY_IMAGES]])
    encoder = pretrained.encoder
    if encoder is None:
        OnnxEncoder(output / ENCODER_FILE).encode(pictures[:1])  # raises where the vectors are not of unit norm
        return pretrained.parity
    set_head(encoder, head)
    _save_weights(encoder, output / WEIGHTS_FILE)
    return check_parity(encoder, output / ENCODER_FILE, pictures).min_cosine


def set_head(encoder: Encoder, head: LinearHead) -> None:
    """Make a head the encoder's projection."""
    with torch.no_grad():
        encoder.projection.weight.copy_(torch.from_numpy(head.weight.T.copy()))
        encoder.projection.bias.copy_(torch.from_numpy(head.bias))


def _write_untrained(pretrained: Pretrained, width: int, parameters: TrainingParameters, output: Path) -> None:
    """Write the same architecture with random weights: the baseline that training from scratch has, too."""
    random = pretrained.features.with_suffix(".random.onnx")
    with_random_weights(pretrained.features, random, parameters.seed)
    join_head(random, random_head(width, parameters.dimension, parameters.seed), output / UNTRAINED_FILE)


def _fine_tune(
    job: TrainingJob, encoder: Encoder, history: list[Figures], dataset: Dataset, output: Path
) -> tuple[list[Figures], float]:
    """Train on from backbone and head; the head alone stays where validation finds fine-tuning no better."""
    start = job.scratch / _START_FILE
    _save_weights(encoder, start)
    tuning = job.model_copy(update={"parameters": job.parameters.for_fine_tuning(), "start": start})
    launch(tuning)
    tuned: list[Figures] = json.loads((job.scratch / HISTORY_FILE).read_text())
    first = history[best_head(history) - 1] | {"epoch": 1}
    joined = [first, *({**figures, "epoch": figures["epoch"] + 1} for figures in tuned)]
    if best_epoch(joined) == 1:
        _log.warning("fine-tuning did not find a better encoder than the head alone, which is kept")
        return joined, 1.0
    encoder.load_state_dict(load_file(job.scratch / WEIGHTS_FILE))
    shutil.copyfile(job.scratch / WEIGHTS_FILE, output / WEIGHTS_FILE)
    export_encoder(encoder, output / ENCODER_FILE)
    pictures = np.array(dataset.training.pixels[dataset.training.rows[:_PARITY_IMAGES]])
    return joined, check_parity(encoder, output / ENCODER_FILE, pictures).min_cosine


def _save_weights(encoder: Encoder, path: Path) -> None:
    with whole_file(path) as temporary:
        save_file({name: value.contiguous() for name, value in encoder.state_dict().items()}, temporary)
