"""Permutation tests: the window and the reference, pooled and split again many times."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Groups = NDArray[np.float32]

_BLOCKS = (50, 50, 100)  # permutations at once, the last for ever: most tests of nothing end in the first


def permuted_groups(rows: int, window: int, count: int, rng: np.random.Generator) -> Groups:
    """Return (count, rows) zeros and ones, in each row exactly `window` ones, every division equally likely."""
    order = np.argpartition(rng.random((count, rows), np.float32), window - 1, axis=1)[:, :window]
    groups = np.zeros((count, rows), np.float32)
    np.put_along_axis(groups, order, 1.0, axis=1)
    return groups


def sequential_p_value(observed: float, draw: Callable[[int], Floats], *, permutations: int, exceedances: int) -> float:
    """Return the probability of a figure at least as large as the observed one, if nothing has changed.

    It stops at the draw at which the figure was reached for the `exceedances`-th time; p-values are exact all the same
    (P(p ≤ x) ≤ x), and a test of nothing costs few draws.

    Args:
        observed: the figure of the real division.
        draw: count → (count,) figures of random divisions.
        permutations: largest number of draws.
        exceedances: number of permutations that reach the observed figure before the test stops.

    Source: Besag and Clifford, Sequential Monte Carlo p-values, Biometrika 78, 1991.
    """
    drawn = reached = 0
    block = 0
    while drawn < permutations:
        size = min(_BLOCKS[min(block, len(_BLOCKS) - 1)], permutations - drawn)
        hits = np.flatnonzero(draw(size) >= observed)
        if reached + len(hits) >= exceedances:
            return exceedances / (drawn + int(hits[exceedances - reached - 1]) + 1)
        reached, drawn, block = reached + len(hits), drawn + size, block + 1
    return (reached + 1) / (drawn + 1)
