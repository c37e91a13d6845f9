"""Similarity to what is known: how near is the nearest?"""

from __future__ import annotations

from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from components.shared.vectors.embeddings import Vectors
from monitoring.drift.outcome import DriftOutcome
from monitoring.drift.parameters import DriftParameters


@dataclass(frozen=True)
class Nearness:
    """Similarity to the nearest of one half of the reference (the gallery).

    Attributes:
        reference: (m − g,) of the other half, the probes.
        window: (n,) of the queries.
        gallery: (g,) rows of the reference.
        probes: (m − g,) rows of the reference.
    """

    reference: NDArray[np.float32]
    window: NDArray[np.float32]
    gallery: NDArray[np.int64]
    probes: NDArray[np.int64]


def nearness(reference: Vectors, window: Vectors, rng: np.random.Generator) -> Nearness:
    """Measure queries and one half of the reference against its other half.

    Were the reference measured against itself, each would find itself, or one fewer than a query does; and the figures
    would depend on one another. By halves, both are measured alike, and the comparison is exact.
    """
    order = rng.permutation(len(reference))
    gallery, probes = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
    index = faiss.IndexFlatIP(reference.shape[1])
    index.add(np.ascontiguousarray(reference[gallery], np.float32))
    of_probes, of_window = (
        index.search(np.ascontiguousarray(sample, np.float32), 1)[0][:, 0] for sample in (reference[probes], window)
    )
    return Nearness(of_probes, of_window, gallery, probes)


def top_similarity(near: Nearness, parameters: DriftParameters) -> DriftOutcome:
    """Test by the Kolmogorov-Smirnov distance of the similarities to the nearest."""
    found = ks_2samp(near.reference, near.window, method="asymp")
    return DriftOutcome(
        "top_similarity",
        float(np.median(near.window)),
        float(found.pvalue),
        float(found.statistic),
        "KS distance",
        parameters.minimum_distance,
    )
