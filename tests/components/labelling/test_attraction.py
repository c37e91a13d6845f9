from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.labelling.attraction import (
    BetaPrior,
    attraction_rates,
    fit_prior,
    genuine_results,
    prior_from_moments,
    propensity_table,
    result_cells,
)
from components.labelling.engine import Engine
from components.labelling.parameters import LabellingParameters
from components.labelling.propensities import Propensities

PARAMETERS = LabellingParameters(short_dwell_weight=0.25, propensity_floor=0.2)
PROPENSITIES = Propensities([1, 2, 3, 4], [1.0, 0.6, 0.3, 0.1], [""] * 4, [0.0] * 4)
Rows = list[dict[str, Any]]

CATALOGUE = [
    # image_id, item_id, category, duplicate_group, trainable
    ("i0", "A", "cup", "g0", 1),
    ("i1", "A", "cup", "g1", 1),
    ("i2", "A", "cup", "g0", 1),  # nearly the same picture as i0
    ("i3", "B", "cup", "g3", 0),
    ("i4", "C", None, "g4", 1),
    ("i5", "D", None, "g5", 1),
]


def _shown(seed: int) -> Rows:
    rng = np.random.default_rng(seed)
    rows: Rows = []
    for search in range(400):
        query = f"i{rng.integers(6)}" if rng.random() > 0.1 else None
        for position, image in enumerate(rng.permutation(7)[:4], start=1):
            clicked = int(rng.random() < 0.5)
            rows.append(
                {
                    "query_id": f"q{search}",
                    "image_id": f"i{image}",
                    "user_id": f"u{rng.integers(5)}",
                    "query_image_id": query,
                    "position": None if rng.random() < 0.05 else position,
                    "clicked": clicked,
                    "short": clicked * int(rng.random() < 0.3),
                }
            )
    return rows


def _cells(engine: Engine, rows: Rows) -> Any:
    names = ["image_id", "item_id", "category", "duplicate_group", "trainable"]
    columns = {name: list(values) for name, values in zip(names, zip(*CATALOGUE, strict=True), strict=True)}
    bots = engine.small("bots", pa.table({"user_id": ["u4"]}))
    genuine = genuine_results(engine, engine.small("shown", pa.Table.from_pylist(rows)), bots)
    return engine.keep("cells", result_cells(engine, genuine, engine.small("images", pa.table(columns))))


def _relation(query: str | None, image: str) -> str:
    known = {row[0]: row for row in CATALOGUE}
    if query not in known or image not in known:
        return "unknown"
    one, other = known[query], known[image]
    if one[3] == other[3]:
        return "self"
    if one[1] == other[1]:
        return "item"
    return "category" if one[2] is not None and one[2] == other[2] else "other"


def test_cells_and_rates_against_loops(engine: Engine) -> None:
    rows = _shown(2)
    cells = _cells(engine, rows)
    expected: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["position"] and row["user_id"] != "u4" and row["image_id"] != row["query_image_id"]:
            expected[row["query_image_id"], row["image_id"], row["position"]].append(row)
    found = {(r["query_image_id"], r["image_id"], r["position"]): r for r in engine.rows(cells)}
    assert set(found) == set(expected)
    trainable = {row[0] for row in CATALOGUE if row[4]}
    for key, mine in expected.items():
        clickers = sorted(row["user_id"] for row in mine if row["clicked"])
        cell = found[key]
        assert (cell["n"], cell["c"], cell["s"]) == (len(mine), len(clickers), sum(row["short"] for row in mine))
        assert (cell["first_user"], cell["last_user"]) == ((clickers[0], clickers[-1]) if clickers else (None, None))
        assert cell["relation"] == _relation(key[0], key[1])
        assert cell["trainable"] == int({key[0], key[1]} <= trainable)

    looks = propensity_table(engine, PROPENSITIES, PARAMETERS.propensity_floor)
    rates = engine.rows(attraction_rates(engine, cells, looks, PARAMETERS))
    by_pair: dict[tuple[Any, Any], list[dict[str, Any]]] = defaultdict(list)
    for (query, image, _), mine in expected.items():
        if _relation(query, image) not in ("self", "unknown"):
            by_pair[query, image].extend(mine)
    assert {(row["query_image_id"], row["image_id"]) for row in rates} == set(by_pair)
    for rate in rates:
        mine = by_pair[rate["query_image_id"], rate["image_id"]]
        clipped = [max(PROPENSITIES.values[row["position"] - 1], 0.2) for row in mine]
        weighted = sum((row["clicked"] - 0.75 * row["short"]) / p for row, p in zip(mine, clipped, strict=True))
        assert rate["n"] == len(mine)
        assert rate["clicks"] == sum(row["clicked"] for row in mine)
        assert rate["rate"] == pytest.approx(min(weighted / len(mine), 1), abs=1e-5)
        assert rate["trials"] == pytest.approx(len(mine) ** 2 / sum(1 / p for p in clipped), rel=1e-5)


