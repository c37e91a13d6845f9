"""Three releases in a registry of SQLite, as every test of rollout needs them."""

from __future__ import annotations

import itertools

import pytest

from components.registration.registry import Registry
from support.factories.release_factory import make_release


@pytest.fixture(scope="session")
def release_folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("releases")
    return [make_release(root / str(seed), items=3, views=2, seed=seed) for seed in range(3)]


@pytest.fixture(scope="session")
def tracking_uri(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('tracking') / 'mlflow.db'}"


_names = itertools.count()


@pytest.fixture
def registry(release_folders, tracking_uri):
    """A registered model of its own: version 1 is champion, 2 and 3 are there."""
    registry = Registry(tracking_uri, f"rollout-{next(_names)}")
    for folder in release_folders:
        registry.register(folder)
    return registry
