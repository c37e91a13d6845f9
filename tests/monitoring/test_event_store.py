"""The stores that serving writes, read as monitoring reads them: the schema is what they share."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from monitoring import events
from monitoring.events import open_events
from serving.events.store import EventStore
from serving.events.tokens import Impression
from support.servers.postgres_server import PostgresServer, find_binaries

NOON = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))


def _fill(url: str) -> None:
    store = EventStore.open(url)
    shown = [
        Impression(
            query_id=f"q-{search}", user_id=f"u-{search % 7}", query_image_id=None, image_id=f"i-{position}",
            position=position, release_id="r-1", arm="champion", at=NOON, country="DE",
        )
        for search in range(30) for position in range(1, 6)
    ]  # fmt: skip
    assert store.record_impressions(shown)
    store.close()


def _check(url: str) -> None:
    with open_events(url, threads=1) as connection:
        rows = connection.execute(
            "SELECT count(*), min(moment), max(position), count(query_image_id), count(DISTINCT event_id) FROM log"
        ).fetchall()
    assert rows == [(150, NOON.astimezone(datetime.UTC).replace(tzinfo=None), 5, 0, 150)]


def test_a_store_in_sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "BATCH_ROWS", 40)
    url = f"sqlite:///{tmp_path / 'events.db'}"
    _fill(url)
    _check(url)


def test_a_store_in_postgresql(monkeypatch: pytest.MonkeyPatch) -> None:
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL's server is not installed (Debian: apt-get install postgresql)")
    monkeypatch.setattr(events, "BATCH_ROWS", 40)
    server = PostgresServer(binaries)
    try:
        url = server.new_database()
        _fill(url)
        _check(url)
        _check(url.replace("postgresql+psycopg:", "postgresql:"))
    finally:
        server.remove()
