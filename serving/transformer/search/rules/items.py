"""Of the images of one item, one is shown."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from serving.transformer.search.results import SearchOptions
from serving.transformer.search.rows import Rows
from serving.transformer.search.rules.rule import Rule, counted


class Items(Rule):
    """Refuses what shows the item of a result."""

    name: ClassVar[str] = "items"

    def __init__(self, rows: Rows, options: SearchOptions) -> None:
        super().__init__(rows, options)
        self._shown: set[int] = set()

    @property
    def is_active(self) -> bool:
        """Whether it was asked for."""
        return self.options.group_items

    def refuses(self, row: int, score: float) -> bool:
        """Whether its item is shown."""
        return int(self.rows.items[row]) in self._shown

    def show(self, row: int) -> None:
        """Remember its item."""
        self._shown.add(int(self.rows.items[row]))

    def settled(self) -> NDArray[np.bool_] | None:
        """Return all rows of the items shown."""
        return np.isin(self.rows.items, list(self._shown))

    def about(self, row: int) -> str | None:
        """Return how many other images the item has."""
        others = int(self.rows.item_sizes[self.rows.items[row]]) - 1
        return f"the item has {counted(others, 'other image')}" if others else None

    def sentence(self) -> str:
        """Return how many were folded."""
        return f"folded {counted(self.refused, 'image')} into results above of the same item"
