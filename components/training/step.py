"""The training step: catalogue and labels in, an encoder out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from components.shared.errors import ParameterError
from components.shared.files.artifacts import Artifact, open_artifact
from components.shared.files.atomic import sha256_of
from components.shared.files.layout import HISTORY_FILE, UNTRAINED_FILE
from components.shared.files.workspace import Workspace
from components.shared.vectors.encoder import ENCODER_FILE, write_encoder_spec
from components.training.backbone import input_format
from components.training.dataset import Dataset
from components.training.encoder import Encoder, build_encoder
from components.training.export import Parity, check_parity, export_encoder
from components.training.job import WEIGHTS_FILE, TrainingJob, launch, open_images
from components.training.loop import best_epoch
from components.training.modes import needs_features
from components.training.parameters import TrainingParameters
from components.training.pretrained import train_pretrained
from components.training.products import Trained
from components.training.runtime_choice import choose_runtime
from components.training.weights import is_file

_PARITY_IMAGES = 16


def run(
    *,
    catalogue: Path,
    labels: Path,
    destination: Path,
    workspace: Path,
    tracking_uri: str,
    parameters: TrainingParameters,
) -> Artifact:
    """Train an encoder and export it.

    Args:
        catalogue: output of the catalogue step.
        labels: output of the labelling step.
        destination: where encoder.onnx (perhaps encoder.int8.onnx), encoder.json, untrained.onnx, history.json and, unless
            the encoder is an own ONNX file, weights.safetensors go.
        workspace: where unfinished work is kept.
        tracking_uri: MLflow tracking address; "" trains without.
        parameters: all dials.

    Raises:
        NoPositivePairError: there is nothing to learn from.
        ParameterError: the architecture, the initial weights or the ONNX file do not exist or do not fit.
        ResourceError: published weights cannot be fetched.
    """
    open_artifact(catalogue, "catalogue")
    open_artifact(labels, "labelling")
    inputs: dict[str, Path | str] = {"catalogue": catalogue, "labels": labels}
    inputs |= {"weights": _digest(parameters.weights), "onnx": _digest(parameters.onnx)}
    with Workspace(workspace).step("training", inputs=inputs, parameters=parameters) as work:
        if not work.is_finished:
            if parameters.threads:
                torch.set_num_threads(parameters.threads)
            job = TrainingJob(
                catalogue=catalogue,
                labels=labels,
                scratch=work.scratch,
                tracking_uri=tracking_uri,
                parameters=parameters,
            )
            train = train_pretrained if needs_features(parameters) else _train_from_scratch
            work.finish(_describe(train(job, work.output), job, work.output))
        return work.publish(destination)


def _train_from_scratch(job: TrainingJob, output: Path) -> Trained:
    """Train all layers from random weights, or from a file that was asked for."""
    parameters = job.parameters
    dataset = open_images(job)
    dataset.require_pairs()
    launch(job)
    encoder = build_encoder(parameters)
    _export(encoder, output / UNTRAINED_FILE, dataset)
    encoder.load_state_dict(load_file(job.scratch / WEIGHTS_FILE))
    parity = _export(encoder, output / ENCODER_FILE, dataset)
    for name in (WEIGHTS_FILE, HISTORY_FILE):
        shutil.copyfile(job.scratch / name, output / name)
    return Trained(
        dataset=dataset,
        preprocessing=input_format(parameters).preprocessing,
        architecture=parameters.architecture,
        history=json.loads((output / HISTORY_FILE).read_text()),
        parity=parity.min_cosine,
        facts={"mode": "scratch"},
        forecast_minutes={},
    )


def _describe(trained: Trained, job: TrainingJob, output: Path) -> dict[str, Any]:
    """Choose the runtime, write the encoder's spec and return the summary."""
    parameters, dataset = job.parameters, trained.dataset
    measured = choose_runtime(output, dataset, threads=parameters.threads)
    best = trained.best or best_epoch(trained.history)
    summary = {
        "architecture": trained.architecture,
        **trained.facts,
        "epochs": len(trained.history),
        "best_epoch": best,
        **{name: value for name, value in trained.history[best - 1].items() if name.startswith("validation")},
        "training_images": len(dataset.training.rows),
        "validation_images": len(dataset.validation.rows),
        "unusable_images": dataset.training.unusable + dataset.validation.unusable,
        "pairs": len(dataset.pairs),
        "pairs_without_image": dataset.pairs_without_image,
    }
    spec = write_encoder_spec(
        output,
        architecture=trained.architecture,
        dimension=parameters.dimension,
        preprocessing=trained.preprocessing,
        runtime=measured.choice,
        training={"parameters": parameters.model_dump(mode="json"), **summary},
    )
    return {
        **summary,
        "space_id": spec.space_id,
        "forecast_minutes": {name: round(minutes, 2) for name, minutes in trained.forecast_minutes.items()},
        "parity_min_cosine": round(trained.parity, 6),
        "runtime": f"{measured.choice.engine}-{measured.choice.precision}",
        "cpu_ms_per_image": measured.cpu_ms_per_image,
    }


def _export(encoder: Encoder, path: Path, dataset: Dataset) -> Parity:
    export_encoder(encoder, path)
    return check_parity(encoder, path, np.array(dataset.training.pixels[dataset.training.rows[:_PARITY_IMAGES]]))


def _digest(source: str) -> str:
    """Return what identifies initial weights or a graph: of a local file its contents, otherwise the name."""
    if "://" in source or not (is_file(source) or source.endswith(".onnx")):
        return source
    try:
        return sha256_of(Path(source))
    except OSError as error:
        raise ParameterError(
            f"training: expected a file of weights or a graph, {source} cannot be read ({error})"
        ) from error
