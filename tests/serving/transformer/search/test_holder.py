"""Hot swaps: invisible to searches, never to something damaged, hostile, too large or of a space without an encoder."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import fsspec
import numpy as np
import pytest

from components.shared.errors import ContractError
from components.shared.release.generation import GENERATION_FILE, write_generation
from components.shared.release.manifest import open_catalogue, read_manifest
from components.shared.release.served import Current, publish_generation, publish_release, read_current, write_current
from components.shared.vectors.search import INDEX_FILE
from serving.transformer.search.catalogue import Catalogue
from serving.transformer.search.holder import Holder
from serving.transformer.search.results import SearchOptions
from support.factories.generation_factory import make_items
from support.factories.release_factory import make_release
from support.inputs.manifests_of_releases import make_true

REPOSITORY = Path(__file__).parents[4]
OPTIONS = SearchOptions(k=5)


@dataclass(frozen=True)
class Settings:
    location: str
    cache: Path
    poll_seconds: float = 0.02


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return [make_release(tmp_path_factory.mktemp(f"r{seed}"), seed=seed) for seed in range(3)]


def holder_of(root: Path, **more: object) -> Holder:
    values: dict[str, object] = {"trial": lambda trial: None, **more}
    return Holder(Settings(str(root), root / "cache"), **values)  # type: ignore[arg-type]


def generation_on(directory: Path, root: Path, *, added: list[str], removed: list[str], seed: int = 0) -> None:
    current = read_current(root)
    manifest = read_manifest(root / current.release)
    parent = current.generations[-1] if current.generations else None
    vectors = np.random.default_rng(seed).normal(size=(len(added), manifest.encoder.dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    write_generation(
        directory,
        release_id=manifest.release_id,
        space_id=manifest.space_id,
        number=len(current.generations) + 1,
        parent=parent,
        items=make_items(added),
        vectors=vectors,
        removed=removed,
    )


def oracle(catalogue: Catalogue, queries: np.ndarray) -> list[list[tuple[str, float]]]:
    return [[(r.image_id, r.score) for r in catalogue.search(query, OPTIONS).results] for query in queries]


def test_a_release_alone_is_served(releases: list[Path], tmp_path: Path) -> None:
    holder = Holder(Settings(str(releases[0]), tmp_path))
    holder.refresh()
    assert holder.last_error == ""
    assert holder.current is not None
    assert holder.current.release_id == read_manifest(releases[0]).release_id
    holder.refresh()
    assert (holder.loads, holder.swaps, holder.failures) == (1, 1, 0)


def test_swap_roll_back_and_generations(releases: list[Path], tmp_path: Path) -> None:
    root = tmp_path / "root"
    holder = holder_of(root)
    holder.refresh()
    assert holder.current is None
    assert holder.failures == 1
    first = publish_release(root, releases[0])
    holder.refresh()
    base = holder.current
    assert base is not None
    removed = base.samples(1, 0)[0].image_id
    generation_on(tmp_path / "g", root, added=["new-1"], removed=[removed])
    publish_generation(root, tmp_path / "g")
    holder.refresh()
    topped = holder.current
    assert topped is not None
    assert (topped.generation, topped.base) == (1, base.base)  # the index is not loaded twice
    assert topped.item("new-1").image_id == "new-1"
    with pytest.raises(Exception, match="no image"):
        topped.item(removed)
    write_current(root, first)  # back, without loading
    loads = holder.loads
    holder.refresh()
    assert holder.current is base
    assert holder.loads == loads
    publish_release(root, releases[1])
    holder.refresh()
    assert holder.current.release_id == read_manifest(releases[1]).release_id
    assert holder.loads == loads + 1
    assert holder.swaps == 4
    write_current(root, first)  # the catalogue before is kept
    holder.refresh()
    assert holder.current is base
    assert holder.loads == loads + 1


def test_no_answer_is_mixed_under_swaps(releases: list[Path], tmp_path: Path) -> None:
    _swap_under_searches(releases, tmp_path, swaps=60, at_least=2_000)


@pytest.mark.long
def test_no_answer_is_mixed_under_swaps_long(releases: list[Path], tmp_path: Path) -> None:
    _swap_under_searches(releases, tmp_path, swaps=500, at_least=200_000)


def _swap_under_searches(releases: list[Path], tmp_path: Path, swaps: int, at_least: int) -> None:
    root = tmp_path / "root"
    states: list[Current] = []
    for number, release in enumerate(releases):
        states.append(publish_release(root, release))
        shown = Catalogue(open_catalogue(release)).samples(1, 0)[0].image_id
        generation_on(tmp_path / f"g{number}", root, added=[f"new-{number}"], removed=[shown], seed=number)
        states.append(publish_generation(root, tmp_path / f"g{number}"))
    queries = np.random.default_rng(0).normal(size=(6, 16)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    holder, wanted = holder_of(root), {}
    for state in states:
        write_current(root, state)
        holder.refresh()
        assert holder.current is not None
        wanted[holder.current.release_id, holder.current.generation] = oracle(holder.current, queries)
    assert len({json.dumps(answers) for answers in wanted.values()}) == len(states), "the oracles must differ"
    over, wrong, counts, used = threading.Event(), [], [0, 0, 0], set()

    def ask(number: int) -> None:
        while not over.is_set():
            catalogue = holder.current
            assert catalogue is not None
            place = counts[number] % len(queries)
            try:
                got = oracle(catalogue, queries[place : place + 1])[0]
            except Exception as error:
                wrong.append(error)
                return
            key = (catalogue.release_id, catalogue.generation)
            used.add(key)
            if got != wanted[key][place]:
                wrong.append(key)
            counts[number] += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    rng = random.Random(0)
    try:
        for _ in range(swaps):
            write_current(root, rng.choice(states))
            holder.refresh()
        deadline = time.monotonic() + 120
        while sum(counts) < at_least and not wrong and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert not wrong, wrong[0]
    assert sum(counts) >= at_least
    assert len(used) == len(states)
    assert holder.failures == 0


def test_what_is_damaged_is_refused_and_the_old_one_serves(releases: list[Path], tmp_path: Path) -> None:
    _refuse_mutants(releases, tmp_path, mutants=80)


@pytest.mark.long
def test_what_is_damaged_is_refused_and_the_old_one_serves_long(releases: list[Path], tmp_path: Path) -> None:
    _refuse_mutants(releases, tmp_path, mutants=2_000)


def _refuse_mutants(releases: list[Path], tmp_path: Path, mutants: int) -> None:
    """Bits, cuts, trailing bytes, swapped files, of release and generation: each refused before a trial is even needed."""
    root, rng = tmp_path / "root", np.random.default_rng(0)
    good = publish_release(root, releases[0])
    generation_on(tmp_path / "g", root, added=["new-1", "new-2"], removed=["000-0"])
    topped = publish_generation(root, tmp_path / "g")
    write_current(root, good)
    holder = holder_of(root)
    holder.refresh()
    serving = holder.current
    sources = [(root / good.release, p.name) for p in (root / good.release).iterdir()]
    sources += [(root / topped.generations[0], p.name) for p in (root / topped.generations[0]).iterdir()]
    for number in range(mutants):
        source, name = sources[number % len(sources)]
        mutant = root / f"mutant-{number}"
        shutil.copytree(source, mutant)
        _damage(mutant / name, releases[1] / name, number // len(sources), rng)
        is_generation = (source / GENERATION_FILE).exists()
        wrong = Current(
            release=good.release if is_generation else mutant.name,
            generations=[mutant.name] if is_generation else [],
        )
        (root / "CURRENT").write_text(wrong.model_dump_json())
        holder.refresh()
        assert holder.failures == number + 1, (name, holder.last_error)
        assert holder.current is serving
        shutil.rmtree(mutant)
    write_current(root, topped)
    holder.refresh()
    assert holder.current is not serving
    assert holder.last_error == ""


def _damage(path: Path, other: Path, kind: int, rng: np.random.Generator) -> None:
    data = bytearray(path.read_bytes())
    path.unlink()  # the copy may be a hard link
    if kind % 4 == 0:
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    elif kind % 4 == 1:
        del data[rng.integers(len(data)) :]
    elif kind % 4 == 2 and path.suffix != ".json":
        data += b"\0"
    elif other.exists() and path.suffix != ".json":
        data = bytearray(other.read_bytes())
    else:
        data[rng.integers(len(data))] ^= 128
    path.write_bytes(data)


def test_a_failure_is_tried_again_only_after_a_pause_or_a_change(releases: list[Path], tmp_path: Path) -> None:
    root = tmp_path / "root"
    publish_release(root, releases[0])
    calls = []

    def fail(trial: object) -> None:
        calls.append(trial)
        raise ContractError("no")

    holder = Holder(Settings(str(root), tmp_path, poll_seconds=3600), trial=fail)
    for _ in range(5):
        holder.refresh()
    assert (len(calls), holder.failures, holder.last_error) == (1, 1, "no")
    publish_release(root, releases[1])
    holder.refresh()
    assert len(calls) == 2


def test_without_memory_the_old_one_stays(releases: list[Path], tmp_path: Path) -> None:
    root = tmp_path / "root"
    publish_release(root, releases[0])
    free = [1 << 40]
    holder = holder_of(root, available=lambda: free[0])
    holder.refresh()
    old = holder.current
    free[0] = (root / read_current(root).release / INDEX_FILE).stat().st_size  # less than 1.3 times as much
    publish_release(root, releases[1])
    holder.refresh()
    assert holder.current is old
    assert "memory" in holder.last_error


def test_another_space_waits_for_its_encoder(releases: list[Path], tmp_path: Path) -> None:
    root = tmp_path / "root"
    publish_release(root, releases[0])
    spaces = {read_manifest(releases[0]).space_id}
    holder = holder_of(root, encoder_serves=lambda space_id, _side: space_id in spaces)
    holder.refresh()
    old = holder.current
    publish_release(root, releases[1])
    for _ in range(3):
        holder.refresh()
    assert holder.current is old
    assert holder.awaits_encoder
    assert (holder.loads, holder.failures) == (2, 0)  # loaded once, and kept
    spaces.add(read_manifest(releases[1]).space_id)
    holder.refresh()
    assert holder.current is not None
    assert holder.current.release_id == read_manifest(releases[1]).release_id
    assert not holder.awaits_encoder


def test_a_location_elsewhere_is_mirrored_whole(releases: list[Path], tmp_path: Path) -> None:
    root, store = tmp_path / "root", fsspec.filesystem("memory")
    publish_release(root, releases[0])
    generation_on(tmp_path / "g", root, added=["new-1"], removed=[])
    publish_generation(root, tmp_path / "g")
    name = f"/served-{os.getpid()}-{tmp_path.name}"
    store.put(str(root), name, recursive=True)
    holder = Holder(Settings(f"memory:/{name}", tmp_path / "cache"), trial=lambda trial: None)
    holder.refresh()
    assert holder.last_error == ""
    assert holder.current is not None
    assert holder.current.generation == 1
    current = publish_release(root, releases[1])
    for path in (root / current.release).iterdir():
        data = path.read_bytes()
        store.pipe_file(f"{name}/{current.release}/{path.name}", data[:-1] if path.name == INDEX_FILE else data)
    store.pipe_file(f"{name}/CURRENT", (root / "CURRENT").read_bytes())
    holder.refresh()
    assert holder.current.generation == 1
    assert INDEX_FILE in holder.last_error
    assert not list((tmp_path / "cache").rglob(".unfinished-*"))
    assert not list((tmp_path / "cache").rglob(current.release))
    store.rm(name, recursive=True)


def test_hostile_files_with_true_digests_neither_kill_nor_bloat(releases: list[Path], tmp_path: Path) -> None:
    _survive_hostile(releases, tmp_path, mutants=6)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_hostile_files_with_true_digests_neither_kill_nor_bloat_long(releases: list[Path], tmp_path: Path) -> None:
    assert _survive_hostile(releases, tmp_path, mutants=500) <= 2


def _survive_hostile(releases: list[Path], tmp_path: Path, mutants: int) -> float:
    """Return what one took at most, seconds."""
    root, rng = tmp_path / "root", np.random.default_rng(1)
    good = publish_release(root, releases[0])
    holder = Holder(Settings(str(root), tmp_path))
    holder.refresh()
    serving = holder.current
    assert serving is not None, holder.last_error
    queries = np.eye(16, dtype=np.float32)
    before, answers = _resident_bytes(), oracle(serving, queries)
    refused, slowest = 0, 0.0
    for number in range(mutants):
        mutant = root / f"mutant-{number}"
        shutil.copytree(root / good.release, mutant)
        name = (INDEX_FILE, INDEX_FILE, "items.parquet", "golden.parquet")[number % 4]
        data = bytearray((mutant / name).read_bytes())
        place = int(rng.integers(len(data) - 8))
        if number % 4 == 1:  # a header that lies about sizes: Faiss notes numbers of rows and bytes in its first 64
            place = int(rng.integers(4, 56))
            data[place : place + 8] = (1 << int(rng.integers(30, 50))).to_bytes(8, "little")
        else:
            data[place : place + 8] = rng.bytes(8)
        (mutant / name).write_bytes(data)
        make_true(mutant)
        (root / "CURRENT").write_text(Current(release=mutant.name).model_dump_json())
        failures, started = holder.failures, time.monotonic()
        holder.refresh()
        slowest = max(slowest, time.monotonic() - started)
        refused += holder.failures - failures
        if holder.failures > failures:
            assert holder.current is not None
            assert holder.current.release_id == serving.release_id or number
        shutil.rmtree(mutant)
        write_current(root, good)
        holder.refresh()
    assert holder.current is not None
    assert oracle(holder.current, queries) == answers
    assert refused > 0
    growth = _resident_bytes() - before
    assert growth < 64 << 20
    print(f"{mutants} mutants, {refused} refused, {slowest:.1f} s at most, {growth / 1e6:.0f} MB more")
    return slowest


def test_a_lying_generation_dies_alone(releases: list[Path], tmp_path: Path) -> None:
    """A Parquet file of few bytes that unfolds to gigabytes is found out by the trial, not by the server."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    root = tmp_path / "root"
    good = publish_release(root, releases[0])
    holder = Holder(Settings(str(root), tmp_path))
    holder.refresh()
    serving = holder.current
    assert serving is not None, holder.last_error
    generation_on(tmp_path / "g", root, added=["new-1"], removed=[])
    schema = pq.read_schema(tmp_path / "g" / "removed.parquet")
    megabyte = pa.table({"image_id": ["x" * 1_000_000] * 50}, schema=schema)
    options = {"compression": "zstd", "dictionary_pagesize_limit": 8 << 20}
    with pq.ParquetWriter(tmp_path / "g" / "removed.parquet", schema, **options) as writer:
        for _ in range(40):
            writer.write_table(megabyte)
    del megabyte
    assert (tmp_path / "g" / "removed.parquet").stat().st_size < 100_000
    make_true(tmp_path / "g")
    name = "g-bomb"
    shutil.copytree(tmp_path / "g", root / name)
    before = _resident_bytes()
    (root / "CURRENT").write_text(Current(release=good.release, generations=[name]).model_dump_json())
    holder.refresh()
    assert holder.current is serving
    assert holder.failures == 1
    assert "memory" in holder.last_error or "trial" in holder.last_error or "alloc" in holder.last_error
    assert _resident_bytes() - before < 64 << 20


