"""The query's own image is no answer to it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from serving.transformer.search.results import SearchOptions
from serving.transformer.search.rows import Rows
from serving.transformer.search.rules.rule import Rule, counted


class OwnImage(Rule):
    """Refuses the images that were named, and those with the very bytes of the query."""

    name: ClassVar[str] = "own_image"

    def __init__(self, rows: Rows, options: SearchOptions) -> None:
        super().__init__(rows, options)
        self._own = {row for image_id in options.exclude_image_ids if (row := rows.find(image_id)) is not None}
        if options.exclude_sha256 is not None:
            self._own.update(rows.with_sha256(options.exclude_sha256))

    @property
    def is_active(self) -> bool:
        """Whether there is anything to leave out."""
        return bool(self.options.exclude_image_ids or self.options.exclude_sha256)

    def refuses(self, row: int, score: float) -> bool:
        """Whether it is the query's own."""
        return row in self._own

    def settled(self) -> NDArray[np.bool_] | None:
        """Return the rows of the query's own images."""
        mask = np.zeros(self.rows.count, np.bool_)
        mask[list(self._own)] = True
        return mask

    def sentence(self) -> str:
        """Return how many were left out."""
        return f"left out {counted(self.refused, 'image')} that show the query itself"
