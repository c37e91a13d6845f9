"""Registration killed with SIGKILL at every write, and done by several processes at once: always one version."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from components.registration.registry import CHALLENGER, CHAMPION, Registry
from components.shared.errors import ResourceError
from components.shared.release.manifest import read_manifest, verify_release
from components.tracking.store import TrackingStore

WRITES = (*("create_", "log_model_", "finalize_", "set_", "delete_", "restore_"),)


class Doomed:
    """MLflow's client, but the process is killed before its n-th write; counts the writes."""

    def __init__(self, client: Any, deadly_write: int) -> None:
        self._client, self._deadly, self.writes = client, deadly_write, 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if not name.startswith(WRITES):
            return method

        def dangerous(*arguments: Any, **options: Any) -> Any:
            if self.writes == self._deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            self.writes += 1
            return method(*arguments, **options)

        return dangerous


def in_child(work: Callable[[], None]) -> int:
    """Run `work` in a forked process (nothing here has threads) and return the child's id; it exits with 0 if all went well."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        os.write(2, traceback.format_exc().encode())  # pytest shows it where the test fails
    os._exit(code)


def wait_status(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def assert_registered_once(uri: str, release: Path) -> None:
    registry = Registry(uri)
    registered = registry.register(release)
    assert registry.releases() == [registered]
    assert registered.release_id == read_manifest(release).release_id
    assert registered.aliases == (CHALLENGER, CHAMPION)
    assert registered.is_announced
    effective = [(e.move.alias, e.move.previous_version, e.move.version) for e in registry.history() if e.took_effect]
    assert sorted(effective) == [(CHALLENGER, None, registered.version), (CHAMPION, None, registered.version)]
    assert [str(m.status) for m in registry._files.models(registered.release_id)] == ["READY"]
    with registry._files.opened(registered.model_id) as stored:
        assert verify_release(stored) == read_manifest(release)


def count_writes(uri: str, release: Path) -> int:
    registry = Registry(uri)
    registry._store.client = Doomed(registry._store.client, -1)
    registry.register(release)
    return int(registry._store.client.writes)


def test_killed_before_any_write_then_run_again_gives_one_version(
    new_store: Callable[[str], str], release: Path
) -> None:
    writes = count_writes(new_store("undisturbed"), release)
    assert writes >= 18
    for deadly in range(writes):
        uri = new_store(f"killed-{deadly}")

        def register(uri: str = uri, deadly: int = deadly) -> None:
            registry = Registry(uri)
            registry._store.client = Doomed(registry._store.client, deadly)
            registry.register(release)

        assert wait_status(in_child(register)) == -signal.SIGKILL
        assert_registered_once(uri, release)


def die_in_the_middle_of(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill the process when half of a file has been copied; MLflow copies by `copyfileobj`."""
    copy = shutil.copyfileobj

    def half(source: Any, target: Any, length: int = 0) -> None:
        if Path(source.name).name != name:
            copy(source, target, length)
            return
        data = source.read()
        target.write(data[: len(data) // 2])
        target.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr("shutil.copyfileobj", half)


@pytest.mark.parametrize("name", ["encoder.onnx", "manifest.json"])
def test_killed_in_the_middle_of_a_file(
    new_store: Callable[[str], str], release: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    uri = new_store("home")

    def register() -> None:
        die_in_the_middle_of(name, monkeypatch)
        Registry(uri).register(release)

    assert wait_status(in_child(register)) == -signal.SIGKILL
    assert_registered_once(uri, release)


def test_killed_while_mending(new_store: Callable[[str], str], release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = new_store("home")
    registered = Registry(uri).register(release)
    with Registry(uri)._files.opened(registered.model_id) as stored:
        (stored / "items.parquet").unlink()

    def register() -> None:
        die_in_the_middle_of("items.parquet", monkeypatch)
        Registry(uri).register(release)

    assert wait_status(in_child(register)) == -signal.SIGKILL
    assert_registered_once(uri, release)


@pytest.mark.long
def test_killed_again_and_again(new_store: Callable[[str], str], release: Path) -> None:
    uri, deaths = new_store("home"), 0
    for progress in range(1, 40):

        def register(progress: int = progress) -> None:
            registry = Registry(uri)
            registry._store.client = Doomed(registry._store.client, progress)
            registry.register(release)

        if wait_status(in_child(register)) == 0:
            break
        deaths += 1
    assert deaths >= 5
    assert_registered_once(uri, release)


def test_killed_promotion_is_either_done_or_not(
    new_store: Callable[[str], str], release: Path, second_release: Path
) -> None:
    for deadly, moved in ((0, False), (1, False), (2, False), (3, True)):
        uri = new_store(f"home-{deadly}")
        registry = Registry(uri)
        registry.register(release)
        registry.register(second_release)

        def promote(uri: str = uri, deadly: int = deadly) -> None:
            registry = Registry(uri)
            registry._store.client = Doomed(registry._store.client, deadly)
            registry.promote(2, CHAMPION, who="ada", why="better")

        status = wait_status(in_child(promote))
        if status == 0:
            assert moved
            continue
        champion = registry.get(CHAMPION).version
        log = [e for e in registry.history() if e.move.who == "ada"]
        assert [e.took_effect for e in log] == [champion == 2] * len(log)
        registry.promote(3 - champion, CHAMPION, who="bob", why="again")
        assert registry.get(CHAMPION).version == 3 - champion
        assert [e.took_effect for e in registry.history() if e.move.who == "ada"] == [champion == 2] * len(log)


def test_several_processes_at_once_make_one_version(new_store: Callable[[str], str], release: Path) -> None:
    uri = new_store("home")
    children = [in_child(lambda: Registry(uri).register(release)) for _ in range(4)]
    assert [wait_status(child) for child in children] == [0] * 4
    assert_registered_once(uri, release)


def test_without_a_lock_the_lowest_version_stays(
    new_store: Callable[[str], str], release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a server sees: nobody is kept out, and two processes pass every check before either has a version."""
    uri = new_store("home")
    monkeypatch.setattr(TrackingStore, "lock", lambda self, purpose="": contextlib.nullcontext())
    (arrived, announce), (gate, open_gate) = os.pipe(), os.pipe()

    def register() -> None:
        registry = Registry(uri)
        create = registry._store.client.create_model_version

        def late(*arguments: Any, **options: Any) -> Any:
            os.write(announce, b"x")
            os.read(gate, 1)
            return create(*arguments, **options)

        registry._store.client.create_model_version = late
        registry.register(release)

    children = [in_child(register) for _ in range(3)]
    os.close(announce)
    assert sum(len(os.read(arrived, 1)) for _ in children) == 3  # less if one of them ends before
    os.write(open_gate, b"xxx")
    statuses = [wait_status(child) for child in children]
    monkeypatch.undo()
    assert statuses == [0] * 3
    registry = Registry(uri)
    (before,) = registry.releases()
    assert before.version == 1
    assert before.aliases == (CHALLENGER, CHAMPION)
    assert registry.register(release) == before


def test_full_disk_of_the_database_is_said(new_store: Callable[[str], str], release: Path) -> None:
    uri = new_store("home")

    def register() -> None:
        registry = Registry(uri)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # does what a full disk does
        with pytest.raises(ResourceError, match=r"free some space|make it writable"):
            registry.register(release)

    assert wait_status(in_child(register)) == 0
    assert_registered_once(uri, release)


def test_full_disk_of_the_files_is_said(uri: str, release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("shutil.copyfileobj", full)
        with pytest.raises(ResourceError, match="free some space"):
            Registry(uri).register(release)
    assert_registered_once(uri, release)


def test_process_whose_model_was_tidied_away_takes_the_version_of_the_faster_one(
    uri: str, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrackingStore, "lock", lambda self, purpose="": contextlib.nullcontext())
    slow, fast = Registry(uri), Registry(uri)
    finalize = slow._store.client.finalize_logged_model

    def late(*arguments: Any) -> Any:
        fast.register(release)
        return finalize(*arguments)

    monkeypatch.setattr(slow._store.client, "finalize_logged_model", late)
    registered = slow.register(release)
    assert registered.version == 1
    assert slow.releases() == [registered]


@pytest.mark.parametrize("write", ["set_model_version_tag", "set_registered_model_alias"])
def test_of_two_processes_that_write_the_same_row_at_once_the_slower_one_tries_again(
    uri: str, release: Path, monkeypatch: pytest.MonkeyPatch, write: str
) -> None:
    """MLflow looks for the row and then inserts it; the faster process inserts in between."""
    slow = Registry(uri)
    method, refused = getattr(slow._store.client, write), []

    def late(*arguments: Any) -> Any:
        if not refused:
            refused.append(method(*arguments))
            raise MlflowException("(sqlite3.IntegrityError) UNIQUE constraint failed")
        return method(*arguments)

    monkeypatch.setattr(slow._store.client, write, late)
    assert slow.register(release).aliases == (CHALLENGER, CHAMPION)
    assert refused
    assert_registered_once(uri, release)


@pytest.mark.long
def test_several_processes_open_a_store_that_does_not_exist_yet(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    children = [in_child(lambda: Registry(uri).releases() and None) for _ in range(3)]
    assert [wait_status(child) for child in children] == [0] * 3
