"""Base index and additions, searched as one: the index within the rows that may be shown, the additions row by row."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from components.shared.truth.metrics import ann_recall_at_k
from components.shared.vectors.embeddings import Vectors
from components.shared.vectors.index_spec import TUNING_K
from components.shared.vectors.search import MAX_K, CatalogueIndex, RowFilter, SearchSettings, exact_search

Found = tuple[NDArray[np.int64], NDArray[np.float32]]


class Layers:
    """Finds rows by vector.

    Args:
        index: index of the release, n rows.
        additions: (a, d) float32, what the generations added; rows from n.
        visible: (n + a,) rows that may be found.
    """

    def __init__(self, index: CatalogueIndex, additions: Sequence[Vectors], visible: NDArray[np.bool_]) -> None:
        self.index = index
        self._base = index.rows
        self._additions = np.concatenate([np.empty((0, index.dimension), np.float32), *additions])
        self._visible = visible
        self._filters = self._filters_of(visible)
        self.count = int(visible.sum())

    @property
    def most(self) -> int:
        """Largest number of rows that one call finds."""
        return MAX_K

    def find(
        self,
        vector: Vectors,
        number: int,
        *,
        exact: bool,
        shown: int | None = None,
        without: NDArray[np.bool_] | None = None,
    ) -> Found:
        """Find the nearest visible rows.

        Args:
            vector: (d,) float32, unit norm.
            number: rows wanted, 1 to `most`.
            exact: compare with every row.
            shown: results that the rules leave of them; the recall that the index was tuned to is meant for these.
            without: (n + a,) further rows to leave out.

        Returns:
            Rows and scores, best first, equal scores by row; fewer than `number` only if no more are left.
        """
        queries = vector[None]
        base, added = self._filters if without is None else self._filters_of(self._visible & ~without)
        rows, scores = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
        if base is None or base.count:
            found = self.index.search(
                queries, number, allowed=base, exact=exact, settings=self._settings(number, shown)
            )
            rows.append(found.rows[0])
            scores.append(found.scores[0])
        if len(self._additions) and added.count:
            found = exact_search(self._additions, queries, number, added)
            rows.append(np.where(found.rows[0] < 0, -1, found.rows[0] + self._base))
            scores.append(found.scores[0])
        all_rows, all_scores = np.concatenate(rows), np.concatenate(scores)
        all_rows, all_scores = all_rows[all_rows >= 0], all_scores[all_rows >= 0]
        if len(rows) > 2:
            order = np.lexsort((all_rows, -all_scores))[:number]
            all_rows, all_scores = all_rows[order], all_scores[order]
        return all_rows, all_scores

    def _settings(self, number: int, shown: int | None) -> SearchSettings:
        """Rescore in proportion to what is shown, not to what the rules may fold: four times less for twenty results."""
        settings = self.index.spec.search
        if settings.rescored is None or shown is None or shown >= number:
            return settings
        share = max(shown, TUNING_K) / max(number, TUNING_K)
        return settings.model_copy(update={"rescored": max(TUNING_K, math.ceil(settings.rescored * share))})

    def vector(self, row: int) -> Vectors:
        """Return the (d,) stored vector of a row."""
        if row < self._base:
            return np.asarray(self.index.stored(np.array([row]))[0], np.float32)
        return np.asarray(self._additions[row - self._base], np.float32)

    def recall_at_10(self, vector: Vectors) -> float:
        """Return the share of the exact 10 neighbours in the index that it finds; 1 where it holds none to be found."""
        base = self._filters[0]
        k = min(10, self.index.rows if base is None else base.count)
        if not k:
            return 1.0
        found = self.index.search(vector[None], k, allowed=base)
        truth = self.index.search(vector[None], k, allowed=base, exact=True)
        tied = found.scores >= truth.scores[:, -1:]  # rows of equal scores are interchangeable
        return float(ann_recall_at_k(found.rows, truth.rows, k, tied=tied)[0])

    def _filters_of(self, visible: NDArray[np.bool_]) -> tuple[RowFilter | None, RowFilter]:
        base = visible[: self._base]
        return None if base.all() else RowFilter(base), RowFilter(visible[self._base :])
