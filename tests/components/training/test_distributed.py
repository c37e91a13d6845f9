from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import training_process
from factories import make_catalogue
from safetensors.torch import load_file
from training_inputs import SMALL, make_labels

from components.shared.errors import ResourceError
from components.training.distributed import Group
from components.training.job import WEIGHTS_FILE, TrainingJob, launch
from components.training.parameters import TrainingParameters

TESTS = Path(training_process.__file__).parent


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), str(TESTS.parent)]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_two_processes_have_loss_gradients_and_statistics_of_one(tmp_path: Path) -> None:
    architectures = ["resnet10", "vit_small"]  # with and without batch statistics
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run(
        [*command, training_process.__file__, str(tmp_path), *architectures], check=True, capture_output=True
    )
    for architecture in architectures:
        two = torch.load(tmp_path / f"{architecture}.pt", weights_only=True)
        parameters = SMALL.model_copy(update={"architecture": architecture, "precision": "fp32"})
        one = training_process.gradients_of_one_batch(tmp_path / "one", parameters, Group())
        assert two.keys() == one.keys()
        assert float(two["loss"]) == pytest.approx(float(one["loss"]), rel=1e-5)
        scale = max(float(value.abs().max()) for name, value in one.items() if name.startswith("gradient"))
        for name, value in one.items():
            assert torch.allclose(two[name], value, rtol=1e-3, atol=1e-4 * scale), name


def test_step_launched_under_torchrun_learns_what_one_process_learns(tmp_path: Path) -> None:
    catalogue = make_catalogue(tmp_path, items=8, views=3)
    labels = make_labels(tmp_path, catalogue)
    found = []
    for processes in (1, 2):
        parameters = TrainingParameters.model_validate(
            SMALL.model_dump()
            | {"processes": processes, "precision": "fp32", "optimiser": "sgd", "epochs": 1, "batch_pairs": 4}
        )
        scratch = tmp_path / f"scratch{processes}"
        scratch.mkdir()
        launch(TrainingJob(catalogue=catalogue, labels=labels, scratch=scratch, tracking_uri="", parameters=parameters))
        found.append(load_file(scratch / WEIGHTS_FILE))
    one, two = found
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert torch.allclose(two[name].float(), value.float(), rtol=1e-3, atol=1e-4), name


@pytest.mark.long
def test_failed_process_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    parameters = SMALL.model_copy(update={"processes": 2})
    job = TrainingJob(
        catalogue=tmp_path / "none", labels=tmp_path, scratch=tmp_path, tracking_uri="", parameters=parameters
    )
    with pytest.raises(ResourceError, match="exit code 1"):
        launch(job)
