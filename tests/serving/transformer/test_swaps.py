"""Hot swaps under load, end to end: no error, and no answer that mixes two releases."""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from serving_processes import make_local_release, pictures_of, serving

from components.shared.release import read_manifest
from components.shared.served import Current, publish_release, write_current
from serving.client import SearchClient, SearchError


class Load:
    """Searches without end from several threads and notes what came.

    Args:
        url: of the service.
        pictures: to search by.
        threads: at a time.
    """

    def __init__(self, url: str, pictures: list[bytes], threads: int = 2) -> None:
        self.answers: Counter = Counter()  # (release, picture, ids) → how often
        self.errors: list[SearchError] = []
        self._over = threading.Event()
        self._url, self._pictures = url, pictures
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        with SearchClient(self._url, timeout_seconds=60) as client:
            turn = number
            while not self._over.is_set():
                turn += 1
                place = turn % len(self._pictures)
                try:
                    answer = client.search(self._pictures[place], k=6)
                except SearchError as error:
                    self.errors.append(error)
                    continue
                self.answers[answer.release_id, place, tuple(result.image_id for result in answer.results)] += 1


def swap_and_count(root: Path, folder: Path, releases: list[Path], swaps: int, at_least: int) -> Counter:
    """Swap again and again under load; return how often each release answered what."""
    publish_release(root, releases[0])
    pictures = [list(pictures_of(releases[0]).values())[place] for place in (0, 5, 10)]
    with serving(root, folder) as processes, SearchClient(processes.url) as watcher:
        with Load(processes.url, pictures) as load:
            for turn in range(1, swaps + 1):
                release = releases[turn % len(releases)]
                publish_release(root, release)
                wanted, deadline = read_manifest(release).release_id, time.monotonic() + 60
                while watcher.release()["release_id"] != wanted:
                    processes.check()
                    assert time.monotonic() < deadline, "the new release is not picked up"
                    time.sleep(0.05)
            while load.answers.total() < at_least:
                time.sleep(0.05)
        assert not load.errors, load.errors[0]
        return load.answers


def check_unmixed(answers: Counter, releases: list[Path]) -> None:
    """Each release has one answer for a picture, and no two releases the same for all: nothing was mixed."""
    known = {read_manifest(release).release_id for release in releases}
    seen: dict[tuple[str, int], set[tuple[str, ...]]] = {}
    for release_id, place, ids in answers:
        assert release_id in known
        seen.setdefault((release_id, place), set()).add(ids)
    assert all(len(different) == 1 for different in seen.values()), "one release gave two answers to one picture"
    assert {release_id for release_id, _ in seen} == known


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
    answers = swap_and_count(tmp_path / "served", tmp_path, releases, swaps=5, at_least=200)
    check_unmixed(answers, releases)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_many_swaps_under_load_are_invisible(releases, tmp_path):
    answers = swap_and_count(tmp_path / "served", tmp_path, releases, swaps=50, at_least=20_000)
    check_unmixed(answers, releases)


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


def kill_while_swapping(root: Path, folder: Path, releases: list[Path], kills: int) -> None:
    """Kill the transformer while it swaps; started again, it serves what is in force, and every answer is its release's."""
    rng = random.Random(0)
    publish_release(root, releases[0])
    picture = pictures_of(releases[0])["000-0"]
    oracle: dict[str, list[str]] = {}
    with serving(root, folder) as processes:
        for turn in range(kills):
            release = releases[(turn + 1) % len(releases)]
            publish_release(root, release)
            time.sleep(rng.uniform(0, 2.0))
            processes.children["transformer"].kill()
            processes.children["transformer"].wait()
            processes.start_one("transformer")
            processes.wait_ready()
            with SearchClient(processes.url, timeout_seconds=60) as client:
                answer = client.search(picture, k=5)
            assert answer.release_id == read_manifest(release).release_id
            ids = [result.image_id for result in answer.results]
            assert oracle.setdefault(answer.release_id, ids) == ids


def test_killed_while_swapping_it_serves_what_is_in_force(releases, tmp_path):
    kill_while_swapping(tmp_path / "served", tmp_path, releases, kills=2)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_killed_often_while_swapping_it_serves_what_is_in_force(releases, tmp_path):
    kill_while_swapping(tmp_path / "served", tmp_path, releases, kills=100)
