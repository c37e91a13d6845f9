"""Of pictures that are nearly the same, one is shown."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from serving.transformer.search.results import SearchOptions
from serving.transformer.search.rows import Rows
from serving.transformer.search.rules.rule import Rule, counted


class NearDuplicates(Rule):
    """Refuses what is a near-duplicate of a result."""

    name: ClassVar[str] = "near_duplicates"

    def __init__(self, rows: Rows, options: SearchOptions) -> None:
        super().__init__(rows, options)
        self._shown: set[int] = set()

    @property
    def is_active(self) -> bool:
        """Whether it was asked for."""
        return self.options.collapse_duplicates

    def refuses(self, row: int, score: float) -> bool:
        """Whether one of its group is shown."""
        return int(self.rows.groups[row]) in self._shown

    def show(self, row: int) -> None:
        """Remember its group."""
        self._shown.add(int(self.rows.groups[row]))

    def settled(self) -> NDArray[np.bool_] | None:
        """Return all rows of the groups shown."""
        return np.isin(self.rows.groups, list(self._shown))

    def about(self, row: int) -> str | None:
        """Return how many images it represents."""
        others = int(self.rows.group_sizes[self.rows.groups[row]]) - 1
        return f"represents {counted(others, 'near-duplicate')}" if others else None

    def sentence(self) -> str:
        """Return how many were folded."""
        return f"folded {counted(self.refused, 'near-duplicate')} into results above"
