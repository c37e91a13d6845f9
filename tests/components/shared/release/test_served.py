"""`CURRENT`: published whole or not at all, by one writer at a time, also under kills."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.shared.errors import ContractError, DamagedArtifactError, UnfinishedArtifactError
from components.shared.release.generation import GenerationManifest, verify_generation, write_generation
from components.shared.release.manifest import read_manifest, verify_release
from components.shared.release.served import (
    CURRENT_FILE,
    Current,
    publish_generation,
    publish_release,
    read_current,
    write_current,
)
from support.factories.basics import make_vectors
from support.factories.generation_factory import make_items
from support.factories.release_factory import make_release


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_release(tmp_path_factory.mktemp("served"))


def make_generation(
    directory: Path, release: Path, *, number: int = 1, parent: str | None = None
) -> GenerationManifest:
    manifest = read_manifest(release)
    return write_generation(
        directory,
        release_id=manifest.release_id,
        space_id=manifest.space_id,
        number=number,
        parent=parent,
        items=make_items([f"new-{number}"]),
        vectors=make_vectors(1, manifest.encoder.dimension, seed=number),
        removed=[],
    )


def test_current_is_read_as_written(tmp_path: Path, release: Path) -> None:
    with pytest.raises(UnfinishedArtifactError, match="publish a release"):
        read_current(tmp_path)
    current = publish_release(tmp_path, release)
    assert current == read_current(tmp_path) == Current(release=read_manifest(release).release_id)
    assert verify_release(tmp_path / current.release).release_id == current.release


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "..", "/etc", ".hidden", "a\0", "x" * 200])
def test_names_stay_below_the_root(tmp_path: Path, name: str) -> None:
    (tmp_path / CURRENT_FILE).write_text(f'{{"schema_version": 1, "release": {name!r}}}'.replace("'", '"'))
    with pytest.raises(ContractError):
        read_current(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "[]", "null", '{"schema_version":2,"release":"r"}', '{"release":1}', "[" * 5000, "x" * 2_000_000]
)
def test_an_unreadable_current_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / CURRENT_FILE).write_text(text)
    with pytest.raises(ContractError, match="CURRENT"):
        read_current(tmp_path)


def test_what_is_absent_cannot_be_put_into_force(tmp_path: Path, release: Path) -> None:
    before = publish_release(tmp_path, release)
    for wrong in (Current(release="r-other"), Current(release=before.release, generations=["g-other"])):
        with pytest.raises(UnfinishedArtifactError):
            write_current(tmp_path, wrong)
    assert read_current(tmp_path) == before


def test_generations_form_a_chain_and_survive_publishing_their_release_again(tmp_path: Path, release: Path) -> None:
    root = tmp_path / "root"
    publish_release(root, release)
    first = make_generation(tmp_path / "1", release)
    second = make_generation(tmp_path / "2", release, number=2, parent=first.generation_id)
    with pytest.raises(ContractError, match="another state"):
        publish_generation(root, tmp_path / "2")
    publish_generation(root, tmp_path / "1")
    with pytest.raises(ContractError, match="another state"):
        publish_generation(root, tmp_path / "1")
    current = publish_generation(root, tmp_path / "2")
    assert current.generations == [first.generation_id, second.generation_id]
    assert publish_release(root, release) == current == read_current(root)
    write_current(root, Current(release=current.release, generations=current.generations[:1]))  # roll back
    assert read_current(root).generations == [first.generation_id]


def test_a_damaged_release_changes_nothing_and_a_damaged_copy_is_mended(tmp_path: Path, release: Path) -> None:
    other = make_release(tmp_path / "other", seed=1)
    root = tmp_path / "root"
    before = publish_release(root, release)
    items = other / "items.parquet"
    good = items.read_bytes()
    items.write_bytes(good[:-1] + b"\0")
    with pytest.raises(DamagedArtifactError):
        publish_release(root, other)
    assert read_current(root) == before
    items.write_bytes(good)
    after = publish_release(root, other)
    served = root / after.release / "items.parquet"
    served.unlink()
    served.write_bytes(b"damaged")
    assert publish_release(root, other) == after
    assert verify_release(root / after.release).release_id == after.release


_PUBLISHER = """
import sys
from pathlib import Path
from components.shared.release.served import publish_release
root, *releases = map(Path, sys.argv[1:])
print("ready", flush=True)
for turn in range(10_000):
    print(publish_release(root, releases[turn % 2]).release, flush=True)
"""


def test_killed_publishers_lose_nothing(tmp_path: Path, release: Path) -> None:
    _kill_publishers(tmp_path, release, kills=12)


@pytest.mark.long
def test_killed_publishers_lose_nothing_long(tmp_path: Path, release: Path) -> None:
    _kill_publishers(tmp_path, release, kills=300)


def _kill_publishers(tmp_path: Path, release: Path, kills: int) -> None:
    other = make_release(tmp_path / "other", seed=1)
    root = tmp_path / "root"
    rng = random.Random(0)
    acknowledged = 0
    for _ in range(kills):
        command = [sys.executable, "-c", _PUBLISHER, str(root), str(release), str(other)]
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(rng.uniform(0.005, 0.1))
            process.send_signal(signal.SIGKILL)
            said = [line.strip() for line in process.stdout if line.endswith("\n")]
        acknowledged += len(said)
        if said or (root / CURRENT_FILE).exists():
            current = read_current(root)
            assert verify_release(root / current.release).release_id == current.release
    assert acknowledged > kills
    publish_release(root, release)
    assert not list(root.glob(".unfinished-*"))


def test_a_generation_below_the_root_is_whole(tmp_path: Path, release: Path) -> None:
    publish_release(tmp_path / "root", release)
    made = make_generation(tmp_path / "g", release)
    current = publish_generation(tmp_path / "root", tmp_path / "g")
    assert verify_generation(tmp_path / "root" / current.generations[0]) == made
