"""Forged, altered, expired, replayed and oversize events are never counted; text is data; floods are refused."""

from __future__ import annotations

import asyncio
import datetime
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from serving.events.database import Database
from serving.events.export import export_events
from serving.events.records import LONGEST_DWELL_MS
from serving.events.store import EventStore
from serving.events.tokens import TokenSigner
from support.servers.event_collector import KEY, STATUS, application, impression

SIGNER = TokenSigner([KEY])
PAYLOADS = [
    "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "javascript:alert(1)", "'; DROP TABLE events;--",
    "{{7*7}}", "${jndi:ldap://x}", "../../etc/passwd", "=cmd|' /C calc'!A0", "\u202egnp.exe", "%00", "\\x00", "a,b\nc", "a\tb",
    "' OR '1'='1", "</textarea><svg/onload=alert(1)>", "\U0001f47e", "NULL", "%s %(x)s :name ?1", "'", '"', "\\", ";", "--",
]  # fmt: skip


@pytest.fixture
def store(url: str) -> Iterator[EventStore]:
    opened = EventStore.open(url)
    yield opened
    opened.close()


class _Client:
    """Asks the application in this process; what it does not answer is raised here."""

    def __init__(self, application: Any) -> None:
        self._transport = httpx.ASGITransport(application)

    def post(self, path: str, **request: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._transport, base_url="http://test") as client:
                return await client.post(path, **request)

        return asyncio.run(send())


def _client(store: EventStore, **limits: int) -> _Client:
    return _Client(application(store, **limits))


def _click(number: int, **changes: Any) -> dict[str, Any]:
    return {"token": SIGNER.sign(impression(number, **changes)), "type": "click"}


def _rows(url: str) -> list[Any]:
    database = Database(url, read_only=True)
    database.prepare()
    rows = list(database.page(after=0, through=2**62, limit=10**6))
    database.close()
    return rows


def _forgery(generator: random.Random, number: int) -> dict[str, Any]:
    genuine = _click(number)
    token: str = genuine["token"]
    place = generator.randrange(len(token))
    hours = datetime.timedelta(hours=generator.uniform(36.1, 1000))
    return generator.choice(
        [
            genuine | {"token": TokenSigner([generator.randbytes(32)]).sign(impression(number))},
            genuine | {"token": token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]},
            genuine | {"token": token[:place]},
            genuine | {"token": token + "a" * 9000},
            genuine | {"token": generator.choice([None, 1, [], {}, "", "é" * 50])},
            genuine | {"type": generator.choice(["impression", "purchase", None, "CLICK", "click "])},
            genuine | {"visit": generator.choice([-1, 10, 10**30, "1", 1.5, True, None])},
            genuine | {"dwell_ms": 5},
            genuine | {"position": 1},
            genuine
            | {"type": "dwell", "dwell_ms": generator.choice([-1, LONGEST_DWELL_MS + 1, "9", 1.5, None, 10**40])},
            _click(number, at=datetime.datetime.now(datetime.UTC) - hours),
        ]
    )


def test_ten_thousand_forgeries_store_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'events.db'}"
    store, generator = EventStore.open(url), random.Random(17)
    client, refused = _client(store), 0
    for batch in range(500):
        events = [_forgery(generator, 20 * batch + n) for n in range(20)]
        answer = client.post(
            "/v1/events", content=json.dumps({"events": events}), headers={"content-type": "text/plain"}
        )
        assert answer.status_code == 200
        assert (answer.json()["accepted"], answer.json()["repeated"]) == (0, 0)
        assert [each["index"] for each in answer.json()["refused"]] == list(range(20))
        refused += len(answer.json()["refused"])
    store.close()
    assert refused == 10_000
    assert _rows(url) == []


def test_one_event_replayed_a_thousand_times_is_one_row(store: EventStore, url: str) -> None:
    client, event = _client(store), _click(3)
    answers = [client.post("/v1/events", json={"events": [event] * 100}).json() for _ in range(10)]
    assert sum(answer["accepted"] for answer in answers) == 1
    assert sum(answer["repeated"] for answer in answers) == 999
    assert len(_rows(url)) == 1
    visits = [event | {"visit": visit} for visit in range(10)] * 5
    client.post("/v1/events", json={"events": visits})
    assert len(_rows(url)) == 10


