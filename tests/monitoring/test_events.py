from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from components.shared.errors import SourceError
from components.shared.files.tables import EVENTS, write_table
from monitoring.events import open_events
from support.factories.event_factory import make_events


def _read(source: str) -> list[tuple]:
    with open_events(source, threads=1) as connection:
        return connection.execute("SELECT event_id, moment, dwell_ms, country FROM log ORDER BY event_id").fetchall()


@pytest.mark.parametrize("kind", ["text", "microseconds"])
def test_parquet_and_sqlite_give_the_same_log(tmp_path: Path, kind: str) -> None:
    events = make_events(users=20)
    write_table(tmp_path / "log" / "a.parquet", events.slice(0, 100), EVENTS)
    write_table(tmp_path / "log" / "b.parquet", events.slice(100), EVENTS)
    (tmp_path / "log" / "_unfinished.parquet").write_bytes(b"half")
    names = EVENTS.schema.names
    with sqlite3.connect(tmp_path / "events.sqlite") as database:
        database.execute(f"CREATE TABLE events ({', '.join(names)}, extra)")
        for row in events.to_pylist():
            row["at"] = row["at"].isoformat() if kind == "text" else round(row["at"].timestamp() * 1e6)
            database.execute(
                f"INSERT INTO events ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",
                [row[n] for n in names],
            )
    database.close()
    expected = _read(str(tmp_path / "log"))
    assert len(expected) == events.num_rows
    assert expected[0][1] == sorted(events.to_pylist(), key=lambda r: r["event_id"])[0]["at"].replace(tzinfo=None)
    assert _read(f"sqlite:///{tmp_path / 'events.sqlite'}") == expected


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    with sqlite3.connect(tmp_path / "empty.sqlite") as database:
        database.execute("CREATE TABLE other (x)")
    database.close()
    for source, word in (
        (str(tmp_path / "absent"), "no events"),
        (str(tmp_path), "not a whole Parquet file"),
        (f"sqlite:///{tmp_path / 'absent.sqlite'}", "no file"),
        (f"sqlite:///{tmp_path / 'empty.sqlite'}", "table events"),
    ):
        with pytest.raises(SourceError, match=word):
            _read(source)
    assert not (tmp_path / "absent.sqlite").exists()
    write_table(tmp_path / "good.parquet", make_events(users=2), EVENTS)
    import pyarrow.parquet as pq

    pq.write_table(pq.read_table(tmp_path / "good.parquet").drop_columns(["arm"]), tmp_path / "lacking.parquet")
    with pytest.raises(SourceError, match="lacks the columns arm"):
        _read(str(tmp_path / "lacking.parquet"))
