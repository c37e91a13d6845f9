from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from components.shared.errors import ContractError, DamagedArtifactError, SourceError, UnfinishedArtifactError
from components.shared.files.layout import MANIFEST_FILE
from components.shared.release.manifest import GOLDEN_FILE, INDEX_FILE, read_manifest
from components.shared.release.served import CURRENT_FILE, publish_release
from components.shared.vectors.encoder import ENCODER_FILE
from serving.encoder.loading import _NEEDED
from serving.release_mirror import LoadAttempts, ReleaseMirror
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
    source = ReleaseMirror(str(release), tmp_path / "cache", kind="encoder", needed=_NEEDED)
    assert source.look().release == "."
    directory, manifest = source.fetch_release(".")
    assert directory.samefile(release)
    assert manifest == read_manifest(release)
    assert not (tmp_path / "cache").exists()


def test_a_root_is_followed_and_one_without_a_release_says_so(release: Path, tmp_path: Path) -> None:
    source = ReleaseMirror(str(tmp_path / "root"), tmp_path / "cache", kind="encoder", needed=_NEEDED)
    with pytest.raises(UnfinishedArtifactError, match="publish"):
        source.look()
    publish_release(tmp_path / "root", release)
    assert source.fetch_release(source.look().release)[1] == read_manifest(release)


@pytest.mark.parametrize("rooted", [False, True])
def test_of_a_uri_only_what_an_encoder_needs_is_fetched_once(
    release: Path, tmp_path: Path, store: fsspec.AbstractFileSystem, rooted: bool
) -> None:
    if rooted:
        publish_release(tmp_path / "root", release)
        put(store, tmp_path / "root", "bucket/served")
    else:
        put(store, release, "bucket/served")
    source = ReleaseMirror("memory://bucket/served/", tmp_path / "cache", kind="encoder", needed=_NEEDED)
    directory, manifest = source.fetch_release(source.look().release)
    assert manifest == read_manifest(release)
    names = {path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()} - {CURRENT_FILE}
    assert names == {MANIFEST_FILE, ENCODER_FILE, GOLDEN_FILE}
    assert not (directory / INDEX_FILE).exists()
    for path in store.find("/bucket"):
        if not path.endswith(CURRENT_FILE):
            store.rm(path)
    assert source.fetch_release(source.look().release) == (directory, manifest)


def test_what_arrives_altered_is_refused_and_fetched_anew(
    release: Path, tmp_path: Path, store: fsspec.AbstractFileSystem
) -> None:
    put(store, release, "bucket/served")
    good = (release / ENCODER_FILE).read_bytes()
    store.pipe(f"/bucket/served/{ENCODER_FILE}", good[:-1] + bytes([good[-1] ^ 1]))
    source = ReleaseMirror("memory://bucket/served", tmp_path / "cache", kind="encoder", needed=_NEEDED)
    with pytest.raises(DamagedArtifactError):
        source.fetch_release(source.look().release)
    store.pipe(f"/bucket/served/{ENCODER_FILE}", good)
    assert (source.fetch_release(source.look().release)[0] / ENCODER_FILE).read_bytes() == good


def test_a_manifest_cannot_lead_out_of_the_cache(
    release: Path, tmp_path: Path, store: fsspec.AbstractFileSystem
) -> None:
    store.pipe(f"/bucket/served/{CURRENT_FILE}", b'{"release": "../../elsewhere"}')
    source = ReleaseMirror("memory://bucket/served", tmp_path / "cache", kind="encoder", needed=_NEEDED)
    with pytest.raises(ContractError):
        source.look()


def test_an_unreadable_store_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        ReleaseMirror("nosuchscheme://bucket/served", tmp_path / "cache", kind="encoder", needed=_NEEDED).look()
    with pytest.raises(UnfinishedArtifactError, match="holds neither"):
        ReleaseMirror("memory://nothing/here", tmp_path / "cache", kind="encoder", needed=_NEEDED).look()


def test_what_failed_is_tried_again_after_a_growing_pause_and_something_else_at_once(monkeypatch) -> None:
    now = 100.0
    monkeypatch.setattr("serving.release_mirror.monotonic", lambda: now)
    attempts = LoadAttempts(pause_seconds=5)
    pauses = []
    for _ in range(6):
        began = now
        attempts.note_failure("r-1", ValueError("broken"))
        assert not attempts.must_wait("r-2")
        while attempts.must_wait("r-1"):
            now += 1
        pauses.append(now - began)
    assert pauses == [5, 10, 20, 40, 60, 60]
    assert (attempts.failures, attempts.last_error) == (6, "broken")
    attempts.note_failure("r-2", ValueError())
    assert attempts.last_error == "ValueError"
    attempts.note_success()
    assert (attempts.failures, attempts.last_error) == (7, "")
    assert not attempts.must_wait("r-2")