def test_one_bad_event_does_not_spoil_the_others(store: EventStore, url: str) -> None:
    dwell = _click(2) | {"type": "dwell", "dwell_ms": 0}
    events = [_click(1), {"token": "x", "type": "click"}, dwell, 7, _click(1)]
    answer = _client(store).post("/v1/events", json={"events": events})
    refused = [{"index": 1, "reason": "malformed"}, {"index": 3, "reason": "invalid"}]
    assert answer.json() == {"accepted": 2, "repeated": 1, "refused": refused}
    assert sorted((row.type, row.dwell_ms, row.position) for row in _rows(url)) == [("click", None, 2), ("dwell", 0, 3)]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"null", b"{}", b'{"events": []}', b'{"events": {}}', b'{"events": [1], "more": 1}', b"[" * 100_000,
        b'{"events": ' + b"[" * 5000, b"\xff\xfe", b'{"events": [NaN]}', b'{"events": ["\\ud800"]}', b"9" * 10_000,
        json.dumps({"events": [1] * 101}).encode(),
    ],
)  # fmt: skip
def test_a_body_that_is_no_batch_is_refused(tmp_path: Path, body: bytes) -> None:
    store = EventStore.open(f"sqlite:///{tmp_path / 'events.db'}")
    answer = _client(store).post("/v1/events", content=body, headers={"content-type": "application/json"})
    store.close()
    assert answer.status_code == 400


def test_bodies_of_other_kinds_and_sizes(tmp_path: Path) -> None:
    store = EventStore.open(f"sqlite:///{tmp_path / 'events.db'}")
    client, body = _client(store), json.dumps({"events": [_click(1)]})
    for kind, status in (
        ("text/plain;charset=UTF-8", 200), ("application/json; charset=utf-8", 200), ("multipart/form-data", 415),
        ("application/x-www-form-urlencoded", 415), ("", 415),
    ):  # fmt: skip
        assert client.post("/v1/events", content=body, headers={"content-type": kind}).status_code == status
    big = client.post("/v1/events", content=b" " * (256 * 1024 + 1), headers={"content-type": "text/plain"})
    store.close()
    assert big.status_code == 413


def test_a_flood_is_cut_at_the_limit(store: EventStore, url: str) -> None:
    client, statuses = _client(store, per_user=50, per_query=20), []
    started = time.monotonic()
    for number in range(1000):  # twenty times what is allowed, of one person
        statuses.append(client.post("/v1/events", json={"events": [_click(number, user_id="u")]}).status_code)
    come_back = (time.monotonic() - started) / 60 * 50
    stored = len(_rows(url))
    assert set(statuses) == {200, 429}
    assert statuses.count(200) == stored
    assert 50 <= stored <= 50 + come_back + 1  # the minute's allowance, and what came back while the test ran
    other = client.post("/v1/events", json={"events": [_click(5000, user_id="v")]})
    assert other.status_code == 200


def test_text_is_stored_and_exported_as_it_is(store: EventStore, url: str, tmp_path: Path) -> None:
    events = [
        _click(n, image_id=text, query_id=text, query_image_id=text, user_id=f"u{n}", country=text[:2])
        for n, text in enumerate(PAYLOADS)
    ]
    answer = _client(store).post("/v1/events", json={"events": events})
    assert answer.json() == {"accepted": len(PAYLOADS), "repeated": 0, "refused": []}
    export = export_events(url, str(tmp_path / "out"))
    table = pq.read_table(tmp_path / "out" / export.files[0])
    for column in ("returned_image_id", "query_id", "query_image_id"):
        assert sorted(table[column].to_pylist()) == sorted(PAYLOADS)


def test_what_a_database_cannot_hold_does_not_block_the_others(store: EventStore, url: str) -> None:
    assert store.record_impressions([impression(1, image_id="a\x00b"), impression(2)])
    answer = _client(store).post("/v1/events", json={"events": [_click(3)]})
    assert answer.status_code == 200
    store.close()
    assert "click" in {row.type for row in _rows(url)}


def test_codes_agree_with_those_of_the_shell() -> None:
    from serving.server.problems import ProblemTable  # loads kserve

    table = ProblemTable()
    for kind, status in STATUS.items():
        assert table.problem_of(kind("x")).kind.status == status
