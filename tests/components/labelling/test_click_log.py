from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.labelling.click_log import count_events, open_click_log, read_events, shown_results
from components.labelling.engine import Engine, open_engine
from components.labelling.parameters import LabellingParameters
from components.shared.errors import SourceError
from components.shared.files.tables import EVENTS

Rows = list[dict[str, Any]]
PARAMETERS = LabellingParameters(threads=1)


def _fold_by_loops(rows: Rows) -> dict[tuple[str, str], tuple[Any, ...]]:
    folded: dict[tuple[str, str], tuple[Any, ...]] = {}
    keys = {(row["query_id"], row["returned_image_id"]) for row in rows}
    for key in keys:
        mine = [row for row in rows if (row["query_id"], row["returned_image_id"]) == key]
        shown = [row["position"] for row in mine if row["type"] == "impression"]
        clicked = any(row["type"] == "click" for row in mine)
        dwells = [row["dwell_ms"] for row in mine if row["type"] == "dwell" and row["dwell_ms"] is not None]
        short = clicked and bool(dwells) and max(dwells) < PARAMETERS.short_dwell_ms
        folded[key] = (
            min(row["user_id"] for row in mine),
            min((row["query_image_id"] for row in mine if row["query_image_id"]), default=None),
            min(shown, default=None),
            int(clicked),
            int(short),
            min(row["at"] for row in mine),
            len(mine),
            len({row["type"] for row in mine}),
        )
    return folded


def _fold(engine: Engine, path: Path) -> tuple[dict[tuple[str, str], tuple[Any, ...]], dict[str, int]]:
    events = read_events(engine, open_click_log(str(path)))
    frame = shown_results(engine, events, PARAMETERS)
    fields = ("user_id", "query_image_id", "position", "clicked", "short", "at", "events", "kinds")
    rows = engine.rows(frame)
    folded = {(row["query_id"], row["image_id"]): tuple(row[name] for name in fields) for row in rows}
    return folded, count_events(engine, events, frame, PARAMETERS)


def _without_zone(folded: dict[tuple[str, str], tuple[Any, ...]]) -> dict[tuple[str, str], tuple[Any, ...]]:
    return {
        key: tuple(v.replace(tzinfo=None) if hasattr(v, "tzinfo") else v for v in row) for key, row in folded.items()
    }


def test_folding_against_loops(
    engine: Engine, tmp_path: Path, random_log: Callable[..., Rows], write_log: Callable[..., Path]
) -> None:
    rows = random_log(1)
    folded, counts = _fold(engine, write_log(tmp_path / "log.parquet", rows))
    expected = _fold_by_loops(rows)
    assert _without_zone(folded) == _without_zone(expected)
    whole = [row for row in expected.values() if row[2] is not None]
    orphans = [row for row in expected.values() if row[2] is None]
    assert orphans
    assert counts == {
        "events": len(rows),
        "incomplete": 0,
        "unknown_type": 0,
        "position_below_1": 0,
        "too_deep": 0,
        "repeated": sum(row[6] - row[7] for row in expected.values()),
        "without_impression": sum(row[7] for row in orphans),
        "impressions": len(whole),
        "clicks": sum(row[3] for row in whole),
        "short_clicks": sum(row[4] for row in whole),
    }


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1000), doubled=st.integers(0, 200), files=st.integers(1, 3))
def test_order_repetition_and_files_change_nothing(
    seed: int,
    doubled: int,
    files: int,
    engine: Engine,
    tmp_path: Path,
    random_log: Callable[..., Rows],
    write_log: Callable[..., Path],
) -> None:
    rows = random_log(7, searches=10)
    chance = random.Random(seed)
    again = rows + [chance.choice(rows) for _ in range(doubled)]
    chance.shuffle(again)
    folder = tmp_path / f"{seed}-{doubled}-{files}"
    for number in range(files):
        write_log(folder / f"day={number}" / "log.parquet", again[number::files])
    folded, counts = _fold(engine, folder)
    plain, plain_counts = _fold(engine, write_log(tmp_path / "plain.parquet", rows))
    events = 6  # the only field that counts deliveries

    def told(result: dict[tuple[str, str], tuple[Any, ...]]) -> dict[tuple[str, str], tuple[Any, ...]]:
        return {key: row[:events] + row[events + 1 :] for key, row in result.items()}

    assert told(folded) == told(plain)
    assert counts == plain_counts | {
        "events": plain_counts["events"] + doubled,
        "repeated": plain_counts["repeated"] + doubled,
    }


def test_unusable_events_are_counted_by_reason(
    engine: Engine, tmp_path: Path, event: Callable[..., dict[str, Any]], write_log: Callable[..., Path]
) -> None:
    rows = [
        event("q1", "a"),
        event("q1", "b", "click", position=2),  # its impression is missing
        event("q1", "c", position=0),
        event("q1", "d", position=101),
        event("q1", "e", "hover"),
    ]
    table = pa.Table.from_pylist(rows, pa.schema([field.with_nullable(True) for field in EVENTS.schema]))
    broken = pa.Table.from_pylist([event("q2", "a", user_id=None), event("q3", "a", position=None)], table.schema)
    pq.write_table(pa.concat_tables([table, broken]), tmp_path / "log.parquet")
    _, counts = _fold(engine, tmp_path / "log.parquet")
    assert {name: count for name, count in counts.items() if count} == {
        "events": 7,
        "incomplete": 2,
        "unknown_type": 1,
        "position_below_1": 1,
        "too_deep": 1,
        "without_impression": 1,
        "impressions": 1,
    }