def test_the_prior_against_loops(engine: Engine) -> None:
    rng = np.random.default_rng(4)
    trials = rng.uniform(1, 50, 300)
    rate = rng.beta(2, 6, 300)
    table = pa.table({"rate": rate, "trials": trials})
    prior = fit_prior(engine, engine.small("rates", table))
    mean = sum(n * r for n, r in zip(trials, rate, strict=True)) / sum(trials)
    between = sum(n * (r - mean) ** 2 for n, r in zip(trials, rate, strict=True))
    within = mean * (1 - mean)
    room = within * (sum(trials) - sum(n * n for n in trials) / sum(trials) - 299)
    strength = 1 / ((between - 299 * within) / room) - 1
    assert prior.mean == pytest.approx(mean, rel=1e-5)
    assert prior.alpha + prior.beta == pytest.approx(strength, rel=1e-4)


def test_the_prior_behind_binomial_draws_is_recovered() -> None:
    rng = np.random.default_rng(5)
    n = rng.integers(2, 60, 20_000)
    rate = rng.binomial(n, rng.beta(3, 9, len(n))) / n
    prior = prior_from_moments(
        pairs=len(n),
        trials=n.sum(),
        successes=(n * rate).sum(),
        squares=(n * rate**2).sum(),
        trials_squared=(n.astype(float) ** 2).sum(),
    )
    assert prior.alpha == pytest.approx(3, rel=0.1)
    assert prior.beta == pytest.approx(9, rel=0.1)


@pytest.mark.parametrize(
    ("moments", "strength"),
    [
        ({"pairs": 0, "trials": 0, "successes": 0, "squares": 0, "trials_squared": 0}, 1),
        ({"pairs": 1, "trials": 8, "successes": 2, "squares": 0.5, "trials_squared": 64}, 1000),
        ({"pairs": 2, "trials": 20, "successes": 10, "squares": 5, "trials_squared": 200}, 1000),  # two equal rates
        ({"pairs": 2, "trials": 20, "successes": 10, "squares": 10, "trials_squared": 200}, 1),  # one never, one always
        ({"pairs": 2, "trials": 20, "successes": 0, "squares": 0, "trials_squared": 200}, 1000),
    ],
)
def test_the_strength_of_the_prior_is_bounded(moments: dict[str, float], strength: float) -> None:
    prior = prior_from_moments(**moments)
    assert prior.alpha + prior.beta == pytest.approx(strength, rel=1e-5)
    assert 0 < prior.mean < 1


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.floats(0.2, 50),
    st.floats(0.2, 50),
    st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 1e4)), min_size=1, max_size=20),
    st.floats(0, 3),
)
def test_the_posterior_is_betas_and_shrinks_monotonically(
    engine: Engine, alpha: float, beta: float, evidence: list[tuple[float, float]], z: float
) -> None:
    prior = BetaPrior(alpha, beta)
    more = [(rate, 2 * trials) for rate, trials in evidence]
    better = [(min(1.0, rate + 0.1), trials) for rate, trials in evidence]
    rows = evidence + more + better
    table = pa.table({"rate": [row[0] for row in rows], "trials": [row[1] for row in rows]})
    frame = engine.small("evidence", table)
    col = engine.functions.col
    mean, lower = prior.posterior(engine, col("rate") * col("trials"), col("trials"), z)
    found = {
        (row["rate"], row["trials"]): (row["mean"], row["lower"])
        for row in engine.rows(frame.select("rate", "trials", mean.alias("mean"), lower.alias("lower")))
    }
    for rate, trials in rows:
        beta_distribution = scipy.stats.beta(alpha + rate * trials, beta + (1 - rate) * trials)
        got_mean, got_lower = found[rate, trials]
        assert got_mean == pytest.approx(beta_distribution.mean(), rel=1e-6)
        assert got_lower == pytest.approx(max(beta_distribution.mean() - z * beta_distribution.std(), 0), abs=1e-6)
        assert min(rate, prior.mean) - 1e-9 <= got_mean <= max(rate, prior.mean) + 1e-9  # between evidence and prior
    for (rate, trials), (_, twice), (higher, _) in zip(evidence, more, better, strict=True):
        assert found[higher, trials][0] >= found[rate, trials][0] - 1e-12
        assert abs(found[rate, twice][0] - rate) <= abs(found[rate, trials][0] - rate) + 1e-12
        if rate >= prior.mean:
            assert found[rate, twice][0] >= found[rate, trials][0] - 1e-12
