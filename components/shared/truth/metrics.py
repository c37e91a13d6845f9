"""Ranking metrics: pure functions from ranked lists of grades to one value per query.

Every function takes `ranked_grades`, (q, k) uint8: row i holds the grades 0–3 of the results of query i, in rank order.
Grades carry no scores, so the sign and scale of scores cannot matter; `rank_rows` computes the order from scores. A list
shorter than the cut-off counts as filled with irrelevant images, as in trec_eval.

A query with nothing relevant in the gallery has no value: it gets NaN, and `average` leaves it out and counts it.
Figures agree with trec_eval (relevance level 2; nDCG with the grade itself as gain).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.shared.errors import DataError, InputError, ParameterError
from components.shared.truth.relevance import MAX_GRADE, RELEVANT_GRADE, Grades

PerQuery = NDArray[np.float64]
Counts = NDArray[np.int64]
Rows = NDArray[np.int64]

_LOW_HALF = np.uint64(0xFFFFFFFF)


def rank_rows(scores: NDArray[np.floating], k: int | None = None) -> Rows:
    """Rank gallery rows by score, best first; ties in order of row, so that every machine gives the same ranking.

    Callers exclude a query's own image by giving it −inf: it then comes last, with grade 0.

    Args:
        scores: (q, n) float, higher is better, negative ones included; no NaN.
        k: number of rows to keep, by default all; more than n means n.

    Returns:
        (q, min(k, n)) int64 rows.

    Raises:
        InputError: a score is NaN.
        ParameterError: k is below 1.

    Example:
        >>> rank_rows(np.array([[0.1, 0.9, 0.9]], np.float32)).tolist()
        [[1, 2, 0]]
    """
    depth = scores.shape[1] if k is None else min(_checked(k), scores.shape[1])
    if np.isnan(scores).any():
        query, row = (int(i) for i in np.argwhere(np.isnan(scores))[0])
        raise InputError(f"scores must be numbers, got NaN for query {query} and gallery row {row}; check the ranker")
    if scores.dtype != np.float32:
        return np.argsort(-scores, axis=1, kind="stable")[:, :depth]
    keys = _descending_keys(scores)
    if depth < scores.shape[1]:
        keys = np.partition(keys, depth - 1, axis=1)[:, :depth]  # keys are distinct, so the choice is unique
    keys.sort(axis=1)
    return (keys & _LOW_HALF).astype(np.int64)


def count_relevant(grades: Grades) -> Counts:
    """Count the relevant images (grade ≥ 2) of each query: (q, n) grades of the whole gallery → (q,) int64.

    Example:
        >>> count_relevant(np.array([[3, 2, 1, 0]], np.uint8)).tolist()
        [2]
    """
    return np.asarray(np.count_nonzero(grades >= RELEVANT_GRADE, axis=1), np.int64)


def ideal_grades(grades: Grades, k: int) -> Grades:
    """Return the best possible list: (q, n) grades of the whole gallery → (q, k) uint8, descending.

    Example:
        >>> ideal_grades(np.array([[0, 3, 1, 2]], np.uint8), k=3).tolist()
        [[3, 2, 1]]
    """
    _checked(k)
    at_least = np.stack([np.count_nonzero(grades >= g, axis=1) for g in range(1, MAX_GRADE + 1)], axis=1)
    return np.asarray((at_least[:, None, :] > np.arange(k)[None, :, None]).sum(axis=2), np.uint8)


def hit_rate_at_k(ranked_grades: Grades, relevant_count: Counts, k: int) -> PerQuery:
    """Return 1 if any of the first k is relevant, else 0 (trec_eval's success; papers on product retrieval: Recall@K).

    Args:
        ranked_grades: (q, ≥ k) uint8.
        relevant_count: (q,) relevant images in the whole gallery.
        k: cut-off, ≥ 1.

    Returns:
        (q,) float64; NaN where nothing is relevant.

    Example:
        >>> hit_rate_at_k(np.array([[0, 3], [0, 1]], np.uint8), np.array([1, 1]), k=2).tolist()
        [1.0, 0.0]
    """
    hit = np.asarray(_relevant(ranked_grades, k).any(axis=1), np.float64)
    return _defined(hit, relevant_count)


def recall_at_k(ranked_grades: Grades, relevant_count: Counts, k: int) -> PerQuery:
    """Return the share of a query's relevant images that are among the first k.

    Args:
        ranked_grades: (q, ≥ k) uint8.
        relevant_count: (q,) relevant images in the whole gallery.
        k: cut-off, ≥ 1.

    Returns:
        (q,) float64 in [0, 1]; NaN where nothing is relevant.

    Example:
        >>> recall_at_k(np.array([[3, 0, 2]], np.uint8), np.array([2]), k=2).tolist()
        [0.5]
    """
    found = np.asarray(np.count_nonzero(_relevant(ranked_grades, k), axis=1), np.float64)
    return _defined(np.divide(found, np.maximum(relevant_count, 1)), relevant_count)


def precision_at_k(ranked_grades: Grades, relevant_count: Counts, k: int) -> PerQuery:
    """Return the share of relevant images among the first k; the divisor is k even if the list is shorter.

    Args:
        ranked_grades: (q, ≥ k) uint8.
        relevant_count: (q,) relevant images in the whole gallery.
        k: cut-off, ≥ 1.

    Returns:
        (q,) float64 in [0, 1]; NaN where nothing is relevant.

    Example:
        >>> precision_at_k(np.array([[3, 0, 2, 0]], np.uint8), np.array([2]), k=4).tolist()
        [0.5]
    """
    return _defined(np.count_nonzero(_relevant(ranked_grades, k), axis=1) / k, relevant_count)


def average_precision(ranked_grades: Grades, relevant_count: Counts) -> PerQuery:
    """Return the mean of the precision at the rank of every relevant image; its mean over queries is mAP.

    A relevant image that is not in the list adds 0, so a truncated list gives a lower bound (trec_eval's map_cut).

    Args:
        ranked_grades: (q, k) uint8; k = n for the full figure.
        relevant_count: (q,) relevant images in the whole gallery.

    Returns:
        (q,) float64 in [0, 1]; NaN where nothing is relevant.

    Source:
        Manning, Raghavan, Schütze, Introduction to Information Retrieval, 2008, §8.4.

    Example:
        >>> average_precision(np.array([[3, 0, 0, 2]], np.uint8), np.array([2])).tolist()  # (1/1 + 2/4) / 2
        [0.75]
    """
    # Only the ranks of relevant images matter, and they are few, so no (q, k) array of floats is needed.
    query, place = np.nonzero(ranked_grades >= RELEVANT_GRADE)
    counts = np.bincount(query, minlength=len(ranked_grades))
    first = np.concatenate(([0], np.cumsum(counts)[:-1])) if len(counts) else np.zeros(0, np.int64)
    nth = np.arange(len(query)) - first[query] + 1
    sums = np.bincount(query, weights=nth / (place + 1.0), minlength=len(ranked_grades))
    return _defined(sums / np.maximum(relevant_count, 1), relevant_count)


def reciprocal_rank(ranked_grades: Grades, relevant_count: Counts) -> PerQuery:
    """Return 1 / rank of the first relevant image, 0 if the list has none; its mean over queries is MRR.

    Args:
        ranked_grades: (q, k) uint8.
        relevant_count: (q,) relevant images in the whole gallery.

    Returns:
        (q,) float64 in [0, 1]; NaN where nothing is relevant.

    Example:
        >>> reciprocal_rank(np.array([[0, 1, 0, 2]], np.uint8), np.array([1])).tolist()
        [0.25]
    """
    relevant = ranked_grades >= RELEVANT_GRADE
    if not relevant.shape[1]:
        return _defined(np.zeros(len(relevant)), relevant_count)
    return _defined(np.where(relevant.any(axis=1), 1.0 / (relevant.argmax(axis=1) + 1.0), 0.0), relevant_count)


def ndcg_at_k(ranked_grades: Grades, ideal: Grades, k: int) -> PerQuery:
    """Return the discounted gain of the first k relative to that of the best possible list; grades count in full.

    Gain is the grade g (not 2^g − 1), discount log2(rank + 1): trec_eval's ndcg_cut.

    Args:
        ranked_grades: (q, ≥ k) uint8.
        ideal: (q, ≥ k) output of `ideal_grades` for the same gallery.
        k: cut-off, ≥ 1.

    Returns:
        (q,) float64 in [0, 1]; NaN where every grade is 0.

    Source:
        Järvelin, Kekäläinen, Cumulated gain-based evaluation of IR techniques, TOIS 2002, with trec_eval's discount.

    Example:
        >>> grades = np.array([[3, 0, 2]], np.uint8)
        >>> ndcg_at_k(grades, ideal_grades(grades, 3), k=3).round(4).tolist()
        [0.9386]
    """
    best = _discounted_gain(ideal, k)
    return _defined(_discounted_gain(ranked_grades, k) / np.where(best > 0, best, 1.0), best)


def ann_recall_at_k(found_rows: Rows, exact_rows: Rows, k: int, *, tied: NDArray[np.bool_] | None = None) -> PerQuery:
    """Return the share of the k exact neighbours that an index returned among its first k; relevance plays no part.

    Args:
        found_rows: (q, ≥ k) rows that the index returned, −1 where it found fewer.
        exact_rows: (q, ≥ k) rows of the exact search, −1 where the gallery has fewer.
        k: cut-off, ≥ 1.
        tied: (q, ≥ k) true where a found row is exactly as near as the k-th exact neighbour, and so counts as found
            although the exact search happened to return another (catalogues hold identical pictures).

    Returns:
        (q,) float64 in [0, 1]; NaN where the exact search found nothing.

    Example:
        >>> ann_recall_at_k(np.array([[7, 3, -1]]), np.array([[7, 5, 3]]), k=3).round(3).tolist()
        [0.667]
    """
    _checked(k)
    found, exact = found_rows[:, :k], exact_rows[:, :k]
    hits = np.zeros(len(exact), np.int64)
    for column in range(exact.shape[1]):
        wanted = exact[:, column]
        hits += (found == wanted[:, None]).any(axis=1) & (wanted >= 0)
    there = np.count_nonzero(exact >= 0, axis=1)
    if tied is not None:
        strangers = tied[:, :k] & (found >= 0) & ~(found[:, :, None] == exact[:, None, :]).any(axis=2)
        hits = np.minimum(hits + np.count_nonzero(strangers, axis=1), there)
    return _defined(hits / np.maximum(there, 1), there)


@dataclass(frozen=True)
class Average:
    """A mean over queries.

    Attributes:
        value: mean over the queries that have a value.
        queries: number of these.
        left_out: number of queries without a relevant image.
    """

    value: float
    queries: int
    left_out: int


def average(values: PerQuery) -> Average:
    """Average over the queries that have a value.

    Raises:
        DataError: no query has a value.

    Example:
        >>> average(np.array([1.0, 0.0, np.nan]))
        Average(value=0.5, queries=2, left_out=1)
    """
    there = ~np.isnan(values)
    queries = int(np.count_nonzero(there))
    if not queries:
        raise DataError(
            f"none of the {len(values)} queries has a relevant image in the gallery, so there is nothing to measure; "
            "add images of the same items, or judgements"
        )
    return Average(float(values[there].mean()), queries, len(values) - queries)


def _descending_keys(scores: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Pack (score, row) into integers that ascend as scores descend: one fast sort, ties by row."""
    bits = np.ascontiguousarray(scores + np.float32(0)).view(np.uint32)  # + 0 turns −0 into 0
    ascending = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    return (~ascending).astype(np.uint64) << np.uint64(32) | np.arange(scores.shape[1], dtype=np.uint64)


def _discounted_gain(grades: Grades, k: int) -> PerQuery:
    shown = grades[:, : _checked(k)]
    discount = 1.0 / np.log2(np.arange(2, shown.shape[1] + 2))
    return shown.astype(np.float64) @ discount


def _relevant(ranked_grades: Grades, k: int) -> NDArray[np.bool_]:
    return ranked_grades[:, : _checked(k)] >= RELEVANT_GRADE


def _defined(values: PerQuery, count: NDArray[np.int64] | PerQuery) -> PerQuery:
    return np.where(np.asarray(count) > 0, values, np.nan)


def _checked(k: int) -> int:
    if k < 1:
        raise ParameterError(f"the cut-off k must be at least 1, got {k}")
    return k
