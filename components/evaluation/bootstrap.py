"""Bootstrap intervals of means over queries, resampled by item.

The views of one item are found, or missed, together: resampling single queries would treat them as independent and
give intervals that are too narrow. So whole items are drawn, with replacement. All metrics and all rankers share the
same draws, so that a difference between two rankers is automatically paired.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from components.shared.errors import InputError
from components.shared.truth.metrics import PerQuery

_BLOCK_ELEMENTS = 4_000_000
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Interval:
    """A mean over queries with its bootstrap interval.

    Attributes:
        value: the mean; NaN if no query has a value.
        queries: number of queries with a value.
        left_out: number of queries without.
    """

    value: float
    low: float
    high: float
    queries: int
    left_out: int


def bootstrap(
    values: NDArray[np.float64],
    clusters: NDArray[np.int64],
    *,
    resamples: int = 2_000,
    confidence: float = 0.95,
    kind: Literal["bca", "percentile"] = "bca",
    seed: int = 0,
) -> list[Interval]:
    """Compute an interval for the mean of every column by resampling clusters.

    Args:
        values: (q, m) one column per metric (and ranker); NaN: this query has no value.
        clusters: (q,) int, equal for queries that depend on each other (one item's views).
        resamples: number of draws.
        confidence: level, for example 0.95.
        kind: "percentile", or "bca": corrected for bias and skew by the jackknife over clusters.
        seed: equal seeds give equal draws.

    Returns:
        m intervals. If all values agree, or there is only one cluster, both ends are the value, since the bootstrap has
        no spread to measure.

    Raises:
        InputError: the shapes do not match.

    Source:
        Efron, Tibshirani, An Introduction to the Bootstrap, 1993, §14.3 (BCa); Field, Welsh, Bootstrapping clustered
        data, JRSS B 2007, §3 (clusters).
    """
    if values.ndim != 2 or clusters.shape != values.shape[:1]:
        raise InputError(f"expected values (q, m) and clusters (q,), got {values.shape} and {clusters.shape}")
    there = ~np.isnan(values)
    _, codes = np.unique(clusters, return_inverse=True)
    size = int(codes.max()) + 1 if len(codes) else 0
    sums, counts = (
        _by_cluster(table, codes, size) for table in (np.where(there, values, 0.0), there.astype(np.float64))
    )
    means = (
        np.concatenate([*_resampled_means(sums, counts, resamples, seed)]) if size else np.empty((0, values.shape[1]))
    )
    return [
        _interval(sums[:, m], counts[:, m], means[:, m], confidence, kind, int(np.count_nonzero(~there[:, m])))
        for m in range(values.shape[1])
    ]


def _by_cluster(table: NDArray[np.float64], codes: NDArray[np.int64], size: int) -> NDArray[np.float64]:
    columns = [np.bincount(codes, weights=table[:, m], minlength=size) for m in range(table.shape[1])]
    return np.stack(columns, axis=1) if columns else np.empty((size, 0))


def _resampled_means(
    sums: NDArray[np.float64], counts: NDArray[np.float64], resamples: int, seed: int
) -> Iterator[NDArray[np.float64]]:
    """Yield (block, m) means; a draw of clusters is a row of multiplicities, and the means are two matrix products."""
    rng, size = np.random.default_rng(seed), len(sums)
    block = max(1, _BLOCK_ELEMENTS // size)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = rng.integers(0, size, (rows, size)) + np.arange(rows)[:, None] * size
        times = np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size).astype(np.float64)
        with np.errstate(invalid="ignore"):
            yield (times @ sums) / (times @ counts)


def _interval(
    sums: PerQuery, counts: PerQuery, means: PerQuery, confidence: float, kind: str, left_out: int
) -> Interval:
    total, queries = float(sums.sum()), int(counts.sum())
    if not queries:
        return Interval(float("nan"), float("nan"), float("nan"), 0, left_out)
    value = total / queries
    means = means[~np.isnan(means)]  # a draw can be without any query that has a value
    tails = ((1 - confidence) / 2, (1 + confidence) / 2)
    if kind == "bca" and np.ptp(means) > 1e-12:
        tails = _corrected(tails, value, means, sums, counts)
    low, high = (float(end) for end in np.quantile(means, tails))
    return Interval(value, min(low, value), max(high, value), queries, left_out)


def _corrected(
    tails: tuple[float, float], value: float, means: PerQuery, sums: PerQuery, counts: PerQuery
) -> tuple[float, float]:
    """Shift the two tail probabilities for bias (share of draws below the value) and skew (jackknife)."""
    rest = counts.sum() - counts
    jackknife = (sums.sum() - sums)[rest > 0] / rest[rest > 0]
    lean = jackknife.mean() - jackknife
    spread = float((lean**2).sum())
    acceleration = float((lean**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
    below = float(np.mean(means < value) + np.mean(means == value) / 2)
    bias = _NORMAL.inv_cdf(min(max(below, 1 / (2 * len(means))), 1 - 1 / (2 * len(means))))
    shifted = []
    for tail in tails:
        z = bias + _NORMAL.inv_cdf(tail)
        shifted.append(_NORMAL.cdf(bias + z / (1 - acceleration * z)))
    return shifted[0], shifted[1]
