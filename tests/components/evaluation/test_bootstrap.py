"""Intervals against scipy, explicit loops and simulation."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from components.evaluation.bootstrap import bootstrap
from components.shared.errors import InputError


def test_bca_and_percentile_agree_with_scipy():
    values = np.random.default_rng(0).exponential(size=60) ** 2  # skewed, so that the corrections matter
    for kind, method in (("bca", "BCa"), ("percentile", "percentile")):
        (ours,) = bootstrap(values[:, None], np.arange(60), resamples=40_000, kind=kind)
        theirs = scipy.stats.bootstrap(
            (values,), np.mean, n_resamples=40_000, method=method, rng=np.random.default_rng(1)
        ).confidence_interval
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=0.02), kind
        assert ours.value == pytest.approx(values.mean())


def test_resampled_means_equal_explicit_loops():
    rng = np.random.default_rng(2)
    clusters = rng.integers(0, 7, 25)
    values = rng.random((25, 2))
    values[rng.random((25, 2)) < 0.2] = np.nan
    found = bootstrap(values, clusters, resamples=300, kind="percentile", seed=5)
    codes = np.unique(clusters, return_inverse=True)[1]
    draws = np.random.default_rng(5).integers(0, codes.max() + 1, (300, codes.max() + 1))
    for metric in range(2):
        means = []
        for draw in draws:
            taken = [v for c in draw for v in values[codes == c, metric] if not np.isnan(v)]
            means.append(sum(taken) / len(taken))
        assert (found[metric].low, found[metric].high) == pytest.approx(tuple(np.quantile(means, (0.025, 0.975))))


def test_intervals_hold_what_they_promise_for_dependent_views():
    rng = np.random.default_rng(3)
    inside = {"by item": 0, "by query": 0}
    for trial in range(200):
        items = rng.random(40) < 0.6  # an item is found in all of its five views, or in none
        values = np.repeat(items.astype(float), 5)[:, None]
        for name, clusters in (("by item", np.repeat(np.arange(40), 5)), ("by query", np.arange(200))):
            (one,) = bootstrap(values, clusters, resamples=300, seed=trial)
            inside[name] += one.low <= 0.6 <= one.high
    assert inside["by item"] >= 180  # 95 % promised, 90 % asked for
    assert inside["by query"] <= 140  # why clusters are needed


def test_the_same_draws_serve_all_columns():
    values = np.random.default_rng(6).random((50, 1))
    intervals = bootstrap(np.concatenate([values, values, 1 - values], axis=1), np.arange(50), kind="percentile")
    assert intervals[0] == intervals[1]
    assert (1 - intervals[2].high, 1 - intervals[2].low) == pytest.approx((intervals[0].low, intervals[0].high))


def test_blocks_of_draws_do_not_change_the_result(monkeypatch):
    values = np.random.default_rng(8).random((40, 3))
    whole = bootstrap(values, np.arange(40), resamples=500)
    monkeypatch.setattr("components.evaluation.bootstrap._BLOCK_ELEMENTS", 40 * 7)
    assert bootstrap(values, np.arange(40), resamples=500) == whole


def test_queries_without_value_are_left_out_and_counted():
    values = np.array([[1.0, np.nan], [np.nan, np.nan], [0.0, np.nan]])
    some, none = bootstrap(values, np.arange(3), resamples=200)
    assert (some.value, some.queries, some.left_out) == (0.5, 2, 1)
    assert (none.queries, none.left_out) == (0, 3)
    assert np.isnan([none.value, none.low, none.high]).all()


@pytest.mark.parametrize("values", [np.ones((20, 1)), np.full((1, 1), 0.3)])
def test_without_variation_both_ends_are_the_value(values):
    (one,) = bootstrap(values, np.arange(len(values)), resamples=200)
    assert one.low == one.value == one.high


def test_nothing_to_resample_gives_nothing():
    (one,) = bootstrap(np.empty((0, 1)), np.empty(0, np.int64))
    assert (one.queries, one.left_out) == (0, 0)


def test_shapes_must_agree():
    with pytest.raises(InputError, match=r"clusters \(q,\)"):
        bootstrap(np.ones((3, 1)), np.arange(2))
