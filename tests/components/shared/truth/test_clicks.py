"""Training and monitoring read the same log, so both must leave out the same users, for the same reasons."""

from __future__ import annotations

import datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from components.labelling.bots import find_bots
from components.labelling.click_log import open_click_log, read_events, shown_results
from components.labelling.engine import open_engine
from components.labelling.parameters import LabellingParameters
from components.shared.files.tables import EVENTS, write_table
from monitoring.online.parameters import OnlineParameters
from monitoring.online.searches import clean_results
from support.factories.event_factory import START, add_events, make_events

SHARED_RULES = ("rate", "clicks_per_query")


def searches(user: str, *, count: int, seconds: float, clicks: int) -> list[dict]:
    rows = []
    for number in range(count):
        at = START + datetime.timedelta(seconds=seconds * number)
        for position in range(1, 9):
            one = {
                "query_id": f"{user}-{number}", "user_id": user, "query_image_id": "i-0", "position": position,
                "returned_image_id": f"i-{position}", "release_id": "r", "arm": "champion", "country": "DE", "dwell_ms": None,
            }  # fmt: skip
            kinds = ["impression"] * 2 + ["click"] * (position <= clicks)
            rows += [
                {**one, "type": kind, "at": at, "event_id": f"{user}-{number}-{position}-{i}"}
                for i, kind in enumerate(kinds)
            ]
    return rows


def test_both_take_the_same_users_for_programs(tmp_path: Path) -> None:
    limits = {"bot_queries_per_minute": 10, "bot_clicks_per_query": 3.0, "bot_minimum_queries": 4}
    rows = [
        *searches("fast", count=11, seconds=5, clicks=1),
        *searches("just-not-fast", count=10, seconds=5.5, clicks=1),
        *searches("greedy", count=4, seconds=600, clicks=4),
        *searches("just-not-greedy", count=4, seconds=600, clicks=3),
        *searches("too-few", count=3, seconds=600, clicks=8),
        *searches("both", count=11, seconds=1, clicks=5),
    ]
    events = pa.concat_tables([make_events(users=60, seed=3), pa.Table.from_pylist(rows, EVENTS.schema)])
    write_table(tmp_path / "events.parquet", events, EVENTS)

    parameters = LabellingParameters(**limits)
    (tmp_path / "scratch").mkdir()
    with open_engine(parameters, tmp_path / "scratch") as engine:
        shown = shown_results(engine, read_events(engine, open_click_log(str(tmp_path / "events.parquet"))), parameters)
        found = {row["user_id"]: row for row in engine.rows(find_bots(engine, shown, parameters))}
    labelled = {rule: {user for user, row in found.items() if row[rule]} for rule in SHARED_RULES}

    connection = duckdb.connect()
    add_events(connection, events)
    clean_results(connection, OnlineParameters(**limits))
    monitored = {
        rule: {user for (user,) in connection.execute(f"SELECT user_id FROM bots WHERE {rule}").fetchall()}
        for rule in SHARED_RULES
    }
    assert labelled == monitored == {"rate": {"fast", "both"}, "clicks_per_query": {"greedy", "both"}}


def test_their_defaults_are_the_same() -> None:
    for name in ("deepest_position", "bot_queries_per_minute", "bot_clicks_per_query", "bot_minimum_queries"):
        assert getattr(LabellingParameters(), name) == getattr(OnlineParameters(), name)
