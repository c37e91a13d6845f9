"""Opening MLflow: which URIs, what is switched off, what an unusable store says."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from components.registration.registry import Registry
from components.shared.errors import ContractError, ParameterError, ResourceError
from components.shared.files.sqlite import sqlite_url
from components.tracking.store import TrackingStore


@pytest.mark.parametrize(
    "uri", ["", "mlruns", "/tmp/mlruns", "file:///tmp/mlruns", "sqlite://", "sqlite:///", "postgresql://u@h/d"]
)
def test_other_stores_are_refused(uri: str) -> None:
    with pytest.raises(ParameterError, match=r"expected sqlite:///.* or http"):
        TrackingStore(uri)


def test_credentials_in_the_uri_are_refused_and_not_repeated() -> None:
    with pytest.raises(ParameterError, match="MLFLOW_TRACKING_PASSWORD") as caught:
        TrackingStore("https://ada:geheim@tracking.example:5000")
    assert "geheim" not in str(caught.value)


def test_server_that_is_not_there_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ResourceError, match=r"http://127\.0\.0\.1:9 cannot be used"):
        TrackingStore("http://127.0.0.1:9")


def test_relative_path_becomes_absolute_and_artifacts_lie_beside(
    uri: str, release: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = Path(uri.removeprefix("sqlite:///")).parent
    monkeypatch.chdir(home.parent)
    registry = Registry(f"sqlite:///{home.name}/mlflow.db")
    assert registry._store.uri == sqlite_url(home / "mlflow.db")
    registry.register(release)
    monkeypatch.chdir("/")
    location = registry._store.client.get_logged_model(registry.get(1).model_id).artifact_location
    assert location.startswith((home / "mlartifacts").as_uri())
    assert (registry.fetch(1, tmp_path / "releases") / "manifest.json").exists()
    assert not list(home.parent.glob("mlruns"))


def test_database_of_another_version_is_not_touched(uri: str) -> None:
    path = uri.removeprefix("sqlite:///")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'cfd24bdc0731'")
    connection.close()
    before = Path(path).read_bytes()
    with pytest.raises(ContractError, match="mlflow db upgrade"):
        TrackingStore(uri)
    assert Path(path).read_bytes() == before


def test_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"no database at all" * 100)
    with pytest.raises((ContractError, ResourceError), match=r"mlflow\.db"):
        TrackingStore(f"sqlite:///{tmp_path}/mlflow.db")


def test_experiment_in_the_bin_is_brought_back(uri: str, release: Path, second_release: Path) -> None:
    registry = Registry(uri)
    registry.register(release)
    client = registry._store.client
    for name in ("visual-search-releases", "visual-search-promotions"):
        client.delete_experiment(client.get_experiment_by_name(name).experiment_id)
    registry.register(second_release)
    assert len(registry.history()) == 3


def test_telemetry_is_off_and_nothing_is_read_at_import() -> None:
    code = """
import os, sys
import components.registration.console, components.registration.step
assert "mlflow" not in sys.modules
assert "MLFLOW_DISABLE_TELEMETRY" not in os.environ
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
from components.shared.files.sqlite import sqlite_url
from components.tracking.store import TrackingStore
try:
    TrackingStore("http://127.0.0.1:9")
except Exception as error:
    assert "cannot be used" in str(error), error
from mlflow.telemetry import get_telemetry_client
assert get_telemetry_client() is None
"""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW") and key != "CI"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "INFO" not in done.stderr
