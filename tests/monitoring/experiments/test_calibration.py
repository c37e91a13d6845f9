"""What is promised, counted over simulated experiments with users as they are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tea_tasting as tt

from monitoring.experiments.parameters import ExperimentParameters
from monitoring.experiments.simulation import Population, compare_simulated, rejections, simulate

PARAMETERS = ExperimentParameters(minimum_lift=0.3)
_CHUNK = 50


def _shares(experiments: int, lift: float, population: Population, seed: int) -> dict[str, tuple[float, float]]:
    """Return by method the share of experiments that reject at the last look, and at any."""
    rng, found = np.random.default_rng(seed), {}
    for _ in range(experiments // _CHUNK):
        clicked, searches = simulate(_CHUNK, lift, population, rng)
        difference = compare_simulated(clicked, searches)
        for name, value in rejections(difference, clicked, searches, PARAMETERS).items():
            found.setdefault(name, []).append(value)
    joined = {name: np.concatenate(parts) for name, parts in found.items()}
    return {name: (float(v[:, -1].mean()), float(v.max(axis=1).mean())) for name, v in joined.items()}


def _check_aa(experiments: int, population: Population) -> None:
    found = _shares(experiments, 0.0, population, 1)
    error = 3 * np.sqrt(0.05 * 0.95 / experiments)
    assert found["pooled"][0] > 0.2  # what treating searches as independent gives
    assert abs(found["delta"][0] - 0.05) < error + 0.01
    assert found["delta"][1] > 0.1  # looking daily at a test for one look
    assert found["sequence"][0] <= 0.05
    assert found["sequence"][1] <= 0.05


def test_no_difference_is_rarely_found() -> None:
    _check_aa(1_000, Population(users=500, spread=1.0))


@pytest.mark.long
def test_no_difference_is_rarely_found_long() -> None:
    _check_aa(10_000, Population(users=1_000, spread=1.2))


def test_a_lift_is_found_beside_the_test_of_one_look() -> None:
    """At a lift that tea-tasting's test finds in nearly all experiments, on the same data."""
    population = Population(users=1_000, spread=1.0)
    found = _shares(300, 0.4, population, 2)
    assert found["delta"][0] > 0.95
    assert found["sequence"][1] > 0.9
    rng = np.random.default_rng(2)
    clicked, searches = simulate(5, 0.4, population, rng)
    ours = compare_simulated(clicked, searches)
    for e in range(5):
        frames = []
        for arm in (0, 1):
            x, y = clicked[e, arm, :, -1], searches[e, arm, :, -1]
            frames.append(pd.DataFrame({"x": x, "y": y, "variant": arm})[y > 0])
        metric = tt.RatioOfMeans("x", "y", use_t=False, equal_var=False)
        oracle = tt.Experiment(m=metric).analyze(pd.concat(frames))["m"]
        assert ours.value[e, -1] == pytest.approx(oracle.effect_size, rel=1e-9)
        z = ours.value[e, -1] / np.sqrt(ours.variance[e, -1])
        assert z == pytest.approx(oracle.statistic, rel=1e-9)
