"""Who is a positive of whom among training images, and which candidates an anchor may be contrasted with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from components.shared.truth.relevance import RELEVANT_GRADE, Relevance

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """Training pairs as rows of the training images.

    Attributes:
        query: (p,) int64.
        positive: (p,) int64; equal to query where a picture is paired with another view of itself.
        weight: (p,) float32 > 0.
    """

    query: Rows
    positive: Rows
    weight: NDArray[np.float32]

    def __len__(self) -> int:
        """Return p."""
        return len(self.query)


class Exceptions:
    """Directed relations of n images with a weight each, sorted by source and target.

    Args:
        source, target: (e,) images.
        weight: (e,) float32.
        n: number of images.
    """

    def __init__(self, source: Rows, target: Rows, weight: NDArray[np.float32], n: int) -> None:
        self._starts = np.searchsorted(source, np.arange(n + 1))
        self._targets, self._weights = target, weight

    def between(self, rows: Rows, columns: Rows) -> tuple[Rows, Rows, NDArray[np.float32]]:
        """Return the relations of images rows × columns: (row places, column places, weights), sorted by row place."""
        order = np.argsort(columns, kind="stable")
        ordered = columns[order]
        counts = self._starts[rows + 1] - self._starts[rows]
        place = np.repeat(np.arange(len(rows)), counts)
        entry = _ranges(self._starts[rows], counts)
        first = np.searchsorted(ordered, self._targets[entry], "left")
        found = np.searchsorted(ordered, self._targets[entry], "right") - first
        return np.repeat(place, found), order[_ranges(first, found)], np.repeat(self._weights[entry], found)


class Relations:
    """Relatedness of training images: by rule (item, category), by pairs, and by people, who overrule both.

    Args:
        relevance: items, categories, rule and judgements of the n training images.
        pairs: related images with the weight of their relation.
    """

    def __init__(self, relevance: Relevance, pairs: Pairs) -> None:
        n = len(relevance.item_codes)
        by_item = relevance.rule.same_item >= RELEVANT_GRADE
        by_category = relevance.rule.same_category >= RELEVANT_GRADE
        self._items = relevance.item_codes if by_item else np.arange(n)
        self._categories = relevance.category_codes if by_category else np.full(n, -1)
        self._overruled = Exceptions(*self._exceptions(relevance, pairs), n)

    def between(self, rows: Rows, columns: Rows) -> tuple[Rows, Rows, NDArray[np.float32]]:
        """Return what the rule does not say about images rows × columns: (row places, column places, weights ≥ 0)."""
        return self._overruled.between(rows, columns)

    def codes(self, images: Rows) -> tuple[Tensor, Tensor]:
        """Return item and category codes (b,) int64 of images; category −1 where it relates nothing."""
        return torch.from_numpy(self._items[images]), torch.from_numpy(self._categories[images])

    def _exceptions(self, relevance: Relevance, pairs: Pairs) -> tuple[Rows, Rows, NDArray[np.float32]]:
        """Return directed relations sorted by source: pairs that the rule lacks, and what people said (weight 0: none)."""
        n = len(relevance.item_codes)
        lacking = (pairs.query != pairs.positive) & ~self._by_rule(pairs.query, pairs.positive)
        query, positive, weight = pairs.query[lacking], pairs.positive[lacking], pairs.weight[lacking]
        keys, weights = _highest(np.concatenate([query * n + positive, positive * n + query]), np.tile(weight, 2))
        said = _said(relevance, n)
        said_keys = np.array(sorted(said), np.int64)
        said_weights = np.array([said[key] for key in said_keys.tolist()], np.float32)
        place = np.searchsorted(said_keys, keys)
        overruled = np.isin(keys, said_keys)
        stronger = said_weights.copy()
        np.maximum.at(stronger, place[overruled], weights[overruled])
        said_weights = np.where(said_weights > 0, stronger, 0).astype(np.float32)
        keys, weights = (
            np.concatenate([keys[~overruled], said_keys]),
            np.concatenate([weights[~overruled], said_weights]),
        )
        order = np.argsort(keys)
        return keys[order] // n, keys[order] % n, weights[order]

    def _by_rule(self, left: Rows, right: Rows) -> NDArray[np.bool_]:
        category = self._categories[left]
        same: NDArray[np.bool_] = (self._items[left] == self._items[right]) | (
            (category == self._categories[right]) & (category >= 0)
        )
        return same


def _highest(keys: Rows, weights: NDArray[np.float32]) -> tuple[Rows, NDArray[np.float32]]:
    """Return the distinct keys in order, each with its highest weight."""
    order = np.argsort(keys, kind="stable")
    distinct, starts = np.unique(keys[order], return_index=True)
    return distinct, np.maximum.reduceat(weights[order], starts) if len(starts) else weights


def _said(relevance: Relevance, n: int) -> dict[int, float]:
    """Return what people said, both ways unless they judged both: query · n + image → 1 related, 0 not."""
    direct = {
        (query, int(row)): float(grade >= RELEVANT_GRADE)
        for query, (rows, grades) in relevance.judged.items()
        for row, grade in zip(rows, grades, strict=True)
    }
    return {row * n + query: value for (query, row), value in direct.items()} | {
        query * n + row: value for (query, row), value in direct.items()
    }


@dataclass(frozen=True)
class BatchTargets:
    """Targets of one batch: m anchors against n candidates (the batch's views).

    Attributes:
        own: (m,) int64 column of each anchor itself.
        partner: (m,) int64 column of the other view of its pair.
        partner_weights: (m,) float32 weight of that pair.
        anchor_weights: (m,) float32.
        row_codes, column_codes: item and category codes.
        exceptions: (row, column, weight) triples that overrule the codes, sorted by row.
        single: whether the partner is the only positive, and other related candidates are left out.
    """

    own: Tensor
    partner: Tensor
    partner_weights: Tensor
    anchor_weights: Tensor
    row_codes: tuple[Tensor, Tensor]
    column_codes: tuple[Tensor, Tensor]
    exceptions: tuple[Tensor, Tensor, Tensor]
    single: bool

    @cached_property
    def by_category(self) -> bool:
        """Whether categories relate any of the images."""
        return bool((self.row_codes[1] >= 0).any())

    def tile(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Return positive weights (r, n) float32 and allowed candidates (r, n) bool of anchors start:stop."""
        (items, categories), (other_items, other_categories) = self.row_codes, self.column_codes
        related = items[start:stop, None] == other_items
        if self.by_category:
            category = categories[start:stop, None]
            related |= (category == other_categories) & (category >= 0)
        weights = related.float()
        rows, columns, values = self.exceptions
        first, last = (int(torch.searchsorted(rows, bound)) for bound in (start, stop))
        weights[rows[first:last] - start, columns[first:last]] = values[first:last]
        places = torch.arange(stop - start, device=weights.device)
        partner = self.partner[start:stop]
        weights[places, partner] = torch.maximum(weights[places, partner], self.partner_weights[start:stop])
        weights[places, self.own[start:stop]] = 0
        if self.single:
            allowed = weights == 0
            weights.zero_()
            weights[places, partner] = 1
            allowed[places, partner] = True
        else:
            allowed = torch.ones_like(weights, dtype=torch.bool)
        allowed[places, self.own[start:stop]] = False
        return weights, allowed

    def to(self, device: torch.device) -> BatchTargets:
        """Return the same on `device`."""
        if device.type == "cpu":
            return self
        return BatchTargets(
            self.own.to(device),
            self.partner.to(device),
            self.partner_weights.to(device),
            self.anchor_weights.to(device),
            (self.row_codes[0].to(device), self.row_codes[1].to(device)),
            (self.column_codes[0].to(device), self.column_codes[1].to(device)),
            (self.exceptions[0].to(device), self.exceptions[1].to(device), self.exceptions[2].to(device)),
            self.single,
        )


def batch_targets(
    relations: Relations,
    images: Rows,
    weights: NDArray[np.float32],
    *,
    first: int = 0,
    count: int | None = None,
    single: bool = False,
) -> BatchTargets:
    """Build the targets of a batch whose candidates are its 2p views.

    Args:
        relations: who is related to whom.
        images: (p, 2) training images of p pairs. Candidate 2k and 2k + 1 are the views of pair k.
        weights: (p,) weights of the pairs.
        first: first pair that this process takes as anchors.
        count: how many pairs it takes; None: all from `first`.
        single: see `BatchTargets`.
    """
    pairs = len(images)
    stop = pairs if count is None else first + count
    views = images.reshape(-1)
    own = np.arange(2 * first, 2 * stop)
    exceptions = relations.between(views[own], views)
    anchor_weights = torch.from_numpy(np.repeat(weights[first:stop], 2).astype(np.float32))
    return BatchTargets(
        own=torch.from_numpy(own),
        partner=torch.from_numpy(own ^ 1),
        partner_weights=anchor_weights,
        anchor_weights=anchor_weights,
        row_codes=relations.codes(views[own]),
        column_codes=relations.codes(views),
        exceptions=(torch.from_numpy(exceptions[0]), torch.from_numpy(exceptions[1]), torch.from_numpy(exceptions[2])),
        single=single,
    )


def _ranges(starts: Rows, counts: Rows) -> Rows:
    """Return the concatenation of start … start + count − 1 over all rows."""
    total = int(counts.sum())
    offsets = np.cumsum(counts) - counts
    return np.arange(total) - np.repeat(offsets, counts) + np.repeat(starts, counts)
