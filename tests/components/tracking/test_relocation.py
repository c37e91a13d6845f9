"""Homes that move, are copied, or have names that mean something in addresses."""

import shutil
from pathlib import Path

import pytest

from components.registration.registry import Registry
from components.shared.files.sqlite import sqlite_path, sqlite_url
from components.shared.release.manifest import verify_release
from components.training.tracking import Tracker
from support.factories.release_factory import make_release

NAMES = ("plain", "with space #1 ü", "q?1", "q?2", "a%20b", "semi;colon&and")


@pytest.mark.parametrize("name", NAMES)
def test_an_address_names_the_file_that_it_was_made_of(tmp_path, name):
    path = tmp_path / name / "mlflow.db"
    assert sqlite_path(sqlite_url(path)) == path
    from sqlalchemy.engine import make_url

    assert make_url(sqlite_url(path)).database == str(path)


def test_other_addresses_name_no_file():
    assert sqlite_path("postgresql://u@h/d") is sqlite_path("sqlite:///") is sqlite_path("sqlite://") is None


@pytest.mark.parametrize("name", ["with space #1 ü", "q?1", "a%20b"])
def test_a_registry_stays_in_its_home_and_moves_with_it(tmp_path, name):
    home, moved = tmp_path / name, tmp_path / f"{name} moved"
    home.mkdir()
    release = make_release(tmp_path / "release")
    registered = Registry(sqlite_url(home / "mlflow.db")).register(release)
    with Tracker(sqlite_url(home / "mlflow.db"), tmp_path, {"a": 1}) as tracker:
        tracker.log({"loss": 1.0}, step=1)
    assert (home / "mlflow.db").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "mlflow_run_id", "release"])

    home.rename(moved)
    registry = Registry(sqlite_url(moved / "mlflow.db"))
    fetched = registry.fetch("champion", moved / "releases")
    assert verify_release(fetched).release_id == registered.release_id
    second = make_release(tmp_path / "second", seed=2)
    assert registry.register(second).version == 2
    assert not home.exists()


def test_a_copy_and_its_original_are_two_registries(tmp_path):
    home, copy = tmp_path / "home", tmp_path / "copy"
    home.mkdir()
    Registry(sqlite_url(home / "mlflow.db")).register(make_release(tmp_path / "one"))
    shutil.copytree(home, copy)
    Registry(sqlite_url(copy / "mlflow.db")).register(make_release(tmp_path / "two", seed=2))
    assert len(Registry(sqlite_url(home / "mlflow.db")).releases()) == 1
    assert len(list((home / "mlartifacts").rglob("manifest.json"))) == 1
    assert len(list((copy / "mlartifacts").rglob("manifest.json"))) == 2


def test_artifacts_that_are_kept_elsewhere_stay_there(tmp_path):
    from mlflow import MlflowClient

    uri = sqlite_url(tmp_path / "mlflow.db")
    Registry(uri)
    elsewhere = Path(tmp_path / "elsewhere" / "mlartifacts" / "mine")
    client = MlflowClient(uri)
    client.create_experiment("mine", artifact_location=elsewhere.as_uri())
    Registry(uri)
    assert client.get_experiment_by_name("mine").artifact_location == elsewhere.as_uri()
