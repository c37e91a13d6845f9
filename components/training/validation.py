"""Leave-one-out retrieval among validation images: what early stopping watches."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from components.shared.truth.relevance import RELEVANT_GRADE, Relevance

_BLOCK = 512


class ValidationFigures(BaseModel):
    """Retrieval of each validation image among the others; images with nothing relevant are left out and counted.

    Attributes:
        hit_rate_at_1: share of queries whose first neighbour is relevant.
        recall_at_10: mean share of the relevant images among the first 10.
        mean_average_precision: mean over queries of average precision over the whole ranking.
        queries: queries that count.
        left_out: queries with nothing relevant.
    """

    model_config = ConfigDict(frozen=True)

    hit_rate_at_1: float
    recall_at_10: float
    mean_average_precision: float
    queries: int
    left_out: int


def validate(
    embeddings: NDArray[np.float32], relevance: Relevance, rows: NDArray[np.int64]
) -> ValidationFigures | None:
    """Rank all others for every image; ties are broken by row. None if no image has anything relevant.

    Args:
        embeddings: (n, d) unit vectors.
        relevance: of images, the n and perhaps others; grade ≥ 2 is relevant.
        rows: (n,) which images of `relevance` the n are.
    """
    n = len(embeddings)
    hits: list[NDArray[np.float64]] = []
    for start in range(0, n, _BLOCK):
        block = np.arange(start, min(n, start + _BLOCK))
        scores = embeddings[block] @ embeddings.T
        scores[np.arange(len(block)), block] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")[:, : n - 1]
        relevant = np.take_along_axis(relevance.grades(rows[block], rows), order, 1) >= RELEVANT_GRADE
        total = relevant.sum(1)
        relevant, total = relevant[total > 0], total[total > 0]
        precision = np.cumsum(relevant, 1) / np.arange(1, n)
        hits.append(
            np.stack([relevant[:, 0], relevant[:, :10].sum(1) / total, (precision * relevant).sum(1) / total], 1)
            if len(relevant)
            else np.empty((0, 3))
        )
    figures = np.concatenate(hits) if hits else np.empty((0, 3))
    if not len(figures):
        return None
    hit, recall, precision_mean = (float(value) for value in figures.mean(0))
    return ValidationFigures(
        hit_rate_at_1=hit,
        recall_at_10=recall,
        mean_average_precision=precision_mean,
        queries=len(figures),
        left_out=n - len(figures),
    )
