"""Result sheets: queries with their neighbours, before and after training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from components.evaluation.gallery import Gallery
from components.evaluation.measurement import RankerOutcome
from components.evaluation.report.thumbnails import Thumbnails
from components.shared.truth.metrics import Rows
from components.shared.truth.relevance import RELEVANT_GRADE

SHOWN = 8  # neighbours per query
EXPECTED = 3  # relevant images shown for a query with a bad answer
EXTREMES = 6  # best and worst queries


@dataclass(frozen=True)
class SheetTile:
    """One picture of a sheet.

    Attributes:
        image: data URI; None: withheld.
        grade: 0–3; None for the query.
        score: similarity to the query; None if unknown.
        rank: rank in the answer, from 1; 0 if not ranked.
    """

    image: Markup | None
    image_id: str
    grade: int | None
    score: float | None
    rank: int


@dataclass(frozen=True)
class RankedAnswer:
    """The answer of one ranker to a query."""

    title: str
    tiles: list[SheetTile]
    average_precision: float


@dataclass(frozen=True)
class EvaluationSheet:
    """A query and its answers.

    Attributes:
        query: the query's own picture.
        category: its category, "" if unknown.
        relevant: number of relevant images in the gallery.
        answers: before and after training, or only after.
        expected: relevant images with their ranks; only for queries with bad answers.
    """

    query: SheetTile
    category: str
    relevant: int
    answers: list[RankedAnswer]
    expected: list[SheetTile]


class SheetMaker:
    """Makes sheets for some of the queries.

    Args:
        gallery: images and queries.
        outcomes: measured answers per ranker; "trained" and, if present, "untrained" are shown.
        thumbnails: the pictures.
    """

    def __init__(self, gallery: Gallery, outcomes: Mapping[str, RankerOutcome], thumbnails: Thumbnails) -> None:
        self._gallery, self._thumbnails = gallery, thumbnails
        self._shown = [("before training", "untrained"), ("after training", "trained")]
        self._outcomes = outcomes
        self._ids, self._categories = gallery.column("image_id"), gallery.column("category")
        self._precision = outcomes["trained"].metric("map")
        self._candidates = np.flatnonzero(~np.isnan(self._precision) & thumbnails.showable[gallery.queries])

    def sample(self, number: int, seed: int) -> list[EvaluationSheet]:
        """Make sheets for a random sample, taken in turn from each category, without any selection by hand."""
        order = np.random.default_rng(seed).permutation(self._candidates)
        categories = self._gallery.query_categories()
        turns: dict[str | None, int] = {}
        place = []
        for query in order:
            category = categories[int(query)]
            place.append(turns.get(category, 0))
            turns[category] = place[-1] + 1
        chosen = order[np.argsort(place, kind="stable")][:number]
        return [self._sheet(int(q)) for q in chosen]

    def worst(self) -> list[EvaluationSheet]:
        """Make sheets for the queries with the lowest average precision, one per item, with the expected images."""
        first = self._outcomes["trained"].first_relevant[self._candidates]
        late = np.where(first == 0, np.iinfo(np.int64).max, first)
        order = np.lexsort((self._candidates, -late, self._precision[self._candidates]))
        return [self._sheet(q, expected=True) for q in self._distinct(self._candidates[order])]

    def most_improved(self) -> list[EvaluationSheet]:
        """Make sheets for the queries whose average precision improved most by training, one per item."""
        if "untrained" not in self._outcomes:
            return []
        gain = (self._precision - self._outcomes["untrained"].metric("map"))[self._candidates]
        order = np.lexsort((self._candidates, -gain))
        return [self._sheet(q) for q in self._distinct(self._candidates[order]) if gain.max(initial=0) > 0]

    def _distinct(self, queries: NDArray[np.int64]) -> list[int]:
        clusters, seen, kept = self._gallery.clusters(), set(), []
        for query in queries:
            if (item := int(clusters[query])) not in seen:
                seen.add(item)
                kept.append(int(query))
        return kept[:EXTREMES]

    def _sheet(self, query: int, *, expected: bool = False) -> EvaluationSheet:
        row = int(self._gallery.queries[query])
        grades = self._gallery.truths["all"].grades(
            np.array([row], np.int64), np.arange(self._gallery.size, dtype=np.int64)
        )[0]
        relevant = np.flatnonzero(grades >= RELEVANT_GRADE)
        shown = self._shown[-1:] if expected else self._shown
        answers = [self._answer(title, name, query) for title, name in shown if name in self._outcomes]
        return EvaluationSheet(
            query=self._tile(row, None, None, 0),
            category=self._categories[row] or "",
            relevant=len(relevant),
            answers=answers,
            expected=self._expected(query, relevant, grades) if expected else [],
        )

    def _answer(self, title: str, ranker: str, query: int) -> RankedAnswer:
        outcome = self._outcomes[ranker]
        found = zip(outcome.top_rows[query], outcome.top_grades[query], outcome.top_scores[query], strict=True)
        tiles = [self._tile(int(r), int(g), float(s), i + 1) for i, (r, g, s) in enumerate(found) if r >= 0]
        return RankedAnswer(title, tiles[:SHOWN], float(outcome.metric("map")[query]))

    def _expected(self, query: int, relevant: Rows, grades: NDArray[np.uint8]) -> list[SheetTile]:
        vectors = self._outcomes["trained"].ranker.vectors
        assert vectors is not None
        own = int(self._gallery.queries[query])
        scores = vectors @ vectors[own]
        scores[own] = -np.inf
        best = relevant[np.lexsort((relevant, -scores[relevant], -grades[relevant].astype(int)))][:EXPECTED]
        return [
            self._tile(int(r), int(grades[r]), float(scores[r]), 1 + int(np.count_nonzero(scores > scores[r])))
            for r in best
        ]

    def _tile(self, row: int, grade: int | None, score: float | None, rank: int) -> SheetTile:
        return SheetTile(self._thumbnails.data_uri(row), str(self._ids[row]), grade, score, rank)
