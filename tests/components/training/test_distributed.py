from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from components.shared.errors import ResourceError
from components.shared.files.layout import HISTORY_FILE
from components.training.encoder import build_encoder
from components.training.job import WEIGHTS_FILE, TrainingJob, launch
from components.training.parameters import TrainingParameters
from support.factories.basics import make_catalogue
from support.inputs.training_inputs import SMALL, make_labels

# One step of plain SGD from known weights: what the weights move by is the gradient.
ONE_STEP = SMALL.model_dump() | {
    "optimiser": "sgd",
    "learning_rate": 1.0,
    "weight_decay": 0.0,
    "gradient_norm": 1e6,
    "average_decay": 0.0,
    "precision": "fp32",
    "epochs": 1,
    "batch_pairs": 12,
}


@pytest.fixture(autouse=True)
def small_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_two_processes_under_torchrun_have_loss_gradients_and_statistics_of_one(tmp_path: Path) -> None:
    catalogue = make_catalogue(tmp_path, items=8, views=3)
    labels = make_labels(tmp_path, catalogue)
    found = []
    for processes in (1, 2):
        parameters = TrainingParameters.model_validate(ONE_STEP | {"processes": processes})
        scratch = tmp_path / f"scratch-{processes}"
        scratch.mkdir()
        launch(TrainingJob(catalogue=catalogue, labels=labels, scratch=scratch, tracking_uri="", parameters=parameters))
        (figures,) = json.loads((scratch / HISTORY_FILE).read_text())
        found.append((figures["loss"], load_file(scratch / WEIGHTS_FILE)))
    (loss, weights), (other_loss, other_weights) = found
    assert other_loss == pytest.approx(loss, rel=1e-5)
    before = build_encoder(TrainingParameters.model_validate(ONE_STEP)).state_dict()
    assert weights.keys() == other_weights.keys() == before.keys()
    moved = {name: (weights[name] - before[name]).float() for name in weights}
    largest = max(float(value.abs().max()) for value in moved.values())
    for name, value in moved.items():
        other = (other_weights[name] - before[name]).float()
        assert torch.allclose(other, value, rtol=1e-3, atol=1e-5 * largest), name
    assert float(moved["projection.weight"].abs().max()) > 1e-3
    assert float(moved["backbone.bn1.running_mean"].abs().max()) > 1e-3


@pytest.mark.long
def test_failed_process_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    parameters = SMALL.model_copy(update={"processes": 2})
    job = TrainingJob(
        catalogue=tmp_path / "none", labels=tmp_path, scratch=tmp_path, tracking_uri="", parameters=parameters
    )
    with pytest.raises(ResourceError, match="exit code 1"):
        launch(job)
