"""Waiting for a run ends when the run does, survives a lost connection, and leaves the run alone on Ctrl-C."""

from __future__ import annotations

import time

import pytest

from pipelines.__main__ import main
from support.servers.kubeflow_server import kubeflow_server

pytestmark = pytest.mark.filterwarnings("ignore")  # kfp's own


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


@pytest.mark.parametrize(
    ("states", "code"),
    [
        (["PENDING", "RUNNING", "SUCCEEDED"], 0),
        (["RUNNING", "FAILED"], 1),
        (["RUNNING", "CANCELING", "CANCELED"], 6),
        (["PAUSED", "SKIPPED"], 7),
        (["RUNTIME_STATE_UNSPECIFIED", "ERROR"], 1),
    ],
)
def test_every_end_is_told_with_a_code_of_its_own(
    states: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with kubeflow_server() as server:
        server.states = list(states)
        assert main(["submit", "demonstration", "--host", server.url, "--wait"]) == code
        assert f"run run-1 ended: {states[-1]}" in capsys.readouterr().out
        assert main(["runs", "watch", "run-1", "--host", server.url]) == code


def test_a_lost_connection_is_waited_out(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with kubeflow_server() as server:
        server.states = ["RUNNING"]
        looks = 0

        def pause(seconds: float) -> None:
            nonlocal looks
            looks += 1
            if looks == 1:
                server.down = 12  # three looks, each of which urllib3 tries four times
            elif looks == 4:
                server.down, server.failures = 0, [(503, b"upstream gone"), (503, b"upstream gone")]
            elif looks == 8:
                server.states = ["SUCCEEDED"]

        monkeypatch.setattr(time, "sleep", pause)
        assert main(["submit", "demonstration", "--host", server.url, "--wait"]) == 0
    said = capsys.readouterr()
    assert said.err.count("still waits") == 1
    assert said.err.count("the server answers again") == 1
    assert "ended: SUCCEEDED" in said.out
    assert len(server.runs) == 1


def test_a_run_that_was_deleted_ends_the_waiting(capsys: pytest.CaptureFixture[str]) -> None:
    with kubeflow_server() as server:
        assert main(["runs", "watch", "run-7", "--host", server.url]) == 1
    assert "Run run-7 not found" in capsys.readouterr().err


def test_ctrl_c_leaves_the_run_alone_and_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    with kubeflow_server() as server:
        monkeypatch.setattr(time, "sleep", interrupt)
        assert main(["submit", "demonstration", "--host", server.url, "--wait"]) == 130
        said = capsys.readouterr().err
        assert "visual-search runs watch run-1" in said
        assert "visual-search runs cancel run-1" in said
        assert "the same command" not in said  # that would start a second run
        assert server.runs["run-1"]["state"] == "RUNNING"
        assert main(["runs", "cancel", "run-1", "--host", server.url]) == 0
        assert server.runs["run-1"]["state"] == "CANCELED"
        assert main(["runs", "watch", "run-1", "--host", server.url]) == 6
