from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import components.training.loop as module
from components.shared.errors import DamagedArtifactError, ParameterError
from components.training.checkpoint import CHECKPOINT_FILE
from components.training.distributed import Group
from components.training.loop import Training, best_epoch
from components.training.parameters import TrainingParameters
from support.inputs.training_inputs import SMALL, make_dataset

DATASET = make_dataset()


def with_(**changes: object) -> TrainingParameters:
    return TrainingParameters.model_validate(SMALL.model_dump() | changes)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


EVERYTHING = with_(
    epochs=4,
    start_side=32,
    training_side=40,
)


@pytest.mark.parametrize(
    "parameters",
    [pytest.param(with_(epochs=4), id="plain", marks=pytest.mark.long), pytest.param(EVERYTHING, id="everything")],
)
def test_interrupted_training_ends_in_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parameters: TrainingParameters
) -> None:
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole = Training(DATASET, parameters, tmp_path / "whole", Group())
    expected = whole.run()
    monkeypatch.setattr(module, "CHECKPOINT_INTERVAL_SECONDS", 0.0)
    for kill_at in (2, 5, 8):  # steps of one process: within an epoch, at its end, in a later one
        part = Training(DATASET, parameters, tmp_path / "parts", Group())
        real, steps = part._step, iter(range(kill_at))

        def step(*arguments, real=real, steps=steps):  # type: ignore[no-untyped-def]
            if next(steps, None) is None:
                raise KeyboardInterrupt
            return real(*arguments)

        monkeypatch.setattr(part, "_step", step)
        try:
            part.run()
        except KeyboardInterrupt:
            continue
    resumed = Training(DATASET, parameters, tmp_path / "parts", Group())
    received = resumed.run()
    assert resumed.history == whole.history
    assert expected.keys() == received.keys()
    assert all(torch.equal(expected[name], received[name]) for name in expected)


def test_finished_training_is_not_trained_again(tmp_path: Path) -> None:
    first = Training(DATASET, SMALL, tmp_path, Group())
    weights = first.run()
    calls: list[object] = []
    again = Training(DATASET, SMALL, tmp_path, Group())
    received = again.run(lambda *arguments: calls.append(arguments))
    assert all(torch.equal(value, received[name]) for name, value in weights.items())
    assert not calls


def test_learns(tmp_path: Path) -> None:
    training = Training(DATASET, with_(epochs=6, batch_pairs=12, objective="each"), tmp_path, Group())
    training.run()
    losses = [figures["loss"] for figures in training.history]
    assert losses[-1] < 0.8 * losses[0]
    assert max(figures["validation_hit_rate_at_1"] for figures in training.history) > 0.6


def test_stops_when_validation_gets_no_better(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = iter([0.5, 0.7, 0.7, 0.6, 0.6, 0.6, 0.9])
    training = Training(DATASET, with_(epochs=7, patience=2), tmp_path, Group())
    names = ("validation_hit_rate_at_1", "validation_mean_average_precision")
    weights = []

    def validate() -> dict[str, float]:
        weights.append(training._exported().state_dict()["projection.weight"].clone())
        return dict.fromkeys(names, next(rates))

    monkeypatch.setattr(training, "_validate", validate)
    best = training.run()
    assert len(training.history) == 5  # the best is the third: as good as the second, and trained for longer
    assert best_epoch(training.history) == 3
    assert torch.equal(best["projection.weight"], weights[2])


def test_best_epoch_without_validation_is_the_last() -> None:
    assert best_epoch([{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": 2.0}]) == 2


def test_damaged_checkpoint_is_named_and_nothing_in_it_is_run(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT_FILE).write_bytes(b"half a checkpoint")
    with pytest.raises(DamagedArtifactError, match="remove it"):
        Training(DATASET, SMALL, tmp_path, Group())
    torch.save({"epoch": np.random.default_rng}, tmp_path / CHECKPOINT_FILE)
    with pytest.raises(DamagedArtifactError, match="remove it"):
        Training(DATASET, SMALL, tmp_path, Group())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpu_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="found none"):
        Training(DATASET, with_(device="cuda"), tmp_path, Group())
