from __future__ import annotations

import datetime
from collections import defaultdict
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from components.shared.files.tables import EVENTS, write_table
from monitoring.online.metrics import DIMENSIONS, online_metrics
from monitoring.online.parameters import OnlineParameters
from monitoring.online.propensities import estimate_propensities
from monitoring.online.searches import Cleaning, clean_results, fold_searches
from monitoring.online.summary import summarise
from support.factories.event_factory import PROPENSITY, START, K, add_events, make_events

PARAMETERS = OnlineParameters(k=3)


def _load(events: pa.Table, propensities: dict[int, float] | None = None) -> tuple[duckdb.DuckDBPyConnection, Cleaning]:
    connection = duckdb.connect(":memory:", config={"threads": 1})
    add_events(connection, events)
    cleaning = clean_results(connection, PARAMETERS)
    fold_searches(connection, PARAMETERS, propensities)
    return connection, cleaning


@pytest.mark.parametrize("dimension", ["all", "arm", "release_id", "country", "hour", "day"])
def test_metrics_are_what_loops_give(dimension: str) -> None:
    events = make_events(users=60, seed=3)
    # Events delivered twice, and out of order, change nothing.
    shuffled = pa.concat_tables([events, events.slice(10, 500)]).take(
        np.random.default_rng(0).permutation(events.num_rows + 500 if events.num_rows > 510 else events.num_rows)
    )
    weights = {k + 1: float(p) for k, p in enumerate(PROPENSITY)}
    connection, _ = _load(shuffled, weights)
    searches: dict[str, list[dict]] = defaultdict(list)
    for row in events.to_pylist():
        searches[row["query_id"]].append(row)
    groups = defaultdict(list)
    for rows in searches.values():
        first = min(row["at"] for row in rows).replace(tzinfo=None)
        label = {
            "all": "all",
            "hour": first.replace(minute=0, second=0, microsecond=0),
            "day": first.replace(hour=0, minute=0, second=0, microsecond=0),
        }.get(dimension) or rows[0][dimension]
        groups[label].append(rows)
    found = {row["label"]: row for row in online_metrics(connection, dimension).to_pylist()}
    assert set(found) == set(groups)
    for label, members in groups.items():
        clicks = [{r["position"]: r for r in rows if r["type"] == "click"} for rows in members]
        shown = sum(sum(r["type"] == "impression" for r in rows) for rows in members)
        dwells = [r["dwell_ms"] / 1e3 for rows in members for r in rows if r["type"] == "dwell"]
        times = [
            (min(r["at"] for r in c.values()) - min(r["at"] for r in rows)).total_seconds()
            for c, rows in zip(clicks, members, strict=True)
            if c
        ]
        users = defaultdict(bool)
        for c, rows in zip(clicks, members, strict=True):
            users[rows[0]["user_id"]] |= bool(c)
        row = found[label]
        expected = {
            "searches": len(members),
            "impressions": shown,
            "clicks": sum(map(len, clicks)),
            "users": len(users),
            "click_through_per_query": np.mean([bool(c) for c in clicks]),
            "abandonment": np.mean([not c for c in clicks]),
            "click_through_per_user": np.mean(list(users.values())),
            "click_through_per_impression": sum(map(len, clicks)) / shown,
            "corrected_click_through": sum(1 / weights[k] for c in clicks for k in c) / shown,
            "clicks_at_k": np.mean([sum(k <= 3 for k in c) for c in clicks]),
            "click_mrr": np.mean([1 / min(c) if c else 0 for c in clicks]),
            "median_seconds_to_click": np.median(times) if times else None,
            "median_dwell_seconds": np.median(dwells) if dwells else None,
            "mean_dwell_seconds": np.mean(dwells) if dwells else None,
        }
        for name, value in expected.items():
            assert row[name] == (None if value is None else pytest.approx(value, rel=1e-9)), (label, name)


def test_every_dimension_adds_up() -> None:
    connection, _ = _load(make_events(users=50))
    for dimension in DIMENSIONS:
        table = online_metrics(connection, dimension)
        assert sum(table["clicks"].to_pylist()) == online_metrics(connection, "all")["clicks"][0].as_py(), dimension


