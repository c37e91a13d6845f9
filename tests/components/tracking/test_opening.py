"""Training and registration open the same MLflow database: together, on a fresh file, and under one lock."""

from __future__ import annotations

import fcntl
import multiprocessing
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from components.registration.registry import Registry
from components.training.tracking import Tracker

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*noload.*")  # of MLflow's libraries


def _locks_taken(monkeypatch: pytest.MonkeyPatch, opening: Callable[[], object]) -> set[str]:
    taken: set[str] = set()
    real = fcntl.flock

    def record(file, operation: int) -> None:  # type: ignore[no-untyped-def]
        taken.add(file.name)
        real(file, operation)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", record)
        opening()
    return taken


def test_training_and_registration_exclude_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    registry = _locks_taken(monkeypatch, lambda: Registry(uri))
    training = _locks_taken(monkeypatch, lambda: Tracker(uri, tmp_path, {}))
    assert registry & training, f"{registry} and {training} have no lock in common"


def _train(uri: str, scratch: Path, barrier: Barrier) -> None:
    import mlflow  # noqa: F401 - the seconds that it takes come before the barrier

    barrier.wait()
    with Tracker(uri, scratch, {"epochs": 2}):
        pass


def _register(uri: str, _scratch: Path, barrier: Barrier) -> None:
    import mlflow  # noqa: F401

    barrier.wait()
    Registry(uri)


@pytest.mark.long
def test_processes_that_create_the_database_together_all_succeed(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    barrier = context.Barrier(4)
    processes = []
    for number, work in enumerate((_train, _register) * 2):
        scratch = tmp_path / str(number)
        scratch.mkdir()
        processes.append(context.Process(target=work, args=(uri, scratch, barrier)))
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
