"""A fresh SQLite store takes seconds to make; so one is made, and each test gets a copy. And a real server, once."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from components.tracking.store import TrackingStore
from support.factories.release_factory import make_release


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    TrackingStore(f"sqlite:///{path}")
    return path


@pytest.fixture
def new_store(empty_database: Path, tmp_path: Path) -> Callable[[str], str]:
    def make(name: str) -> str:
        home = tmp_path / name
        home.mkdir()
        shutil.copyfile(empty_database, home / "mlflow.db")
        return f"sqlite:///{home}/mlflow.db"

    return make


@pytest.fixture
def uri(new_store: Callable[[str], str]) -> str:
    return new_store("home of a user")


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_release(tmp_path_factory.mktemp("first"), items=3, views=2)


@pytest.fixture(scope="session")
def second_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_release(tmp_path_factory.mktemp("second"), items=3, views=2, seed=1)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[tuple[str, Path]]:
    """A tracking server with proxied artifacts: its URI and the folder of its artifacts."""
    home = tmp_path_factory.mktemp("server")
    shutil.copyfile(empty_database, home / "mlflow.db")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{home}/mlflow.db"]
    words += [
        "--artifacts-destination",
        str(home / "artifacts"),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (home / "log").open("w") as log:
        process = subprocess.Popen(
            words, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=home, start_new_session=True
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process, home / "log")
        yield f"http://127.0.0.1:{port}", home / "artifacts"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 480  # half a minute on an idle machine
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(address, timeout=1):
                return
        except (urllib.error.URLError, OSError):
            if process.poll() is not None:
                break
            time.sleep(0.1)
    pytest.fail(f"the tracking server did not start: {log.read_text()[-2000:]}")