def test_a_half_written_file_is_named(
    tmp_path: Path, random_log: Callable[..., Rows], write_log: Callable[..., Path]
) -> None:
    write_log(tmp_path / "log" / "a.parquet", random_log(1))
    whole = (tmp_path / "log" / "a.parquet").read_bytes()
    (tmp_path / "log" / "b.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match=r"log/b\.parquet is not a whole Parquet file .*half-written.*copy it again"):
        open_click_log(str(tmp_path / "log"))


def test_names_of_work_in_progress_are_skipped(
    tmp_path: Path, random_log: Callable[..., Rows], write_log: Callable[..., Path]
) -> None:
    rows = random_log(1)
    write_log(tmp_path / "log" / "a.parquet", rows)
    for name in ("_temporary/0/b.parquet", ".b.parquet", "b.parquet.part", "readme.txt"):
        path = tmp_path / "log" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    log = open_click_log(str(tmp_path / "log"))
    assert [Path(file).name for file in log.files] == ["a.parquet"]
    assert log.rows == len(rows)


def test_missing_empty_and_foreign_sources_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist; give a Parquet file or a folder"):
        open_click_log(str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=r"holds no \*\.parquet file"):
        open_click_log(str(tmp_path / "empty"))
    with pytest.raises(SourceError, match="cannot be opened"):
        open_click_log("nosuchscheme://bucket/log")
    pq.write_table(pa.table({"query_id": ["q"]}), tmp_path / "foreign.parquet")
    with pytest.raises(SourceError, match="lacks the columns event_id, user_id"):
        open_click_log(str(tmp_path / "foreign.parquet"))
    text = {name: pa.array(["1"]) for name in EVENTS.schema.names}
    pq.write_table(pa.table(text), tmp_path / "text.parquet")
    with pytest.raises(SourceError, match=r"text\.parquet: column position is string, expected a whole number"):
        open_click_log(str(tmp_path / "text.parquet"))


def test_the_digest_follows_the_content_not_the_place(
    tmp_path: Path, random_log: Callable[..., Rows], write_log: Callable[..., Path]
) -> None:
    one, same, other = (
        open_click_log(str(write_log(tmp_path / name / "log.parquet", random_log(seed)))).digest
        for name, seed in (("one", 1), ("same", 1), ("other", 2))
    )
    assert one == same != other


def test_a_log_in_an_object_store(
    tmp_path: Path, random_log: Callable[..., Rows], write_log: Callable[..., Path]
) -> None:
    rows = random_log(3, searches=10)
    local = write_log(tmp_path / "log.parquet", rows)
    store = fsspec.filesystem("memory")
    store.pipe("/bucket/log/day=1/part-0.parquet", local.read_bytes())
    try:
        log = open_click_log("memory://bucket/log")
        assert log.rows == len(rows)
        assert log.files == ("memory:///bucket/log/day=1/part-0.parquet",)
        (tmp_path / "scratch").mkdir()
        with open_engine(PARAMETERS, tmp_path / "scratch") as engine:
            assert read_events(engine, log).count() == len(rows)
    finally:
        store.rm("/bucket", recursive=True)


def test_paths_with_quotes_work(
    tmp_path: Path, random_log: Callable[..., Rows], write_log: Callable[..., Path]
) -> None:
    scratch = tmp_path / "it's here"
    scratch.mkdir()
    rows = random_log(3, searches=5)
    log = open_click_log(str(write_log(scratch / "a'b.parquet", rows)))
    with open_engine(PARAMETERS, scratch) as engine:
        assert engine.keep("kept", read_events(engine, log)).count() == len(rows)


FULL = """
import resource, signal, sys
from pathlib import Path
from components.labelling.click_log import open_click_log, read_events
from components.labelling.engine import open_engine
from components.labelling.parameters import LabellingParameters
from components.shared.errors import ResourceError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
scratch = Path(sys.argv[2])
with open_engine(LabellingParameters(threads=1), scratch) as engine:
    try:
        engine.keep("events", read_events(engine, open_click_log(sys.argv[1])))
    except ResourceError as error:
        print(error)
"""


def test_a_full_disk_is_named_and_leaves_nothing_that_looks_whole(
    tmp_path: Path, random_log: Callable[..., Rows], write_log: Callable[..., Path]
) -> None:
    log = write_log(tmp_path / "log.parquet", random_log(1, searches=400))
    (tmp_path / "scratch").mkdir()
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    command = [sys.executable, "-c", FULL, str(log), str(tmp_path / "scratch")]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.stdout.startswith("mining the clicks needs more memory, or more disk below"), result.stderr
    assert not list((tmp_path / "scratch").glob("*.parquet"))
