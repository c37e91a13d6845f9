from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from components.shared.errors import ParameterError, ResourceError
from components.training.tracking import EXPERIMENT, Tracker

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore:.*noload.*"
)  # of MLflow and its libraries


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def runs(uri: str) -> list:  # type: ignore[type-arg]
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def test_records_parameters_figures_and_the_end(tmp_path: Path, uri: str) -> None:
    with Tracker(uri, tmp_path, {"epochs": 2, "objective": "multiple"}) as tracker:
        for epoch in (1, 2):
            tracker.log({"loss": 3.0 / epoch, "validation_hit_rate_at_1": 0.5}, step=epoch)
    (run,) = runs(uri)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"epochs": "2", "objective": "multiple"}
    assert run.data.metrics == {"loss": 1.5, "validation_hit_rate_at_1": 0.5}
    history = MlflowClient(tracking_uri=uri).get_metric_history(run.info.run_id, "loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 3.0), (2, 1.5)]
    assert run.info.artifact_uri.startswith((tmp_path / "mlartifacts").as_uri())


def test_failure_and_interruption_end_the_run(tmp_path: Path, uri: str) -> None:
    for name, error, status in (("a", ValueError, "FAILED"), ("b", KeyboardInterrupt, "KILLED")):
        (tmp_path / name).mkdir()
        with pytest.raises(error), Tracker(uri, tmp_path / name, {}):
            raise error
        assert runs(uri)[0].info.status == status


def _die(uri: str, scratch: Path) -> None:
    with Tracker(uri, scratch, {"epochs": 2}) as tracker:
        tracker.log({"loss": 3.0}, step=1)
        os.kill(os.getpid(), signal.SIGKILL)


def test_killed_training_goes_on_in_its_run_and_ends_it(tmp_path: Path, uri: str) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_die, args=(uri, tmp_path))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    (run,) = runs(uri)
    assert run.info.status == "RUNNING"
    with Tracker(uri, tmp_path, {"epochs": 2}) as tracker:
        tracker.log({"loss": 2.0}, step=2)
    (again,) = runs(uri)
    assert (again.info.run_id, again.info.status) == (run.info.run_id, "FINISHED")
    history = MlflowClient(tracking_uri=uri).get_metric_history(run.info.run_id, "loss")
    assert [metric.value for metric in history] == [3.0, 2.0]


def test_a_run_that_someone_else_opened_is_used_and_left_open(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Tracker(uri, tmp_path / "first", {}):
        pass
    client = MlflowClient(tracking_uri=uri)
    run = client.create_run("0")
    monkeypatch.setenv("MLFLOW_RUN_ID", run.info.run_id)
    with Tracker(uri, tmp_path / "second", {"epochs": 2}) as tracker:
        tracker.log({"loss": 2.0}, step=1)
    found = client.get_run(run.info.run_id)
    assert found.info.status == "RUNNING"
    assert found.data.metrics == {"loss": 2.0}


def test_figures_wait_while_the_server_is_away(tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Tracker(uri, tmp_path, {}) as tracker:
        real = tracker._client.log_batch

        def away(*_: object, **__: object) -> None:
            raise ConnectionError("no route")

        monkeypatch.setattr(tracker._client, "log_batch", away)
        tracker.log({"loss": 3.0}, step=1)
        monkeypatch.setattr(tracker._client, "log_batch", real)
        tracker.log({"loss": 2.0}, step=2)
    history = MlflowClient(tracking_uri=uri).get_metric_history(runs(uri)[0].info.run_id, "loss")
    assert [metric.value for metric in history] == [3.0, 2.0]


def test_figures_that_never_arrive_are_an_error(tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> None:
        raise ConnectionError("no route")

    tracker = Tracker(uri, tmp_path, {})
    with pytest.raises(ResourceError, match="the training itself is kept"), tracker:
        _log_in_vain(tracker, monkeypatch, away)


def _log_in_vain(tracker: Tracker, monkeypatch: pytest.MonkeyPatch, away: Callable[..., None]) -> None:
    monkeypatch.setattr(tracker._client, "log_batch", away)
    tracker.log({"loss": 3.0}, step=1)


def test_unusable_address_is_an_error_and_none_records_nothing(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="expected sqlite:///"):
        Tracker("nowhere://x", tmp_path, {})
    with Tracker("", tmp_path, {"epochs": 2}) as tracker:
        tracker.log({"loss": 3.0}, step=1)
    assert list(tmp_path.iterdir()) == []
