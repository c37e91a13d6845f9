from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats

from components.labelling.attraction import BetaPrior
from components.labelling.engine import Engine
from components.labelling.parameters import LabellingParameters
from components.labelling.preferences import clicked_over_skipped, clicked_together

Rows = list[dict[str, Any]]
LOOKS = {1: 1.0, 2: 0.5, 3: 0.4, 4: 0.3, 5: 0.25}


def _genuine(seed: int) -> Rows:
    rng = np.random.default_rng(seed)
    rows: Rows = []
    for search in range(250):
        query = f"i{rng.integers(4)}" if rng.random() > 0.1 else None
        shown = rng.permutation(9)[:5]
        rows.extend(
            {
                "query_id": f"q{search}",
                "image_id": f"i{image}",
                "user_id": f"u{search % 7}",
                "query_image_id": query,
                "position": position,
                "clicked": int(rng.random() < (1.0 if search == 0 else 0.3)),
            }
            for position, image in enumerate(shown, start=1)
        )
    return [rows[i] for i in rng.permutation(len(rows))]


def test_clicked_over_skipped_against_loops(engine: Engine) -> None:
    rows = _genuine(1)
    by_query: dict[str, Rows] = defaultdict(list)
    for row in rows:
        by_query[row["query_id"]].append(row)
    expected: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for shown in by_query.values():
        for row in shown:
            if row["query_image_id"] is None:
                continue
            others = [other for other in shown if other is not row]
            if row["clicked"] and any(not o["clicked"] and o["position"] < row["position"] for o in others):
                expected[row["query_image_id"], row["image_id"]][0] += 1
            if not row["clicked"] and any(o["clicked"] and o["position"] > row["position"] for o in others):
                expected[row["query_image_id"], row["image_id"]][1] += 1
    frame = clicked_over_skipped(engine, engine.small("genuine", pa.Table.from_pylist(rows)))
    found = {(r["query_image_id"], r["image_id"]): [r["wins"], r["losses"]] for r in engine.rows(frame)}
    assert found == {key: value for key, value in expected.items() if value[0]}


def test_clicked_together_against_loops(engine: Engine) -> None:
    rows = _genuine(2)
    parameters = LabellingParameters(minimum_clicks=3, coclick_largest_query=4)  # the first query has 5 clicks
    prior = BetaPrior(2.0, 5.0)
    looks = engine.small("looks", pa.table({"position": list(LOOKS), "p": list(LOOKS.values())}))
    frame = clicked_together(engine, engine.small("genuine", pa.Table.from_pylist(rows)), looks, prior, parameters)
    found = {(r["query_image_id"], r["image_id"]): r for r in engine.rows(frame)}

    by_query: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for row in rows:
        by_query[row["query_id"]][row["image_id"]] = row
    both: dict[tuple[str, str], list[str]] = defaultdict(list)
    trials: dict[tuple[str, str], float] = defaultdict(float)
    for shown in by_query.values():
        clicked = [image for image, row in shown.items() if row["clicked"]]
        for one in clicked:
            for other in set(shown) - {one}:
                pair = (min(one, other), max(one, other))
                trials[pair] += LOOKS[shown[other]["position"]]
                if other in clicked and one < other and len(clicked) <= 4:
                    both[pair].append(shown[one]["user_id"])
    expected = {pair for pair, users in both.items() if len(users) >= 3}
    assert set(found) == expected != set()
    for pair in expected:
        row, users = found[pair], sorted(both[pair])
        assert (row["clicks"], row["first_user"], row["last_user"]) == (len(users), users[0], users[-1])
        successes = 2 * len(users)
        failures = max(trials[pair] - successes, 0)
        posterior = scipy.stats.beta(2 + successes, 5 + failures)
        assert row["lower"] == pytest.approx(max(posterior.mean() - 1.64 * posterior.std(), 0), abs=1e-5)
