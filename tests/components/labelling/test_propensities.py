from __future__ import annotations

from collections import defaultdict

import numpy as np
import pyarrow as pa
import pytest

from components.labelling.engine import Engine
from components.labelling.parameters import LabellingParameters
from components.labelling.propensities import (
    HARVESTED,
    REGRESSION,
    combine,
    estimate_propensities,
    fit_position_model,
)

TRUE = 1 / np.arange(1, 7)


def _model(groups: int, shown: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return (clicks, shown) without noise for groups of random attraction."""
    rng = np.random.default_rng(seed)
    attraction = rng.uniform(0.1, 0.9, groups)
    n = rng.uniform(0.5, 1.5, (groups, len(TRUE))) * shown
    return n * attraction[:, None] * TRUE, n


def _em_by_loops(clicks: np.ndarray, shown: np.ndarray, rounds: int = 20_000) -> np.ndarray:
    """Expectation maximisation as Wang et al. (2018) have it, section 4.2, with a table for the regression."""
    groups, k = clicks.shape
    p, r = [0.5] * k, [0.5] * groups
    for _ in range(rounds):
        looked, liked = [[0.0] * k for _ in range(groups)], [[0.0] * k for _ in range(groups)]
        for g in range(groups):
            for j in range(k):
                c, rest = clicks[g, j], shown[g, j] - clicks[g, j]
                missed = 1 - p[j] * r[g]
                looked[g][j] = c + rest * p[j] * (1 - r[g]) / missed
                liked[g][j] = c + rest * r[g] * (1 - p[j]) / missed
        p = [sum(looked[g][j] for g in range(groups)) / shown[:, j].sum() for j in range(k)]
        r = [sum(liked[g]) / shown[g].sum() for g in range(groups)]
    return np.array(p) / p[0]


def test_the_position_model_is_recovered_without_noise() -> None:
    assert fit_position_model(*_model(5, 1000)) == pytest.approx(TRUE, rel=1e-4)


def test_the_maximum_is_that_of_expectation_maximisation() -> None:
    rng = np.random.default_rng(3)
    clicks, shown = _model(2, 60, seed=3)
    shown = np.round(shown)[:, :3]
    clicks = rng.binomial(shown.astype(int), (clicks[:, :3] / np.maximum(shown, 1)).clip(0, 1)).astype(float)
    assert fit_position_model(clicks, shown) == pytest.approx(_em_by_loops(clicks, shown, 4000), rel=2e-3)


def test_two_positions_have_the_ratio_of_their_click_rates() -> None:
    clicks, shown = np.array([[30.0, 12.0]]), np.array([[100.0, 80.0]])
    assert fit_position_model(clicks, shown)[1] == pytest.approx((12 / 80) / (30 / 100), rel=1e-5)


def _cells(*, seed: int, moving: bool, pairs: int = 300, shown: int = 40) -> pa.Table:
    """Draw cells whose ranking puts the better images first, so that the raw click rate by position is too steep."""
    rng = np.random.default_rng(seed)
    rows = []
    for pair in range(pairs):
        attraction = float(rng.beta(2, 3))
        home = int(np.clip(np.round((1 - attraction) * 6 + rng.normal(0, 0.7)), 0, 5))
        for position in {home, int(rng.integers(6))} if moving else {home}:
            times = int(rng.integers(shown // 2, 2 * shown))
            clicks = int(rng.binomial(times, TRUE[position] * attraction))
            rows.append(("q", f"i{pair}", position + 1, times, clicks, "other"))
        rows.append((None, f"i{pair}", home + 1, 3, 0, "unknown"))  # uploaded pictures tell nothing about moves
    names = ["query_image_id", "image_id", "position", "n", "c", "relation"]
    return pa.table({name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)})


def _harvest_by_loops(cells: pa.Table) -> dict[tuple[int, int], tuple[float, float]]:
    at: dict[tuple[str, str], dict[int, tuple[int, int]]] = defaultdict(dict)
    for row in cells.to_pylist():
        if row["query_image_id"]:
            at[row["query_image_id"], row["image_id"]][row["position"]] = (row["n"], row["c"])
    sums: dict[tuple[int, int], tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    for places in at.values():
        for k, (n, c) in places.items():
            for other, (m, _) in places.items():
                if k != other:
                    clicks, shown = sums[k, other]
                    sums[k, other] = (clicks + c / n * n * m / (n + m), shown + n * m / (n + m))
    return sums


def test_harvesting_against_loops_and_the_truth(engine: Engine) -> None:
    cells = _cells(seed=1, moving=True, shown=400)
    found = estimate_propensities(engine, engine.small("cells", cells), LabellingParameters())
    sums = _harvest_by_loops(cells)
    evidence = [
        sum(sums[k, other][0] + sums[other, k][0] for other in range(1, 7) if other != k) for k in found.positions
    ]
    assert found.evidence == pytest.approx(evidence, rel=1e-4)
    groups = [(k, other) for k in range(1, 7) for other in range(k + 1, 7) if sums[k, other][1]]
    clicks, shown = np.zeros((2, len(groups), 6))
    for index, (k, other) in enumerate(groups):
        for here, there in ((k, other), (other, k)):
            clicks[index, here - 1], shown[index, here - 1] = sums[here, there]
    assert found.values == pytest.approx(fit_position_model(clicks, shown), rel=1e-3)
    assert found.methods == [HARVESTED] * 6
    assert found.warnings == []
    assert found.values == pytest.approx(TRUE, rel=0.1)
    raw = [
        sum(r["c"] for r in cells.to_pylist() if r["position"] == k)
        / sum(r["n"] for r in cells.to_pylist() if r["position"] == k)
        for k in range(1, 7)
    ]
    naive = np.array(raw) / raw[0]
    assert np.abs(np.array(found.values) / TRUE - 1).mean() < np.abs(naive / TRUE - 1).mean() / 2


def test_without_moves_the_position_model_fills_in_and_says_so(engine: Engine) -> None:
    cells = _cells(seed=1, moving=False)
    found = estimate_propensities(engine, engine.small("cells", cells), LabellingParameters())
    assert found.methods == [REGRESSION] * 6
    assert "positions 1, 2, 3, 4, 5, 6" in found.warnings[0]
    assert found.values[0] == 1


def test_a_position_out_of_reach_follows_the_curve_from_the_last_one_reached() -> None:
    relation_clicks, relation_shown = _model(1, 500)
    clicks, shown = np.zeros((2, 6, 6))
    clicks[0, 1], clicks[1, 0] = 80.0, 30.0  # positions 1 and 2 share enough, 3 too little, the others nothing
    shown[0, 1] = shown[1, 0] = 200.0
    clicks[1, 2], clicks[2, 1] = 4.0, 2.0
    shown[1, 2] = shown[2, 1] = 10.0
    found = combine(list(range(1, 7)), clicks, shown, relation_clicks, relation_shown, minimum_clicks=50)
    assert found.methods == [HARVESTED, HARVESTED] + [REGRESSION] * 4
    assert found.values[1] == pytest.approx(30 / 80, rel=1e-4)
    assert found.values[2:] == pytest.approx(0.375 * TRUE[2:] / TRUE[1], rel=1e-3)
    assert "positions 3, 4, 5, 6" in found.warnings[0]


def test_a_position_without_clicks_gets_a_tiny_propensity() -> None:
    clicks, shown = np.array([[30.0, 0.0]]), np.array([[100.0, 80.0]])
    assert 0 < fit_position_model(clicks, shown)[1] < 1e-3


def test_an_empty_log_says_so() -> None:
    nothing = np.zeros((0, 0))
    assert combine([], nothing, nothing, nothing, nothing, minimum_clicks=1).warnings == ["nothing was shown"]
