"""The store: made once, old ones read, foreign ones refused; impressions on the side; exported as labelling reads it."""

from __future__ import annotations

import datetime
import json
import multiprocessing
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from components.labelling.click_log import count_events, open_click_log, read_events, shown_results
from components.labelling.engine import open_engine
from components.labelling.parameters import LabellingParameters
from components.shared.errors import ContractError, ParameterError, SourceError
from components.shared.files.tables import EVENTS, read_table
from pipelines.__main__ import main
from serving.events import export as exporting
from serving.events.database import Database
from serving.events.errors import StoreUnavailableError
from serving.events.export import export_events
from serving.events.records import Event
from serving.events.store import EventStore
from serving.events.writer import GroupWriter
from support.servers.event_collector import impression
from support.servers.object_store import s3_server

AT = datetime.datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=datetime.UTC)


def _fill(url: str, first: int = 0, count: int = 40) -> None:
    """Store impressions of `count` results, a click on every fourth and a dwell on every eighth."""
    store = EventStore.open(url)
    shown = [impression(number, at=AT + datetime.timedelta(hours=number)) for number in range(first, first + count)]
    assert store.record_impressions(shown)
    store.submit([Event(each, "click", each.at) for each in shown[::4]])
    store.submit([Event(each, "dwell", each.at, 3000) for each in shown[::8]])
    store.close()


def _exported(folder: Path) -> list[dict[str, Any]]:
    tables = [read_table(path, EVENTS) for path in sorted(folder.glob("*.parquet"))]
    return pa.concat_tables(tables).sort_by("event_id").to_pylist()


def _prepare(url: str) -> str:
    database = Database(url)
    store_id = database.prepare()
    database.close()
    return store_id


def test_many_processes_make_one_store(url: str) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert len(set(pool.map(_prepare, [url] * 9))) == 1


