"""The training step: catalogue and labels in, an encoder out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file

from components.shared.errors import ParameterError
from components.shared.files.artifacts import Artifact, open_artifact
from components.shared.files.atomic import sha256_of
from components.shared.files.layout import HISTORY_FILE, UNTRAINED_FILE
from components.shared.files.workspace import Workspace
from components.shared.vectors.encoder import ENCODER_FILE, write_encoder_spec
from components.training.dataset import Dataset, preprocessing_of
from components.training.encoder import Encoder, build_encoder
from components.training.export import Parity, check_parity, export_encoder
from components.training.job import WEIGHTS_FILE, TrainingJob, launch, open_images
from components.training.loop import best_epoch
from components.training.parameters import TrainingParameters
from components.training.runtime_choice import choose_runtime

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
        destination: where encoder.onnx (perhaps encoder.int8.onnx), encoder.json, untrained.onnx, weights.safetensors and
            history.json go.
        workspace: where unfinished work is kept.
        tracking_uri: MLflow tracking address; "" trains without.
        parameters: all dials.

    Raises:
        NoPositivePairError: there is nothing to learn from.
        ParameterError: the initial weights do not exist or do not fit.
    """
    open_artifact(catalogue, "catalogue")
    open_artifact(labels, "labelling")
    inputs: dict[str, Path | str] = {"catalogue": catalogue, "labels": labels, "weights": _digest(parameters.weights)}
    with Workspace(workspace).step("training", inputs=inputs, parameters=parameters) as work:
        if not work.is_finished:
            job = TrainingJob(
                catalogue=catalogue,
                labels=labels,
                scratch=work.scratch,
                tracking_uri=tracking_uri,
                parameters=parameters,
            )
            dataset = open_images(job)
            launch(job)
            work.finish(_hand_on(job, dataset, work.output))
        return work.publish(destination)


def _hand_on(job: TrainingJob, dataset: Dataset, output: Path) -> dict[str, Any]:
    """Write everything that the next steps need, and return the summary."""
    parameters = job.parameters
    encoder = build_encoder(parameters)
    _export(encoder, output / UNTRAINED_FILE, dataset)
    encoder.load_state_dict(load_file(job.scratch / WEIGHTS_FILE))
    parity = _export(encoder, output / ENCODER_FILE, dataset)
    measured = choose_runtime(output, dataset, threads=parameters.threads)
    for name in (WEIGHTS_FILE, HISTORY_FILE):
        shutil.copyfile(job.scratch / name, output / name)
    history = json.loads((output / HISTORY_FILE).read_text())
    best = best_epoch(history)
    summary = {
        "architecture": parameters.architecture,
        "epochs": len(history),
        "best_epoch": best,
        **{name: value for name, value in history[best - 1].items() if name.startswith("validation")},
        "training_images": len(dataset.training.rows),
        "validation_images": len(dataset.validation.rows),
        "unusable_images": dataset.training.unusable + dataset.validation.unusable,
        "pairs": len(dataset.pairs),
        "pairs_without_image": dataset.pairs_without_image,
    }
    spec = write_encoder_spec(
        output,
        architecture=parameters.architecture,
        dimension=parameters.dimension,
        preprocessing=preprocessing_of(parameters),
        runtime=measured.choice,
        training={"parameters": parameters.model_dump(mode="json"), **summary},
    )
    return {
        **summary,
        "space_id": spec.space_id,
        "parity_min_cosine": round(parity.min_cosine, 6),
        "runtime": f"{measured.choice.engine}-{measured.choice.precision}",
        "cpu_ms_per_image": measured.cpu_ms_per_image,
    }


def _export(encoder: Encoder, path: Path, dataset: Dataset) -> Parity:
    export_encoder(encoder, path)
    return check_parity(encoder, path, np.array(dataset.training.pixels[dataset.training.rows[:_PARITY_IMAGES]]))


def _digest(weights: str) -> str:
    """Return what the initial weights are: a file counts by its contents."""
    if not weights.endswith(".safetensors"):
        return weights
    try:
        return sha256_of(Path(weights))
    except OSError as error:
        raise ParameterError(f"weights: expected a .safetensors file, {weights} cannot be read ({error})") from error