def test_bots_and_pictures_found_by_themselves_are_left_out() -> None:
    people = make_events(users=100, seed=5)
    rows = []

    def act(
        user: str,
        query: int,
        position: int,
        kind: str,
        second: float,
        image: str | None = None,
        dwell: int | None = None,
    ):
        rows.append({
            "event_id": f"b-{len(rows)}", "query_id": f"{user}-{query}", "user_id": user, "query_image_id": "i-1",
            "returned_image_id": image or f"i-{10 + position}", "position": position, "type": kind, "dwell_ms": dwell,
            "release_id": "r", "arm": "champion", "at": START + datetime.timedelta(seconds=second), "country": None,
        })  # fmt: skip

    for query in range(30):  # too fast
        act("fast", query, 1, "impression", 60 + query)
    for query in range(6):  # clicks everything, and stays
        for position in range(1, 7):
            act("greedy", query, position, "impression", 1000 * query)
            act("greedy", query, position, "click", 1000 * query + position)
            act("greedy", query, position, "dwell", 1000 * query + position, dwell=9000)
    for query in range(25):  # clicks, and never stays
        act("hollow", query, 1, "impression", 1000 * query)
        act("hollow", query, 1, "click", 1000 * query + 1)
        act("hollow", query, 1, "dwell", 1000 * query + 1, dwell=30)
    act("person", 0, 1, "impression", 5, image="i-1")
    act("person", 0, 1, "click", 6, image="i-1")
    act("person", 0, 2, "impression", 5)
    connection, cleaning = _load(pa.concat_tables([people, pa.Table.from_pylist(rows, EVENTS.schema)]))
    users = {row[0] for row in connection.execute("SELECT DISTINCT user_id FROM results").fetchall()}
    assert not users & {"fast", "greedy", "hollow"}
    assert "person" in users
    assert cleaning.bots == {"rate": 1, "clicks_per_query": 1, "no_dwell": 1}
    assert cleaning.self_results == 1
    assert cleaning.bot_results == 30 + 36 + 25
    assert connection.execute(
        "SELECT count(*) FROM results WHERE user_id = 'person' AND clicked_at IS NOT NULL"
    ).fetchall() == [(0,)]


def test_people_are_no_bots_where_no_dwell_is_told() -> None:
    _, cleaning = _load(make_events(users=60, searches_per_user=40, days=30, dwell=False))
    assert cleaning.bots["no_dwell"] == 0


def test_corrected_rates_are_equal_where_only_positions_differ() -> None:
    """One arm shows the best last: its raw rate is worse though its images attract just as much."""
    events = make_events(users=2500, upside_down=True, seed=11, images=12)
    connection, _ = _load(events)
    found = estimate_propensities(connection, PARAMETERS)
    assert all(found.harvested)
    assert found.positions == list(range(1, K + 1))
    assert found.values == pytest.approx(PROPENSITY, rel=0.12)
    fold_searches(connection, PARAMETERS, found.as_dict())
    rows = {row["label"]: row for row in online_metrics(connection, "arm").to_pylist()}
    attraction = np.random.default_rng(99).uniform(0.05, 0.6, (12, 12))
    true = {}
    for arm in rows:
        shown = [r for r in events.to_pylist() if r["type"] == "impression" and r["arm"] == arm]
        true[arm] = np.mean([attraction[int(r["query_image_id"][2:]), int(r["returned_image_id"][2:])] for r in shown])
    raw = {arm: row["click_through_per_impression"] for arm, row in rows.items()}
    assert raw["challenger"] < 0.85 * raw["champion"]
    for arm, row in rows.items():
        assert row["corrected_click_through"] == pytest.approx(true[arm], rel=0.06)
        assert raw[arm] < 0.6 * true[arm]


def test_without_movement_nothing_is_corrected() -> None:
    events = make_events(users=30)
    fixed = events.filter(pa.compute.equal(events["position"], 1))
    connection, _ = _load(fixed)
    assert estimate_propensities(connection, PARAMETERS).as_dict() == {}
    assert online_metrics(connection, "all")["corrected_click_through"].to_pylist() == [None]


def test_summary_of_a_log_and_of_a_part_of_it(tmp_path: Path) -> None:
    write_table(tmp_path / "log.parquet", make_events(users=80), EVENTS)
    whole = summarise(str(tmp_path / "log.parquet"))
    assert set(whole) == set(DIMENSIONS)
    given = summarise(
        str(tmp_path / "log.parquet"), propensities=dict.fromkeys(range(1, K + 1), 0.5), dimensions=["all"]
    )
    raw = whole["all"]["click_through_per_impression"][0].as_py()
    assert given["all"]["corrected_click_through"][0].as_py() == pytest.approx(2 * raw)
    noon = START + datetime.timedelta(days=3)
    parts = [
        summarise(str(tmp_path / "log.parquet"), dimensions=["all"], **{side: noon}) for side in ("since", "until")
    ]
    assert sum(p["all"]["impressions"][0].as_py() for p in parts) == whole["all"]["impressions"][0].as_py()
