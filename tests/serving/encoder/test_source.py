from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from components.shared.errors import ContractError, DamagedArtifactError, SourceError, UnfinishedArtifactError
from components.shared.release.manifest import GOLDEN_FILE, INDEX_FILE, MANIFEST_FILE, read_manifest
from components.shared.release.served import CURRENT_FILE, publish_release
from components.shared.vectors.encoder import ENCODER_FILE
from serving.encoder.source import ReleaseSource
from support.factories.release_factory import make_release


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_release(tmp_path_factory.mktemp("release"), items=2, views=2)


@pytest.fixture
def store() -> Iterator[fsspec.AbstractFileSystem]:
    filesystem = fsspec.filesystem("memory")
    yield filesystem
    for path in filesystem.find("/"):
        filesystem.rm(path)


def put(store: fsspec.AbstractFileSystem, directory: Path, where: str) -> None:
    for file in directory.rglob("*"):
        if file.is_file():
            store.pipe(f"/{where}/{file.relative_to(directory).as_posix()}", file.read_bytes())


def test_a_directory_is_read_where_it_lies(release: Path, tmp_path: Path) -> None:
    source = ReleaseSource(str(release), tmp_path / "cache")
    assert source.name() == "."
    directory, manifest = source.fetch(".")
    assert directory.samefile(release)
    assert manifest == read_manifest(release)
    assert not (tmp_path / "cache").exists()


def test_a_root_is_followed_and_one_without_a_release_says_so(release: Path, tmp_path: Path) -> None:
    source = ReleaseSource(str(tmp_path / "root"), tmp_path / "cache")
    with pytest.raises(UnfinishedArtifactError, match="publish"):
        source.name()
    publish_release(tmp_path / "root", release)
    assert source.fetch(source.name())[1] == read_manifest(release)


@pytest.mark.parametrize("rooted", [False, True])
def test_of_a_uri_only_what_an_encoder_needs_is_fetched_once(
    release: Path, tmp_path: Path, store: fsspec.AbstractFileSystem, rooted: bool
) -> None:
    if rooted:
        publish_release(tmp_path / "root", release)
        put(store, tmp_path / "root", "bucket/served")
    else:
        put(store, release, "bucket/served")
    source = ReleaseSource("memory://bucket/served/", tmp_path / "cache")
    directory, manifest = source.fetch(source.name())
    assert manifest == read_manifest(release)
    names = {path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()} - {CURRENT_FILE}
    assert names == {MANIFEST_FILE, ENCODER_FILE, GOLDEN_FILE}
    assert not (directory / INDEX_FILE).exists()
    for path in store.find("/bucket"):
        if not path.endswith(CURRENT_FILE):
            store.rm(path)
    assert source.fetch(source.name()) == (directory, manifest)


def test_what_arrives_altered_is_refused_and_fetched_anew(
    release: Path, tmp_path: Path, store: fsspec.AbstractFileSystem
) -> None:
    put(store, release, "bucket/served")
    good = (release / ENCODER_FILE).read_bytes()
    store.pipe(f"/bucket/served/{ENCODER_FILE}", good[:-1] + bytes([good[-1] ^ 1]))
    source = ReleaseSource("memory://bucket/served", tmp_path / "cache")
    with pytest.raises(DamagedArtifactError):
        source.fetch(source.name())
    store.pipe(f"/bucket/served/{ENCODER_FILE}", good)
    assert (source.fetch(source.name())[0] / ENCODER_FILE).read_bytes() == good


def test_a_manifest_cannot_lead_out_of_the_cache(
    release: Path, tmp_path: Path, store: fsspec.AbstractFileSystem
) -> None:
    store.pipe(f"/bucket/served/{CURRENT_FILE}", b'{"release": "../../elsewhere"}')
    source = ReleaseSource("memory://bucket/served", tmp_path / "cache")
    with pytest.raises(ContractError):
        source.name()


def test_an_unreadable_store_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        ReleaseSource("nosuchscheme://bucket/served", tmp_path / "cache").name()
    with pytest.raises(SourceError, match="does not exist"):
        ReleaseSource("memory://nothing/here", tmp_path / "cache").name()
