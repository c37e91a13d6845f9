"""Answers of every ranker to the same queries, and their metrics, block by block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from components.evaluation.gallery import Gallery
from components.shared.files.progress import progress
from components.shared.truth.metrics import (
    Counts,
    PerQuery,
    Rows,
    average_precision,
    count_relevant,
    hit_rate_at_k,
    ideal_grades,
    ndcg_at_k,
    precision_at_k,
    rank_rows,
    recall_at_k,
    reciprocal_rank,
)
from components.shared.truth.relevance import Grades
from components.shared.vectors.embeddings import Vectors

METRICS: dict[str, Callable[[Grades, Counts, Grades], PerQuery]] = {
    "hit_rate_at_1": lambda ranked, relevant, ideal: hit_rate_at_k(ranked, relevant, 1),
    "hit_rate_at_5": lambda ranked, relevant, ideal: hit_rate_at_k(ranked, relevant, 5),
    "hit_rate_at_10": lambda ranked, relevant, ideal: hit_rate_at_k(ranked, relevant, 10),
    "recall_at_1": lambda ranked, relevant, ideal: recall_at_k(ranked, relevant, 1),
    "recall_at_10": lambda ranked, relevant, ideal: recall_at_k(ranked, relevant, 10),
    "recall_at_50": lambda ranked, relevant, ideal: recall_at_k(ranked, relevant, 50),
    "precision_at_10": lambda ranked, relevant, ideal: precision_at_k(ranked, relevant, 10),
    "map": lambda ranked, relevant, ideal: average_precision(ranked, relevant),
    "ndcg_at_10": lambda ranked, relevant, ideal: ndcg_at_k(ranked, ideal, 10),
    "mrr": lambda ranked, relevant, ideal: reciprocal_rank(ranked, relevant),
}
METRIC_TITLES = {
    "hit_rate_at_1": "hit rate@1",
    "hit_rate_at_5": "hit rate@5",
    "hit_rate_at_10": "hit rate@10",
    "recall_at_1": "recall@1",
    "recall_at_10": "recall@10",
    "recall_at_50": "recall@50",
    "precision_at_10": "precision@10",
    "map": "mAP",
    "ndcg_at_10": "nDCG@10",
    "mrr": "MRR",
}
CURVE_CUTS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 75, 100, 200, 500, 1000)
TOP = 20  # neighbours kept for people to view

_IDEAL_DEPTH = 10
_BLOCK_ELEMENTS = 2_000_000


@dataclass(frozen=True)
class Ranker:
    """A method that ranks the gallery for a query: by `vectors`, by `answers`, or, without either, by chance.

    Attributes:
        name: short name, legal in names of metrics.
        title: name for people.
        vectors: (n, d) float32; the score is the inner product.
        answers: (q, k) gallery rows, −1 where there are fewer, and their (q, k) scores, as returned by an index.
    """

    name: str
    title: str
    vectors: Vectors | None = None
    answers: tuple[Rows, NDArray[np.float32]] | None = None


@dataclass(frozen=True)
class RankerOutcome:
    """The measured answers of one ranker.

    Attributes:
        values: metrics per label source, (q, m) in the order of METRICS, NaN where nothing is relevant.
        curve: (q, len(CURVE_CUTS)) recall at every cut, by the main truth.
        top_rows: (q, ≤ 20) gallery rows in rank order, −1 where there are fewer.
        top_scores: (q, ≤ 20) their scores.
        top_grades: (q, ≤ 20) their grades.
        first_relevant: (q,) rank of the first relevant image, 0 if none was returned.
    """

    ranker: Ranker
    values: dict[str, NDArray[np.float64]]
    curve: NDArray[np.float64]
    top_rows: Rows
    top_scores: NDArray[np.float32]
    top_grades: Grades
    first_relevant: Rows

    def metric(self, name: str, source: str = "all") -> PerQuery:
        """Return one metric: a value per query."""
        return self.values[source][:, list(METRICS).index(name)]


@dataclass
class _Parts:
    """Blocks of an outcome before they are joined."""

    values: dict[str, list[NDArray[np.float64]]] = field(default_factory=dict)
    blocks: list[tuple[NDArray[np.float64], Rows, NDArray[np.float32], Grades, Rows]] = field(default_factory=list)


def measure(gallery: Gallery, rankers: list[Ranker], *, seed: int) -> dict[str, RankerOutcome]:
    """Measure every ranker's answer to every query under every label source.

    One block of queries × the whole gallery is in memory at a time. A query's own image is removed from its answer.

    Returns:
        Ranker's name → measured answers, in the given order.
    """
    parts = {ranker.name: _Parts({source: [] for source in gallery.truths}) for ranker in rankers}
    step = max(1, _BLOCK_ELEMENTS // gallery.size)
    everything = np.arange(gallery.size, dtype=np.int64)
    for start in progress(range(0, len(gallery.queries), step), "measuring", unit="blocks"):
        block = slice(start, start + step)
        queries = gallery.queries[block]
        grades = {source: truth.grades(queries, everything) for source, truth in gallery.truths.items()}
        needed = {s: (count_relevant(g), ideal_grades(g, _IDEAL_DEPTH)) for s, g in grades.items()}
        for ranker in rankers:
            rows, top_scores = _answer(ranker, queries, block, gallery.size, seed)
            part = parts[ranker.name]
            for source, values in part.values.items():
                ranked = _grades_of(rows, grades[source])
                values.append(np.stack([f(ranked, *needed[source]) for f in METRICS.values()], axis=1))
                if source == "all":
                    part.blocks.append(_look(ranked, rows, top_scores, needed[source][0]))
    return {ranker.name: _join(ranker, parts[ranker.name]) for ranker in rankers}


def without_own(rows: Rows, scores: NDArray[np.float32], queries: Rows, k: int) -> tuple[Rows, NDArray[np.float32]]:
    """Remove the query's own image from its answer, close the gap and cut at k.

    Args:
        rows: (q, ≥ k + 1) rows in rank order, −1 where there are fewer.
        scores: (q, ≥ k + 1) their scores.
        queries: (q,) each query's own row.
        k: length of the result.
    """
    order = np.argsort(rows == queries[:, None], axis=1, kind="stable")[:, :k]
    kept_rows, kept_scores = np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)
    return np.where(kept_rows == queries[:, None], -1, kept_rows), kept_scores


def _answer(ranker: Ranker, queries: Rows, block: slice, size: int, seed: int) -> tuple[Rows, NDArray[np.float32]]:
    """Return (q, k) ranked rows and the (q, ≤ 20) scores of the first."""
    if ranker.answers is not None:
        rows, scores = ranker.answers
        return rows[block], scores[block, :TOP]
    if ranker.vectors is not None:
        all_scores = ranker.vectors[queries] @ ranker.vectors.T
    else:
        all_scores = np.stack([np.random.default_rng([seed, int(q)]).random(size, np.float32) for q in queries])
    all_scores[np.arange(len(queries)), queries] = -np.inf
    rows = rank_rows(all_scores)[:, :-1]  # the last is the query's own image
    return rows, np.take_along_axis(all_scores, rows[:, :TOP], axis=1)


def _grades_of(rows: Rows, grades: Grades) -> Grades:
    return np.where(rows >= 0, np.take_along_axis(grades, np.maximum(rows, 0), axis=1), np.uint8(0))


def _look(
    ranked: Grades, rows: Rows, scores: NDArray[np.float32], relevant: Counts
) -> tuple[NDArray[np.float64], Rows, NDArray[np.float32], Grades, Rows]:
    curve = np.stack([recall_at_k(ranked, relevant, cut) for cut in CURVE_CUTS], axis=1)
    reciprocal = np.nan_to_num(reciprocal_rank(ranked, relevant))
    first = np.where(reciprocal > 0, np.rint(1 / np.where(reciprocal > 0, reciprocal, 1)), 0).astype(np.int64)
    # Copies, since a view would keep the whole block in memory.
    return curve, rows[:, :TOP].copy(), scores.copy(), ranked[:, :TOP].copy(), first


def _join(ranker: Ranker, parts: _Parts) -> RankerOutcome:
    curve, rows, scores, grades, first = (np.concatenate(column) for column in zip(*parts.blocks, strict=True))
    values = {source: np.concatenate(blocks) for source, blocks in parts.values.items()}
    return RankerOutcome(ranker, values, curve, rows, scores, grades, first)
