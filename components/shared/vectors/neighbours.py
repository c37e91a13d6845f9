"""Neighbours, filters of rows, and the exact search that every index is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

from components.shared.vectors.embeddings import Vectors

BLOCK_ROWS = 65_536
_ROUNDING = 2e-6  # upper bound for the difference of two computations of one inner product of unit vectors
_RESCORED_VALUES = 1 << 23  # vector components gathered at once: 32 MB
_RESULTS_AT_ONCE = 1 << 22
_SPARE = 8  # results requested beyond k, so that ties at the end can be resolved by row


class StoredVectors(Protocol):
    """Rows that can be fetched by slice or by an array of row numbers: an array, a memory map or an index."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, d)."""

    def __getitem__(self, rows: Any) -> NDArray[np.floating]:
        """Return the vectors of these rows."""


@dataclass(frozen=True)
class Neighbours:
    """The best rows per query, best first; ties in order of their rows.

    Attributes:
        scores: (q, k) float32 inner products; −inf if fewer rows exist.
        rows: (q, k) int64; −1 if fewer rows exist.
    """

    scores: NDArray[np.float32]
    rows: NDArray[np.int64]


class RowFilter:
    """The rows that may be returned, from (n,) bool. Prepare it once and use it for many searches, from any thread."""

    def __init__(self, allowed: NDArray[np.bool_]) -> None:
        self.allowed = np.array(allowed, np.bool_)  # a copy, so that a caller's later change has no effect
        self.count = int(np.count_nonzero(self.allowed))
        self._bitmap = np.packbits(self.allowed, bitorder="little")
        self.selector = faiss.IDSelectorBitmap(len(self._bitmap), faiss.swig_ptr(self._bitmap))

    def rows(self) -> NDArray[np.int64]:
        """Return the allowed rows, ascending."""
        return np.flatnonzero(self.allowed).astype(np.int64, copy=False)


def exact_search(
    vectors: StoredVectors, queries: Vectors, k: int, allowed: NDArray[np.bool_] | RowFilter | None = None
) -> Neighbours:
    """Compare every query with every (allowed) row, block by block: the reference for every index.

    Args:
        vectors: (n, d) unit vectors, float32 or float16.
        queries: (q, d) float32 unit vectors.
        k: number of results, ≥ 1; can exceed n.
        allowed: (n,) rows that may be returned; None: all.

    Returns:
        k neighbours per query; equal vectors get equal scores, so ties are in order of their rows.
    """
    rows = None
    if allowed is not None:
        rows = (allowed if isinstance(allowed, RowFilter) else RowFilter(allowed)).rows()
    available = vectors.shape[0] if rows is None else len(rows)

    def find(some: Vectors, wanted: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        found = _scan(vectors, rows, available, some, wanted)
        return rescore(vectors, some, found), found

    return settle(find, queries, k, available)


def settle(
    find: Callable[[Vectors, int], tuple[NDArray[np.float32], NDArray[np.int64]]],
    queries: Vectors,
    k: int,
    available: int,
    *,
    limit: int | None = None,
) -> Neighbours:
    """Order ties by row, requesting more candidates where a tie extends beyond those that were found.

    Args:
        find: (queries, number) → scores and rows, each (q, number), in any order; −inf and −1 where there are fewer.
        queries: (q, d) float32.
        k: number of results.
        available: number of rows that can be found.
        limit: most candidates to request because of ties; None: all rows.
    """
    reachable = min(k, available)
    scores = np.full((len(queries), k), -np.inf, np.float32)
    rows = np.full((len(queries), k), -1, np.int64)
    if not reachable:
        return Neighbours(scores, rows)
    number = min(reachable + _SPARE, available)
    limit = available if limit is None else max(min(limit, available), number)
    unsettled: slice | NDArray[np.int64] = slice(None)  # all of them, without copying
    while True:
        tied = []
        for some in _portions(unsettled, len(queries), _RESULTS_AT_ONCE // number):
            fresh, found = _ordered(*find(queries[some], number))
            scores[some, :reachable], rows[some, :reachable] = fresh[:, :reachable], found[:, :reachable]
            ends_in_tie = (found[:, -1] >= 0) & (fresh[:, -1] >= fresh[:, reachable - 1] - _ROUNDING)
            if ends_in_tie.any():
                tied.append(np.arange(len(queries))[some][ends_in_tie])
        if not tied or number >= limit:
            return Neighbours(scores, rows)
        unsettled = np.concatenate(tied)
        number = min(number * 4, limit)


def _portions(chosen: slice | NDArray[np.int64], queries: int, most: int) -> Iterator[slice | NDArray[np.int64]]:
    if isinstance(chosen, slice):
        if queries <= most:
            yield chosen
            return
        chosen = np.arange(queries)
    for start in range(0, len(chosen), max(1, most)):
        yield chosen[start : start + max(1, most)]


def rescore(vectors: StoredVectors, queries: Vectors, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the (q, k) inner products of queries with stored rows; −inf where the row is −1.

    The order of summation is fixed, so a pair has one score, independent of the other rows and queries of the call.
    """
    scores = np.empty(rows.shape, np.float32)
    step = max(1, _RESCORED_VALUES // max(1, rows.shape[1] * queries.shape[1]))
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        candidates = vectors[np.maximum(some, 0).ravel()].astype(np.float32, copy=False)
        np.einsum(
            "qd,qkd->qk",
            queries[start : start + step],
            candidates.reshape(*some.shape, -1),
            out=scores[start : start + step],
        )
    scores[rows < 0] = -np.inf
    return scores


def _ordered(scores: NDArray[np.float32], rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    if (scores[:, :-1] > scores[:, 1:]).all():  # already in order and without ties, as most answers of an index are
        return scores, rows
    places = np.lexsort((rows, -scores), axis=1)
    places += np.arange(len(places))[:, None] * places.shape[1]
    return scores.ravel()[places], rows.ravel()[places]


def _scan(
    vectors: StoredVectors, rows: NDArray[np.int64] | None, available: int, queries: Vectors, k: int
) -> NDArray[np.int64]:
    best_scores = np.full((len(queries), k), -np.inf, np.float32)
    best_rows = np.full((len(queries), k), -1, np.int64)
    for start in range(0, available, BLOCK_ROWS):
        stop = min(start + BLOCK_ROWS, available)
        block = vectors[start:stop] if rows is None else vectors[rows[start:stop]]
        scores, found = faiss.knn(
            queries, np.ascontiguousarray(block, np.float32), min(k, stop - start), metric=faiss.METRIC_INNER_PRODUCT
        )
        found = found + start if rows is None else rows[start:stop][found]
        if available <= BLOCK_ROWS:
            return np.asarray(found, np.int64)
        joined, joined_rows = np.hstack([best_scores, scores]), np.hstack([best_rows, found])
        places = np.argpartition(-joined, k - 1, axis=1)[:, :k]
        best_scores, best_rows = np.take_along_axis(joined, places, 1), np.take_along_axis(joined_rows, places, 1)
    return best_rows
