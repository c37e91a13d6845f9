"""Hot swaps under load, end to end: no error, and no answer that mixes two releases."""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pytest

from components.shared.release.manifest import read_manifest
from components.shared.release.served import Current, publish_release, write_current
from components.shared.vectors.search import INDEX_FILE
from pipelines.commands.serving_processes import ServingProcesses
from serving.client import ConnectionFailedError, SearchClient, SearchError, UnavailableError
from support.factories.basics import encode_picture, make_picture
from support.inputs.large_release import make_large_release
from support.inputs.offline_search import Offline
from support.servers.serving_processes import make_local_release, pictures_of, serving

K = 6


class Load:
    """Searches without end from several threads and notes what came.

    Args:
        url: of the service.
        pictures: to search by.
        threads: at a time.
        forgives: errors after which it asks again, a little later.
    """

    def __init__(
        self, url: str, pictures: list[bytes], threads: int = 2, forgives: tuple[type[SearchError], ...] = ()
    ) -> None:
        self.answers: Counter = Counter()  # (release, picture, ids) → how often
        self.seconds: list[float] = []
        self.errors: list[SearchError] = []
        self._over = threading.Event()
        self._url, self._pictures, self._forgives = url, pictures, forgives
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def until(self, answers: int) -> None:
        """Wait for so many answers."""
        while len(self.seconds) < answers and not self.errors:
            time.sleep(0.05)

    def p99(self) -> float:
        """How long an answer took, seconds."""
        return float(np.quantile(self.seconds, 0.99))

    def _run(self, number: int) -> None:
        with SearchClient(self._url, timeout_seconds=60) as client:
            turn = number
            while not self._over.is_set():
                turn += 1
                place = turn % len(self._pictures)
                started = time.monotonic()
                try:
                    answer = client.search(self._pictures[place], k=K, group_items=False, collapse_duplicates=False)
                except SearchError as error:
                    if isinstance(error, self._forgives):
                        time.sleep(0.01)
                    else:
                        self.errors.append(error)
                    continue
                self.seconds.append(time.monotonic() - started)
                self.answers[answer.release_id, place, tuple(result.image_id for result in answer.results)] += 1


def put_into_force(
    root: Path, release: Path, processes: ServingProcesses, watcher: SearchClient, picture: bytes
) -> None:
    """Publish, and wait until it is announced; from then on it is what answers."""
    publish_release(root, release)
    wanted, deadline = read_manifest(release).release_id, time.monotonic() + 120
    while watcher.release()["release_id"] != wanted:
        processes.check()
        assert time.monotonic() < deadline, "the new release is not picked up"
        time.sleep(0.05)
    assert watcher.search(picture, k=K).release_id == wanted, "announced, but the one before answers"


def swap_and_count(root: Path, folder: Path, releases: list[Path], swaps: int, at_least: int) -> tuple[float, float]:
    """Swap again and again under load, check every answer, and return the p99 before the swaps and during them."""
    publish_release(root, releases[0])
    pictures = [list(pictures_of(releases[0]).values())[place] for place in (0, 5, 10)]
    with serving(root, folder) as processes, SearchClient(processes.url) as watcher:
        with Load(processes.url, pictures) as idle:
            idle.until(at_least // 20)
        with Load(processes.url, pictures) as load:
            for turn in range(1, swaps + 1):
                put_into_force(root, releases[turn % len(releases)], processes, watcher, pictures[0])
            load.until(at_least)
    for each in (idle, load):
        assert not each.errors, each.errors[0]
        check_unmixed(each.answers, releases, pictures)
    assert {release_id for release_id, *_ in load.answers} == {read_manifest(each).release_id for each in releases}
    print(f"{swaps} swaps, {len(load.seconds)} answers; p99 {idle.p99():.3f} s before, {load.p99():.3f} s during")
    return idle.p99(), load.p99()


def check_unmixed(answers: Counter, releases: list[Path], pictures: list[bytes]) -> None:
    """Every answer is what a search of its release without any server finds."""
    oracle = {read_manifest(release).release_id: Offline(release) for release in releases}
    expected = {
        (release_id, place): tuple(image_id for image_id, _ in offline.search(picture, K))
        for release_id, offline in oracle.items()
        for place, picture in enumerate(pictures)
    }
    assert len(set(expected.values())) == len(expected), "each release must be known by its answers"
    for release_id, place, ids in answers:
        assert expected[release_id, place] == ids


@pytest.fixture(scope="module")
def releases(tmp_path_factory) -> list[Path]:
    """Three releases, two of one space and one of another, of different sizes."""
    root = tmp_path_factory.mktemp("releases")
    return [
        make_local_release(root / "a", items=8, views=3),
        make_local_release(root / "b", items=11, views=3),
        make_local_release(root / "c", items=8, views=3, seed=5),
    ]


def test_swaps_under_load_are_invisible(releases, tmp_path):
    swap_and_count(tmp_path / "served", tmp_path, releases, swaps=3, at_least=200)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_swaps_under_load_are_invisible(releases, tmp_path):
    before, during = swap_and_count(tmp_path / "served", tmp_path, releases, swaps=50, at_least=20_000)
    assert during <= 2 * before + 0.05


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_swaps_of_large_releases_take_one_index_more_for_a_while(tmp_path):
    """100 MB each. Two are in memory in any case, the one in force and the one before it, so the third is the one more."""
    large = [
        make_large_release(tmp_path / name, rows=100_000, dimension=256, seed=seed) for seed, name in enumerate("abc")
    ]
    root, index_bytes = tmp_path / "served", (large[0] / INDEX_FILE).stat().st_size
    publish_release(root, large[0])
    picture = encode_picture(make_picture(1))
    with serving(root, tmp_path) as processes, SearchClient(processes.url) as watcher:
        for turn in (1, 2, 0):
            put_into_force(root, large[turn], processes, watcher, picture)
        transformer = psutil.Process(processes.children["transformer"].pid)
        begin = transformer.memory_info().rss
        with Peak(transformer) as peak:
            for turn in range(1, 10):
                put_into_force(root, large[turn % 3], processes, watcher, picture)
            time.sleep(2)
        end = transformer.memory_info().rss
    print(
        f"{begin / 1e6:.0f} MB before, {peak.bytes / 1e6:.0f} MB at most, {end / 1e6:.0f} MB after; "
        f"an index has {index_bytes / 1e6:.0f} MB"
    )
    assert peak.bytes <= begin + 1.1 * index_bytes
    assert end <= 1.05 * begin


class Peak:
    """Watches how much memory a process takes at most."""

    def __init__(self, process: psutil.Process) -> None:
        self.bytes = 0
        self._process = process
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.01):
            self.bytes = max(self.bytes, self._process.memory_info().rss)