def test_a_store_of_version_1_is_read_and_written(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as connection:
        connection.executescript((Path(__file__).parent / "store-v1.sql").read_text())
    connection.close()
    url = f"sqlite:///{path}"
    _fill(url, count=4)
    export_events(url, str(tmp_path / "out"))
    rows = {row["event_id"]: row for row in _exported(tmp_path / "out")}
    assert rows.keys() >= {"e1", "e2", "e7"}
    assert len(rows) == 3 + 4 + 1 + 1
    assert rows["e1"]["at"] == AT
    assert rows["e7"] | {"at": None} == {
        "event_id": "e7", "query_id": "q1", "user_id": "u1", "query_image_id": "b", "returned_image_id": "a", "position": 1,
        "type": "dwell", "dwell_ms": 4000, "release_id": "r1", "arm": "champion", "at": None, "country": None,
    }  # fmt: skip


def test_newer_and_foreign_databases_are_refused_in_a_sentence(url: str, tmp_path: Path) -> None:
    _prepare(url)
    database = Database(url)
    with database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE event_store SET schema_version = 2"))
    for attempt in (lambda: EventStore.open(url), lambda: export_events(url, str(tmp_path / "out"))):
        with pytest.raises(ContractError, match="schema version 2"):
            attempt()
    with database.engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE event_store"))
    database.close()
    with pytest.raises(ContractError, match="not ours"):
        EventStore.open(url)


def test_what_is_no_store_is_said(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("This is a text, not a database of anything.")
    with pytest.raises(ContractError, match="not an SQLite database"):
        EventStore.open(f"sqlite:///{tmp_path / 'text.db'}")
    with pytest.raises(SourceError, match="no events"):
        export_events(f"sqlite:///{tmp_path / 'nowhere.db'}", str(tmp_path / "out"))
    for url in ("sqlite://", "sqlite:///:memory:", "mysql://x/y", "events.db", "postgresql+asyncpg://x/y"):
        with pytest.raises(ParameterError, match="sqlite:///PATH"):
            EventStore.open(url)
    with pytest.raises(StoreUnavailableError) as caught:
        Database("postgresql://user:secret@127.0.0.1:1/db").prepare()
    assert "secret" not in str(caught.value)


def test_a_store_that_is_away_at_the_start_is_used_when_it_comes(tmp_path: Path) -> None:
    folder = tmp_path / "not-yet"
    folder.write_text("in the way")
    store = EventStore.open(f"sqlite:///{folder / 'events.db'}")
    event = Event(impression(1), "click", AT)
    assert store.record_impressions([impression(1)])
    with pytest.raises(StoreUnavailableError):
        store.submit([event])
    assert not store.state.available
    folder.unlink()
    assert store.submit([event]).accepted == 1
    store.close()
    assert store.state.stored == 2  # the impression waited
    assert store.state.impressions_dropped == 0


def test_a_file_that_is_taken_away_is_not_written_into_the_void(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    store = EventStore.open(f"sqlite:///{path}")
    store.submit([Event(impression(1), "click", AT)])
    path.unlink()
    with pytest.raises(StoreUnavailableError):
        store.submit([Event(impression(2), "click", AT)])
    assert store.submit([Event(impression(2), "click", AT)]).accepted == 1
    store.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (1,)
    connection.close()


def test_impressions_never_wait_and_losses_are_counted() -> None:
    gate, written = threading.Event(), []

    def slow(rows: Any) -> set[str]:
        gate.wait(30)
        written.extend(rows)
        return {row["event_id"] for row in rows}

    writer = GroupWriter(slow, most_events=3, most_impressions=25)
    futures = [writer.submit([Event(impression(n), "click", AT)]) for n in range(3)]
    with pytest.raises(StoreUnavailableError, match="waiting"):
        writer.submit([Event(impression(9), "click", AT)])
    taken = [writer.offer([impression(10 * n + m) for m in range(10)]) for n in range(5)]
    assert taken == [True, True, False, False, False]
    assert writer.state.impressions_dropped == 30
    assert not any(future.done() for future in futures)  # not before the commit
    gate.set()
    assert [future.result(30).accepted for future in futures] == [1, 1, 1]
    assert writer.stop(30)
    assert len(written) == 3 + 20


def test_what_gathers_during_a_commit_goes_with_the_next() -> None:
    sizes, first = [], threading.Event()

    def write(rows: Any) -> set[str]:
        if not sizes:
            first.wait(30)
        sizes.append(len(rows))
        return {row["event_id"] for row in rows}

    writer = GroupWriter(write)
    futures = [writer.submit([Event(impression(0), "click", AT)])]
    while writer._calls:
        time.sleep(0.001)
    futures += [writer.submit([Event(impression(n), "click", AT)]) for n in range(1, 100)]
    first.set()
    for future in futures:
        future.result(30)
    assert sizes == [1, 99]
    assert writer.stop(30)


def test_export_is_what_labelling_reads(url: str, tmp_path: Path) -> None:
    _fill(url)
    done = export_events(url, str(tmp_path / "log"))
    assert done.events == 40 + 10 + 5
    parameters = LabellingParameters(threads=1)
    (tmp_path / "scratch").mkdir()
    with open_engine(parameters, tmp_path / "scratch") as engine:
        events = read_events(engine, open_click_log(str(tmp_path / "log")))
        counts = count_events(engine, events, shown_results(engine, events, parameters), parameters)
    assert counts | {"short_clicks": 0} == {
        "events": 55, "incomplete": 0, "unknown_type": 0, "position_below_1": 0, "too_deep": 0, "repeated": 0,
        "without_impression": 0, "impressions": 40, "clicks": 10, "short_clicks": 0,
    }  # fmt: skip


def test_export_again_writes_what_is_new(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "_PAGE_ROWS", 7)
    monkeypatch.setattr(exporting, "_FILE_ROWS", 20)
    folder = tmp_path / "log"
    assert export_events(_empty(url), str(folder)).files == ()
    _fill(url)
    assert len(export_events(url, str(folder)).files) >= 2
    assert export_events(url, str(folder)).files == ()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    _fill(url, first=30)  # ten of them are known
    assert export_events(url, str(folder)).events == 30 + 10 + 5
    assert all((folder / name).read_bytes() == data for name, data in before.items())
    rows = _exported(folder)
    assert len({row["event_id"] for row in rows}) == len(rows)
    whole = tmp_path / "whole"
    export_events(url, str(whole))
    assert _exported(whole) == rows
    late = tmp_path / "late"
    export_events(url, str(late), since=AT + datetime.timedelta(hours=35))
    assert _exported(late) == [row for row in rows if row["at"] >= AT + datetime.timedelta(hours=35)]


def _empty(url: str) -> str:
    _prepare(url)
    return url


def test_export_misses_nothing_of_writers_that_commit_late(postgres: Any, tmp_path: Path) -> None:
    url = postgres.new_database()
    _fill(url, count=1)
    early, done = Database(url), []
    with early.engine.begin() as connection:  # has its sequence number, and has not committed
        connection.execute(sa.text("SELECT pg_advisory_xact_lock_shared(:key)"), {"key": 0x76736576})
        connection.execute(early._insert, [Event(impression(100), "click", AT).row()])
        _fill(url, first=50, count=1)
        exporter = threading.Thread(target=lambda: done.append(export_events(url, str(tmp_path / "log"))))
        exporter.start()
        exporter.join(0.5)
        assert exporter.is_alive()
    exporter.join(30)
    early.close()
    assert done[0].events == 3 + 3 + 1


def test_export_to_an_object_store(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'events.db'}"
    _fill(url)
    with s3_server({"logs/other": b""}) as store:
        assert export_events(url, "s3://logs/clicks").events == 55
        assert export_events(url, "s3://logs/clicks").events == 0
        (path,) = store.ls("logs/clicks", detail=False)
        with store.open(path, "rb") as file:
            assert pq.read_table(file).num_rows == 55


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = ["--home", str(tmp_path)]
    assert main(["events", "stats", *home]) == 1
    assert "no events" in capsys.readouterr().err
    _fill(f"sqlite:///{tmp_path / 'events.db'}")
    assert main(["events", "export", "--output", str(tmp_path / "log"), "--since", "2026-01-01", *home]) == 0
    assert "wrote 55 events in 1 files" in capsys.readouterr().out
    assert main(["events", "stats", "--json", *home]) == 0
    found = json.loads(capsys.readouterr().out)["events"]
    assert {row["type"]: row["events"] for row in found} == {"impression": 40, "click": 10, "dwell": 5}
    assert main(["events", "stats", *home]) == 0
    assert "55 events" in capsys.readouterr().out
    assert main(["events", "export", "--output", "x", "--since", "yesterday", *home]) == 1
    assert "--since" in capsys.readouterr().err