_SERVER = """
import json, sys, time
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from serving.transformer.search.holder import Holder
from serving.transformer.search.results import SearchOptions
@dataclass
class Settings:
    location: str
    cache: Path
    poll_seconds: float = 0.001
holder = Holder(Settings(sys.argv[1], Path(sys.argv[1]) / "cache"), trial=lambda trial: None)
holder.start()
queries, turn = np.load(sys.argv[2]), 0
while True:
    catalogue, place = holder.current, turn % len(queries)
    if catalogue is None:
        time.sleep(0.001)
        continue
    found = catalogue.search(queries[place], SearchOptions(k=5)).results
    print(json.dumps([catalogue.release_id, place, [result.image_id for result in found]]), flush=True)
    turn += 1
"""


def test_killed_while_swapping(releases: list[Path], tmp_path: Path) -> None:
    _kill_servers(releases, tmp_path, kills=4, answers=20)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_killed_while_swapping_long(releases: list[Path], tmp_path: Path) -> None:
    assert _kill_servers(releases, tmp_path, kills=200, answers=60) <= 5


def _kill_servers(releases: list[Path], tmp_path: Path, kills: int, answers: int) -> float:
    """Kill a server that swaps; a fresh one serves what is in force, and every answer is exactly that of its release.

    Args:
        releases: to swap between.
        tmp_path: for what is served.
        kills: of as many servers.
        answers: before each swap; some more come while it is under way.

    Returns:
        How long a server took at most from its start to its first answer, seconds.
    """
    root, rng = tmp_path / "root", random.Random(0)
    states = [publish_release(root, release) for release in releases]
    queries = np.random.default_rng(0).normal(size=(6, 16)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    np.save(tmp_path / "queries.npy", queries)
    exact = replace(OPTIONS, exact=True)
    truth = {
        (catalogue.release_id, place): [result.image_id for result in catalogue.search(query, exact).results]
        for catalogue in (Catalogue(open_catalogue(release)) for release in releases)
        for place, query in enumerate(queries)
    }
    longest, checked, during = 0.0, 0, 0
    for _ in range(kills):
        command = [sys.executable, "-c", _SERVER, str(root), str(tmp_path / "queries.npy")]
        started = time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
            assert process.stdout is not None
            lines, wanted = [process.stdout.readline()], read_current(root).release
            longest = max(longest, time.monotonic() - started)
            lines += [process.stdout.readline() for _ in range(answers - 1)]
            assert all(json.loads(line)[0] == wanted for line in lines)
            write_current(root, rng.choice([state for state in states if state.release != wanted]))
            until = time.monotonic() + rng.uniform(0, 0.1)
            while time.monotonic() < until:
                lines.append(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            lines += [line for line in process.stdout if line.endswith("\n")]
        for release_id, place, ids in map(json.loads, lines):
            assert truth[release_id, place] == ids
            during += release_id != wanted
        checked += len(lines)
    print(
        f"{kills} kills, {checked} answers, {during} of a release just swapped in; {longest:.1f} s to the first answer"
    )
    return longest


def test_memory_returns(releases: list[Path], tmp_path: Path) -> None:
    """Many swaps take no more room than a few, and what is let go is freed."""
    root = tmp_path / "root"
    states = [publish_release(root, release) for release in releases]
    holder = holder_of(root)

    def swap(times: int) -> None:
        for turn in range(times):
            write_current(root, states[turn % 3])
            holder.refresh()

    swap(30)
    before = _resident_bytes()
    swap(60)
    assert holder.swaps >= 89
    assert _resident_bytes() - before < 16 << 20


def test_the_thread_looks_by_itself(releases: list[Path], tmp_path: Path) -> None:
    root = tmp_path / "root"
    publish_release(root, releases[0])
    holder = holder_of(root)
    holder.start()
    try:
        _until(lambda: holder.current is not None)
        publish_release(root, releases[1])
        _until(lambda: holder.current is not None and holder.swaps == 2)
    finally:
        holder.stop()


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
