"""Occupancy: do the queries fall into the clusters in the proportions of the reference?"""

from __future__ import annotations

from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from components.shared.vectors.embeddings import Vectors
from components.shared.vectors.search import CatalogueIndex
from monitoring.drift.outcome import DriftOutcome
from monitoring.drift.parameters import DriftParameters
from monitoring.drift.permutations import Floats, sequential_p_value

_ROUNDS = 10  # of k-means
_SIMULATIONS = 9_999  # at most
_EXPECTED_OF = 200  # divisions


@dataclass(frozen=True)
class Occupancy:
    """How many of each sample a cluster holds.

    Attributes:
        reference: (c,) counts.
        window: (c,) counts.
        of_reference: (m,) cluster of each.
        of_window: (n,) cluster of each.
    """

    reference: NDArray[np.int64]
    window: NDArray[np.int64]
    of_reference: NDArray[np.int64]
    of_window: NDArray[np.int64]


def occupy(reference: Vectors, window: Vectors, centroids: Vectors) -> Occupancy:
    """Assign both samples to the nearest centroid."""
    clusters = faiss.IndexFlatIP(centroids.shape[1])
    clusters.add(np.ascontiguousarray(centroids, np.float32))
    of_reference, of_window = (
        clusters.search(np.ascontiguousarray(sample, np.float32), 1)[1][:, 0] for sample in (reference, window)
    )
    counts = [np.bincount(of, minlength=len(centroids)) for of in (of_reference, of_window)]
    return Occupancy(counts[0], counts[1], of_reference, of_window)


def list_centroids(index: CatalogueIndex) -> Vectors | None:
    """Return the (l, d) centroids of the index's inverted lists, or None where it has none."""
    base = index.faiss_index
    base = faiss.downcast_index(base.base_index) if isinstance(base, faiss.IndexRefine) else base
    if not isinstance(base, faiss.IndexIVF):
        return None
    return np.asarray(base.quantizer.reconstruct_n(0, base.nlist), np.float32)


def clusters_of(vectors: Vectors, number: int, seed: int) -> Vectors:
    """Return (c, d) centroids by spherical k-means; c is at most `number`."""
    number = max(1, min(number, len(vectors)))
    kmeans = faiss.Kmeans(
        vectors.shape[1], number, niter=_ROUNDS, seed=seed & 0x7FFFFFFF, spherical=True, min_points_per_centroid=1,
        max_points_per_centroid=max(256, -(-len(vectors) // number)),
    )  # fmt: skip
    kmeans.train(np.ascontiguousarray(vectors, np.float32))
    return np.asarray(kmeans.centroids, np.float32)


def occupancy(
    reference: Vectors,
    window: Vectors,
    lists: Vectors | None,
    parameters: DriftParameters,
    rng: np.random.Generator,
) -> tuple[DriftOutcome, Occupancy]:
    """Test by the χ² statistic of the counts, against random divisions of what each cluster holds.

    Clusters are the index's own lists (grouped, where there are very many), or k-means on both samples together, which is
    blind to which is which: so the p-value is exact in both cases, for any counts.

    Args:
        reference: (m, d) unit vectors.
        window: (n, d) unit vectors.
        lists: (l, d) centroids of the index's lists; None: it has none.
        parameters: number of clusters, and when to stop.
        rng: source of randomness for the divisions.
    """
    pooled = np.concatenate([reference, window])
    number = max(2, min(parameters.maximum_clusters, len(pooled) // parameters.rows_per_cluster))
    if lists is not None and len(lists) >= 2:
        centroids = lists if len(lists) <= number else clusters_of(lists, number, parameters.seed)
    else:
        centroids = clusters_of(pooled, number, parameters.seed)
    found = occupy(reference, window, centroids)
    both = found.reference + found.window
    observed = float(chi_square(found.window[None], both)[0])

    def divide(count: int) -> NDArray[np.int64]:
        return rng.multivariate_hypergeometric(both, len(window), size=count)

    p_value = sequential_p_value(
        observed * (1 - 1e-12),  # equal counts are equal, however they are summed
        lambda count: chi_square(divide(count), both),
        permutations=_SIMULATIONS,
        exceedances=parameters.exceedances,
    )
    # Sampling alone moves some: what the divisions move on average is taken off.
    moved = _moved(found.window[None], both, len(window))[0]
    expected = _moved(divide(_EXPECTED_OF), both, len(window)).mean()
    effect = max(0.0, float(moved - expected))
    return (
        DriftOutcome(
            "occupancy", observed, p_value, effect, "share that changed cluster", parameters.minimum_occupancy
        ),
        found,
    )


def chi_square(window: NDArray[np.int64], both: NDArray[np.int64]) -> Floats:
    """Return Pearson's χ² of the 2 × c table: (p, c) counts of the window, (c,) of both samples → (p,)."""
    kept = both > 0
    share = window.sum(axis=1, keepdims=True) / both.sum()
    excess = window[:, kept] - share * both[kept]
    # Both rows of the table have the same excess, with opposite signs.
    return np.asarray((excess**2 / both[kept]).sum(axis=1) / (share * (1 - share))[:, 0], np.float64)


def _moved(window: NDArray[np.int64], both: NDArray[np.int64], size: int) -> Floats:
    """Return half the sum of the absolute differences of shares (total variation) for each division."""
    reference = (both - window) / (both.sum() - size)
    return np.asarray(np.abs(window / size - reference).sum(axis=1) / 2, np.float64)
