"""Batches of pairs: every query once an epoch, its positive drawn by weight."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.shared.errors import NoPositivePairError
from components.training.relations import Pairs, Rows


@dataclass(frozen=True)
class Batch:
    """One step's pairs over all processes.

    Attributes:
        images: (p, 2) int64 training images: query and positive.
        weights: (p,) float32, the mean weight of each query's pairs, so that thin evidence moves the encoder less.
    """

    images: Rows
    weights: NDArray[np.float32]


class PairSampler:
    """Deterministic batches: equal (seed, epoch) give equal batches, in any process.

    Args:
        pairs: what to draw from.
        batch_pairs: pairs of a batch; fewer pairs in all make smaller batches.
        pairs_per_epoch: at most so many pairs an epoch, another sample each time.
        seed: seed.
        processes: every batch can be split evenly among so many.

    Raises:
        NoPositivePairError: there are no pairs, or fewer queries than processes.
    """

    def __init__(
        self,
        pairs: Pairs,
        *,
        batch_pairs: int,
        pairs_per_epoch: int,
        seed: int,
        processes: int = 1,
    ) -> None:
        order = np.argsort(pairs.query, kind="stable")
        self._positive = pairs.positive[order]
        self._queries, self._starts, self._counts = np.unique(pairs.query[order], return_index=True, return_counts=True)
        if not len(self._queries) or len(self._queries) < processes:
            raise NoPositivePairError(
                f"expected pairs of at least {max(1, processes)} query images to train on, got {len(self._queries)}; "
                "add judgements, clicks or views per item"
            )
        self._cumulative = np.cumsum(pairs.weight[order], dtype=np.float64)
        before = np.concatenate([[0.0], self._cumulative])
        self._below, self._above = before[self._starts], before[self._starts + self._counts]
        means = (self._above - self._below) / self._counts
        self._weights = (means / means.mean()).astype(np.float32)
        epoch = min(pairs_per_epoch, len(self._queries))
        size = min(batch_pairs, epoch)
        self._size = max(processes, size - size % processes)
        self._steps = max(1, epoch // self._size)
        self._seed = seed

    def __len__(self) -> int:
        """Return the steps of an epoch. The few queries that do not fill a last batch wait for the next epoch's shuffle."""
        return self._steps

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of an epoch, counted from 0."""
        rng = np.random.default_rng((self._seed, epoch, 0x5A))
        queries = rng.permutation(len(self._queries))
        for step in range(self._steps):
            places = queries[step * self._size : (step + 1) * self._size]
            drawn = self._below[places] + rng.random(len(places)) * (self._above[places] - self._below[places])
            entry = np.searchsorted(self._cumulative, drawn, "right")
            entry = np.clip(entry, self._starts[places], self._starts[places] + self._counts[places] - 1)
            yield Batch(np.stack([self._queries[places], self._positive[entry]], 1), self._weights[places])
