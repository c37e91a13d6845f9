"""A new volume belongs to root; the first task says so instead of leaving a traceback of its own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from components.catalogue.parameters import CatalogueParameters
from components.catalogue.step import run as run_catalogue
from components.registration.fetch_champion import run_fetch_champion
from components.rendering.parameters import RenderingParameters
from components.rendering.step import run as run_rendering
from components.shared.errors import ResourceError
from components.shared.files.workspace import Workspace, require_writable

USER = 1000


@pytest.fixture
def volume() -> Iterator[Path]:
    """A folder that everybody can reach and only its owner can write to."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        root = Path(folder) / "workspace"
        root.mkdir(mode=0o755)
        yield root
        root.chmod(0o755)


@contextmanager
def as_task(root: Path) -> Iterator[None]:
    """Be the user of a task, where this process may choose; else take the right to write away."""
    if os.geteuid() != 0:
        root.chmod(0o555)
        yield
        return
    os.setegid(USER)
    os.seteuid(USER)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def catalogue(root: Path) -> None:
    run_catalogue(images="nowhere", destination=root / "out", workspace=root, parameters=CatalogueParameters())


def champion(root: Path) -> None:
    run_fetch_champion(destination=root / "out", workspace=root, tracking_uri="sqlite:////nowhere/mlflow.db")


def rendering(root: Path) -> None:
    run_rendering(destination=root / "out", workspace=root, parameters=RenderingParameters())


def labelling(root: Path) -> None:
    with Workspace(root).step("labelling", inputs={}, parameters={}):
        pass


@pytest.mark.parametrize("task", [catalogue, champion, rendering, labelling])
@pytest.mark.parametrize("below", ["", "new"])
def test_each_first_task_says_whose_the_volume_is_and_what_to_do(task, below: str, volume: Path) -> None:  # type: ignore[no-untyped-def]
    with as_task(volume), pytest.raises(ResourceError, match="cannot be written to") as caught:
        task(volume / below)
    for words in (
        f"user {volume.stat().st_uid}",
        f"runs as user {USER if os.geteuid() == 0 else os.geteuid()}",
        "README",
    ):
        assert words in str(caught.value)
    assert not list(volume.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another group")
def test_a_volume_of_the_tasks_group_is_enough(volume: Path) -> None:
    os.chown(volume, 0, USER)
    volume.chmod(0o2775)  # as the kubelet leaves it for a pod with an fsGroup
    with as_task(volume):
        require_writable(volume)
        require_writable(volume / "new")
    assert list(volume.iterdir()) == [volume / "new"]