def test_a_damaged_release_is_not_served_and_the_old_one_stays(releases, tmp_path):
    root, damaged = tmp_path / "served", read_manifest(releases[1]).release_id
    publish_release(root, releases[0])
    with serving(root, tmp_path) as processes, SearchClient(processes.url) as client:
        before = client.release()["release_id"]
        shutil.copytree(releases[1], root / damaged)
        spoilt = bytearray((root / damaged / "items.parquet").read_bytes())
        spoilt[len(spoilt) // 2] ^= 1
        (root / damaged / "items.parquet").write_bytes(spoilt)
        write_current(root, Current(release=damaged))
        picture, deadline = pictures_of(releases[0])["000-0"], time.monotonic() + 2
        while time.monotonic() < deadline:
            assert client.search(picture, k=3).release_id == before
        publish_release(root, releases[2])  # whole, so it is picked up although the last one was not
        wanted, deadline = read_manifest(releases[2]).release_id, time.monotonic() + 60
        while client.release()["release_id"] != wanted:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def kill_while_swapping(root: Path, folder: Path, releases: list[Path], kills: int, at_least: int) -> float:
    """Kill the transformer while it swaps under load; started again, it serves what is in force.

    Returns what that took at most, seconds.
    """
    rng, longest = random.Random(0), 0.0
    publish_release(root, releases[0])
    pictures = [list(pictures_of(releases[0]).values())[place] for place in (0, 5, 10)]
    with (
        serving(root, folder) as processes,
        Load(processes.url, pictures, forgives=(ConnectionFailedError, UnavailableError)) as load,
    ):
        for turn in range(1, kills + 1):
            load.until(at_least * turn // (kills + 1))
            release = releases[turn % len(releases)]
            publish_release(root, release)
            time.sleep(rng.uniform(0, 1.0))
            processes.children["transformer"].kill()
            processes.children["transformer"].wait()
            started = time.monotonic()
            processes.start_one("transformer")
            processes.wait_ready()
            longest = max(longest, time.monotonic() - started)
            with SearchClient(processes.url, timeout_seconds=60) as client:
                assert client.search(pictures[0], k=K).release_id == read_manifest(release).release_id
        load.until(at_least)
    assert not load.errors, load.errors[0]
    check_unmixed(load.answers, releases, pictures)
    print(f"{kills} kills, {len(load.seconds)} answers; from start to ready {longest:.1f} s at most")
    return longest


def test_killed_while_swapping_it_serves_what_is_in_force(releases, tmp_path):
    kill_while_swapping(tmp_path / "served", tmp_path, releases, kills=2, at_least=60)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_killed_often_while_swapping_it_serves_what_is_in_force(releases, tmp_path):
    assert kill_while_swapping(tmp_path / "served", tmp_path, releases, kills=100, at_least=10_000) <= 5
