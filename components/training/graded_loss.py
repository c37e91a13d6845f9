"""Graded relevance in one loss: related images first, then images of the same category, then the rest.

Level 1 holds the related images (same item, judged 2 or 3, pairs from clicks; see `Relations`). Level 2 holds those of the
same category and those judged 1. The loss is the sum of one contrastive loss per level: at level 1 the positives are
contrasted with everything else, level 2 included; at level 2 its positives are contrasted with the rest, and images of
level 1 take no part, so that nothing pulls them back. The weight of level 2 keeps the item ahead of its category.

Source:
    RINCE, arXiv:2201.11736, section 3 (ranked positives, one temperature per rank).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from components.shared.truth.relevance import Relevance
from components.training.relations import BatchTargets, Exceptions, Rows


class Categories:
    """The second level of relevance among training images: same category or judged 1, and not judged 0.

    Args:
        relevance: categories and judgements of the n training images.
    """

    def __init__(self, relevance: Relevance) -> None:
        self._codes = relevance.category_codes
        n = len(self._codes)
        judged = {
            query * n + int(row): float(grade == 1)
            for query, (rows, grades) in relevance.judged.items()
            for row, grade in zip(rows, grades, strict=True)
        }
        judged = {key % n * n + key // n: value for key, value in judged.items()} | judged
        keys = np.array(sorted(judged), np.int64)
        values = np.array([judged[key] for key in keys.tolist()], np.float32)
        self._judged = Exceptions(keys // n if n else keys, keys % n if n else keys, values, n)
        self.relate_any = bool((self._codes >= 0).any() or values.any())

    def targets(self, first: BatchTargets, rows: Rows, columns: Rows) -> CategoryTargets:
        """Return the targets of the second level.

        Args:
            first: targets of the first level.
            rows: (m,) training images of the anchors.
            columns: (n,) training images of the candidates.
        """
        judged = self._judged.between(rows, columns)
        return CategoryTargets(
            first,
            torch.from_numpy(self._codes[rows]),
            torch.from_numpy(self._codes[columns]),
            (torch.from_numpy(judged[0]), torch.from_numpy(judged[1]), torch.from_numpy(judged[2])),
        )


@dataclass(frozen=True)
class CategoryTargets:
    """Targets of the second level of one batch.

    Attributes:
        first: targets of the first level; its positives take no part here.
        row_codes, column_codes: category codes, −1 where unknown.
        judged: (row, column, 0 or 1) triples that overrule the codes, sorted by row.
    """

    first: BatchTargets
    row_codes: Tensor
    column_codes: Tensor
    judged: tuple[Tensor, Tensor, Tensor]

    @property
    def anchor_weights(self) -> Tensor:
        """(m,) float32 ≥ 0, as at the first level."""
        return self.first.anchor_weights

    def tile(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Return positive weights (r, n) float32 and allowed candidates (r, n) bool of anchors start:stop."""
        related, allowed = self.first.tile(start, stop)
        codes = self.row_codes[start:stop, None]
        positives = ((codes == self.column_codes) & (codes >= 0)).float()
        rows, columns, values = self.judged
        first, last = (int(torch.searchsorted(rows, bound)) for bound in (start, stop))
        positives[rows[first:last] - start, columns[first:last]] = values[first:last]
        allowed &= related == 0
        return positives.masked_fill_(~allowed, 0), allowed

    def to(self, device: torch.device) -> CategoryTargets:
        """Return the same on `device`."""
        rows, columns, values = (each.to(device) for each in self.judged)
        return CategoryTargets(
            self.first.to(device), self.row_codes.to(device), self.column_codes.to(device), (rows, columns, values)
        )
