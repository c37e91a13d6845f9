"""A flood of events (promise 17): one session is cut at its limit, and people who search notice nothing."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from components.shared.files.tables import EVENTS, read_table
from serving.client import SearchClient
from serving.events.export import export_events
from support.clients.people import p99, times_of_people
from support.factories.basics import encode_picture, make_picture
from support.servers.serving_processes import make_local_release, pictures_of, serving

LIMIT = 60  # events a minute of one session
FLOOD = 20 * LIMIT / 60  # a second


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    return make_local_release(tmp_path_factory.mktemp("release"), items=8, views=3)


class Flood:
    """One session that sends events twenty times as often as it may, every third of them forged.

    Args:
        url: of the service.
        picture: which it searched by.
    """

    def __init__(self, url: str, picture: bytes) -> None:
        self.statuses: Counter[int] = Counter()
        self.seconds = 0.0
        self._url = url
        with SearchClient(url, user_id="flood") as client:
            self.query_ids = []
            tokens = []
            for _ in range(20):
                answer = client.search(picture, k=6, group_items=False)
                self.query_ids.append(answer.query_id)
                tokens += [result.token for result in answer.results]
        self._events = [
            {"token": token, "type": "click", "visit": visit} for visit in range(10) for token in tokens
        ]  # all different: none is a mere repetition

    def __enter__(self) -> Flood:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        began = due = time.monotonic()
        with httpx.Client(base_url=self._url, timeout=60) as client:
            while not self._over.is_set() and self._events:
                event = self._events.pop()
                if len(self._events) % 3 == 0:
                    event["token"] = event["token"][:-4] + "AAAA"
                answer = client.post("/v1/events", json={"events": [event]})
                self.statuses[answer.status_code] += 1
                due += 1 / FLOOD
                time.sleep(max(0.0, due - time.monotonic()))
        self.seconds += time.monotonic() - began


def stored_clicks(folder: Path, query_ids: list[str]) -> int:
    export_events(f"sqlite:///{folder / 'events.db'}", str(folder / "export"))
    rows = [row for path in (folder / "export").glob("*.parquet") for row in read_table(path, EVENTS).to_pylist()]
    return sum(row["type"] == "click" and row["query_id"] in query_ids for row in rows)


def test_a_flood_is_cut_and_people_are_answered(release, tmp_path):
    picture = pictures_of(release)["000-0"]
    with serving(release, tmp_path, events_per_user=str(LIMIT)) as processes:
        flood = Flood(processes.url, picture)
        with flood:
            deadline = time.monotonic() + 60
            while flood.statuses.total() < 4 * LIMIT and time.monotonic() < deadline:
                assert times_of_people(processes.url, picture, 0.5)
    assert set(flood.statuses) == {200, 429}
    assert 0 < stored_clicks(tmp_path, flood.query_ids) <= LIMIT * (1 + flood.seconds / 60) + 1


@pytest.mark.long
@pytest.mark.timeout(600)
def test_people_notice_nothing_of_a_flood(release, tmp_path):
    picture, before, during = encode_picture(make_picture(1, size=(1200, 900))), [], []
    with serving(release, tmp_path, events_per_user=str(LIMIT)) as processes:
        times_of_people(processes.url, picture, 2)
        flood, began = Flood(processes.url, picture), time.monotonic()
        for _ in range(5):  # in turns, so that whatever else this machine does falls upon both
            before += times_of_people(processes.url, picture, 8)
            with flood:
                during += times_of_people(processes.url, picture, 8)
        allowed = LIMIT * (1 + (time.monotonic() - began) / 60) + 1
    stored = stored_clicks(tmp_path, flood.query_ids)
    print(
        f"p99 of people {p99(before):.3f} s, in the flood {p99(during):.3f} s; {dict(flood.statuses)}, {stored} stored"
    )
    assert set(flood.statuses) == {200, 429}
    assert 0 < stored <= allowed
    assert p99(during) <= 1.5 * p99(before)
