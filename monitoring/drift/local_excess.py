"""Local excess: is there a place in the space where queries crowd, in greater number than chance would bring together?"""

from __future__ import annotations

from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from components.shared.vectors.embeddings import Vectors
from monitoring.drift.outcome import DriftOutcome
from monitoring.drift.parameters import DriftParameters
from monitoring.drift.permutations import Floats, Groups, permuted_groups, sequential_p_value

_SIZES = (15, 30, 60, 120)  # neighbours of a place: what appears may be a dozen queries or a hundred


@dataclass(frozen=True)
class Crowd:
    """The place of the greatest excess.

    Attributes:
        window: rows of the window there, nearest to its centre first.
        reference: (m, d) unit vectors of the reference.
    """

    window: NDArray[np.int64]
    reference: NDArray[np.int64]


def local_excess(
    reference: Vectors, window: Vectors, parameters: DriftParameters, rng: np.random.Generator
) -> tuple[DriftOutcome, Crowd]:
    """Test by the greatest standardised number of the window's rows among the nearest neighbours of any place.

    Places and neighbours are of both samples together, blind to which is which, so that permutations are exact. Finds a
    new kind of item of a few per cent where it is told apart at all, which no mean and no classifier does.

    Args:
        reference: (m, d) unit vectors.
        window: (n, d) unit vectors.
        parameters: number of places and permutations.
        rng: source of randomness for both.

    Source: Kulldorff, A spatial scan statistic, 1997, with neighbourhoods instead of circles.
    """
    pooled = np.ascontiguousarray(np.concatenate([reference, window]), np.float32)
    places = np.sort(rng.permutation(len(pooled))[: parameters.places])
    sizes = [size for size in _SIZES if size <= len(pooled) // 4]
    neighbours = _neighbours(pooled, places, sizes[-1])
    rings = _rings(neighbours, sizes, len(pooled))
    actual = np.concatenate([np.zeros(len(reference), np.float32), np.ones(len(window), np.float32)])
    figures = excesses(rings, sizes, actual[None])[:, :, 0]
    observed = float(figures.max())

    def draw(count: int) -> Floats:
        groups = permuted_groups(len(pooled), len(window), count, rng)
        return np.asarray(excesses(rings, sizes, groups).max(axis=(0, 1)), np.float64)

    p_value = sequential_p_value(
        observed, draw, permutations=parameters.permutations, exceedances=parameters.exceedances
    )
    size, place = np.unravel_index(int(figures.argmax()), figures.shape)
    inside = neighbours[place, : sizes[int(size)]]
    crowd = Crowd(inside[inside >= len(reference)] - len(reference), inside[inside < len(reference)])
    surplus = len(crowd.window) / len(window) - len(crowd.reference) / len(reference)
    return (
        DriftOutcome("local_excess", observed, p_value, surplus, "share in excess", parameters.minimum_excess),
        crowd,
    )


def excesses(rings: list[csr_array], sizes: list[int], groups: Groups) -> Floats:
    """Return how many standard deviations more of the window are at each place than its share of all: (s, c, p)."""
    share = groups[0].mean()
    found = np.zeros((rings[0].shape[0], len(groups)), np.float32)
    figures = []
    for ring, size in zip(rings, sizes, strict=True):
        found = found + ring @ groups.T
        figures.append((found - size * share) / np.sqrt(size * share * (1 - share)))
    return np.asarray(figures)


def _neighbours(pooled: Vectors, places: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    index = faiss.IndexFlatIP(pooled.shape[1])
    index.add(pooled)
    found: NDArray[np.int64] = index.search(pooled[places], number)[1]
    return found


def _rings(neighbours: NDArray[np.int64], sizes: list[int], rows: int) -> list[csr_array]:
    """Return for each size the (c, rows) ones of the neighbours that it adds to the size before."""
    rings, start = [], 0
    for size in sizes:
        part = neighbours[:, start:size]
        pointers = np.arange(len(part) + 1) * part.shape[1]
        ones = np.ones(part.size, np.float32)
        rings.append(csr_array((ones, part.reshape(-1), pointers), shape=(len(part), rows)))
        start = size
    return rings
