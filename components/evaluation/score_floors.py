"""Score floors: the smallest score whose results reach a stated precision, behind the answer "no good match"."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.evaluation.measurement import RankerOutcome
from components.shared.truth.relevance import RELEVANT_GRADE, Grades

PRECISIONS = (0.8, 0.9, 0.95)
_CANDIDATES = 200
_MOST_RESULTS = 20
_METHOD = (
    "lowest of 200 scores, evenly spaced in rank, above which the share of relevant among the first 20 results has a lower "
    "bound (Wilson, one-sided, its number of results cut to what the spread between query items allows) of the precision stated"
)
_SOURCE = "held-out queries, through the built index among the held-out images; queries with nothing relevant count"


@dataclass(frozen=True)
class ScoreFloors:
    """Floors of one release.

    Attributes:
        floors: precision, as text → smallest score; None if no score reaches it.
        confidence: one-sided level of the lower bounds.
        results: number of examined results.
        method: description of the method.
        source: description of the data.
    """

    floors: dict[str, float | None]
    confidence: float
    queries: int
    results: int
    method: str = _METHOD
    source: str = _SOURCE

    def as_json(self) -> dict[str, Any]:
        """Return the floors for metrics.json and the release's manifest."""
        return asdict(self)


def floors_of(outcome: RankerOutcome, clusters: NDArray[np.int64], *, confidence: float) -> ScoreFloors:
    """Return the floors of a ranker's answers.

    Args:
        outcome: measured answers of the built index.
        clusters: (q,) the queries' items, since answers to views of one item are not independent.
        confidence: level of the lower bounds.
    """
    return calibrate(outcome.top_scores, outcome.top_grades, outcome.top_rows, clusters, confidence=confidence)


def calibrate(
    scores: NDArray[np.float32],
    grades: Grades,
    rows: NDArray[np.int64],
    clusters: NDArray[np.int64],
    *,
    confidence: float,
    precisions: Sequence[float] = PRECISIONS,
) -> ScoreFloors:
    """Find, per precision, the lowest score above which its lower bound reaches the precision.

    Args:
        scores: (q, k) scores of the results.
        grades: (q, k) grades of the results.
        rows: (q, k); −1 where there is no result.
        clusters: (q,) codes of the queries' items, from 0.
        confidence: level of the lower bounds, one-sided, above 0.5.
        precisions: precisions to reach.
    """
    kept = slice(None), slice(_MOST_RESULTS)
    there = (rows[kept] >= 0).ravel()
    flat = scores[kept].ravel()[there].astype(np.float64)
    relevant = (grades[kept].ravel() >= RELEVANT_GRADE)[there]
    cluster = np.repeat(clusters, rows[kept].shape[1])[there]
    floors: dict[str, float | None] = {f"{precision:g}": None for precision in precisions}
    if len(flat):
        order = np.argsort(flat)
        places = np.unique(np.linspace(0, len(flat) - 1, min(_CANDIDATES, len(flat))).astype(np.int64))
        for place in places[::-1]:  # from strict to lenient, so the last score that passes is the lowest
            floor = math.floor(flat[order[place]] * 1e6) / 1e6
            among = flat >= floor
            bound = lower_bound(relevant[among], cluster[among], confidence=confidence)
            for precision in precisions:
                if bound >= precision:
                    floors[f"{precision:g}"] = floor
    return ScoreFloors(floors, confidence, len(rows), len(flat))


def lower_bound(relevant: NDArray[np.bool_], clusters: NDArray[np.int64], *, confidence: float) -> float:
    """Return a one-sided lower bound of a share whose cases come in clusters.

    The number of cases is reduced to the one at which independent cases would have the spread of the clusters (to the number
    of clusters if they have no spread); then Wilson's bound is computed.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927); Kish, "Survey
    Sampling" (1965), the design effect of a ratio.
    """
    total = len(relevant)
    _, code = np.unique(clusters, return_inverse=True)
    groups = int(code.max()) + 1
    share = float(relevant.mean())
    hits, sizes = np.bincount(code, relevant, groups), np.bincount(code, minlength=groups)
    spread = float(np.sum((hits - share * sizes) ** 2)) / total**2
    if groups > 1:
        spread *= groups / (groups - 1)
    cases = float(groups) if spread == 0 else min(max(share * (1 - share) / spread, 1.0), float(total))
    z = NormalDist().inv_cdf(confidence)
    centre = share + z * z / (2 * cases)
    margin = z * math.sqrt(share * (1 - share) / cases + z * z / (4 * cases * cases))
    return (centre - margin) / (1 + z * z / cases)
