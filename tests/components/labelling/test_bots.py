from __future__ import annotations

import datetime
import math
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from components.labelling.bots import count_bots, find_bots
from components.labelling.engine import Engine
from components.labelling.parameters import LabellingParameters
from support.factories.basics import EPOCH

Rows = list[dict[str, Any]]


def _shown(seed: int) -> Rows:
    """Return what five people and one of each kind of bot were shown."""
    rng = np.random.default_rng(seed)
    rows: Rows = []

    def search(user: str, number: int, seconds: float, clicks: Callable[[int], bool]) -> None:
        for position in range(1, 11):
            rows.append(
                {
                    "query_id": f"{user}-{number}",
                    "image_id": f"i{position}",
                    "user_id": user,
                    "query_image_id": "i0",
                    "position": position,
                    "clicked": int(clicks(position)),
                    "short": 0,
                    "at": EPOCH + datetime.timedelta(seconds=seconds),
                }
            )

    for person in range(5):
        for number in range(60):
            search(f"person-{person}", number, 900.0 * number, lambda k: bool(rng.random() < 0.6 / k))
    for number in range(30):
        search("fast", number, 1.0 * number, lambda k: k == 1)
        search("greedy", number, 700.0 * number, lambda k: k <= 5)
        search("scattered", number, 800.0 * number, lambda k: bool(rng.random() < 0.3))
    search("greedy-once", 0, 0.0, lambda _: True)  # too few queries to tell by that rule
    for index, row in enumerate(rows):
        row["position"] = None if index % 50 == 49 else row["position"]  # a missing impression says nothing
    return rows


def _bots_by_loops(rows: Rows, parameters: LabellingParameters) -> dict[str, tuple[bool, bool, bool]]:
    rows = [row for row in rows if row["position"] is not None]
    minutes: dict[tuple[str, datetime.datetime], set[str]] = defaultdict(set)
    queries: dict[str, set[str]] = defaultdict(set)
    clicks: Counter[str] = Counter()
    for row in rows:
        minutes[row["user_id"], row["at"].replace(second=0, microsecond=0)].add(row["query_id"])
        queries[row["user_id"]].add(row["query_id"])
        clicks[row["user_id"]] += row["clicked"]
    rate = {user for (user, _), found in minutes.items() if len(found) > parameters.bot_queries_per_minute}
    many = {
        user
        for user, found in queries.items()
        if len(found) >= parameters.bot_minimum_queries and clicks[user] / len(found) > parameters.bot_clicks_per_query
    }
    shown_at, clicked_at = Counter[int](), Counter[int]()
    for row in rows:
        if row["user_id"] not in rate | many:
            shown_at[row["position"]] += 1
            clicked_at[row["position"]] += row["clicked"]
    evidence: Counter[str] = Counter()
    for row in rows:
        if row["clicked"]:
            k = row["position"]
            share = (clicked_at[k] + 0.5) / (clicked_at.total() + 0.5 * len(shown_at))
            evidence[row["user_id"]] += math.log(shown_at[k] / shown_at.total() / share)
    scattered = {user for user, value in evidence.items() if value > parameters.bot_position_evidence}
    return {user: (user in rate, user in many, user in scattered) for user in rate | many | scattered}


@pytest.mark.parametrize("seed", [0, 1])
def test_each_rule_finds_its_bot_and_nobody_else(engine: Engine, tmp_path: Path, seed: int) -> None:
    rows = _shown(seed)
    parameters = LabellingParameters()
    shown = engine.small("shown", pa.Table.from_pylist(rows))
    bots = find_bots(engine, shown, parameters)
    found = {
        row["user_id"]: (bool(row["rate"]), bool(row["clicks_per_query"]), bool(row["positions"]))
        for row in engine.rows(bots)
    }
    assert found == _bots_by_loops(rows, parameters)
    assert set(found) == {"fast", "greedy", "scattered"}
    assert found["fast"][0]
    assert found["greedy"][1]
    assert found["scattered"] == (False, False, True)
    counts = count_bots(engine, shown, bots)
    told = [row for row in rows if row["position"] is not None]
    assert counts["users"] == len({row["user_id"] for row in told}) == 9
    assert counts["bots"] == 3
    assert counts["clicks"] == sum(row["clicked"] for row in told if row["user_id"] in found)
    assert counts["by_rule"]["rate"] == 1


def test_a_log_without_anything_shown_has_no_bots(engine: Engine) -> None:
    rows = _shown(0)[:1]
    rows[0]["position"] = None
    table = pa.Table.from_pylist(rows).set_column(4, "position", pa.array([None], pa.int64()))
    bots = find_bots(engine, engine.small("shown", table), LabellingParameters())
    assert engine.rows(bots) == []
