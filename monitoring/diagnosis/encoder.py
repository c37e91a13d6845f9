"""The encoder: are judged queries still answered as well as when the release was evaluated?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, norm

from components.shared.truth.metrics import hit_rate_at_k
from components.shared.truth.relevance import RELEVANT_GRADE
from components.shared.vectors.embeddings import Vectors
from components.shared.vectors.search import CatalogueIndex
from monitoring.diagnosis.parameters import DiagnosisParameters
from monitoring.findings import Concern

PerQuery = NDArray[np.float64]


@dataclass(frozen=True)
class JudgedQueries:
    """Queries whose right answers are known from judgements.

    Attributes:
        ids: q query image ids; a query's own image does not count as an answer.
        vectors: (q, d) float32, embedded by the encoder that is checked.
        relevant: image ids, for each query.
    """

    ids: tuple[str, ...]
    vectors: Vectors
    relevant: tuple[frozenset[str], ...]


@dataclass(frozen=True)
class Expected:
    """The figure that a release promised: of its manifest.

    Attributes:
        value, low, high: hit rate and its 95 % interval.
    """

    value: float
    low: float
    high: float


def judged_hits(queries: JudgedQueries, index: CatalogueIndex, image_ids: list[str], k: int) -> PerQuery:
    """Return whether each query finds any of its right answers among the first k; NaN where the index has none of them.

    Args:
        queries: queries of the index's space.
        index: index of the release.
        image_ids: n, by row.
        k: depth.
    """
    rows = index.search(queries.vectors, min(k + 1, index.rows)).rows
    indexed = set(image_ids)
    grades = np.zeros((len(queries.ids), k), np.uint8)
    for query, (own, found, relevant) in enumerate(zip(queries.ids, rows, queries.relevant, strict=True)):
        others = [image_ids[int(row)] for row in found if row >= 0 and image_ids[int(row)] != own][:k]
        grades[query, : len(others)] = [RELEVANT_GRADE * (image_id in relevant) for image_id in others]
    counts = [len((relevant & indexed) - {own}) for own, relevant in zip(queries.ids, queries.relevant, strict=True)]
    return hit_rate_at_k(grades, np.array(counts, np.int64), k)


def encoder_quality(
    hits: PerQuery, expected: Expected | None, parameters: DiagnosisParameters, *, previous: PerQuery | None = None
) -> tuple[Concern, ...]:
    """Compare judged queries with what the release promised, and with the release before it.

    Args:
        hits: hits of the release that serves, by `judged_hits`.
        expected: its hit rate at the same depth when it was evaluated; None: its evaluation has no such figure.
        parameters: thresholds of the alarms.
        previous: previous of the release before, on the same queries; None: there is none, or it was not measured.

    Returns:
        The concern "judged_hit_rate" and, with `previous`, "judged_against_previous".
    """
    known = hits[np.isfinite(hits)]
    if len(known) < parameters.minimum_judged:
        sentence = f"{len(known)} judged queries have an answer in the index; {parameters.minimum_judged} are needed."
        return (
            Concern(name="judged_hit_rate", topic="encoder", state="unknown", sentence=sentence, window=len(known)),
        )
    concerns = [_against_promise(known, expected, parameters)]
    if previous is not None:
        both = np.isfinite(hits) & np.isfinite(previous)
        lost = int(((previous == 1) & (hits == 0))[both].sum())
        won = int(((previous == 0) & (hits == 1))[both].sum())
        now, then = float(hits[both].mean()), float(previous[both].mean())
        concerns.append(
            _concern(
                "judged_against_previous", now, then, sign_test(lost, won), int(both.sum()), parameters,
                f"Of {int(both.sum())} judged queries, {lost} were answered by the previous release and are not by this one, "
                f"{won} the other way round.",
            )
        )  # fmt: skip
    return tuple(concerns)


def _against_promise(known: PerQuery, expected: Expected | None, parameters: DiagnosisParameters) -> Concern:
    mean, k = float(known.mean()), parameters.judged_k
    told = f"{mean:.1%} of {len(known)} judged queries find a right answer among the first {k}; the release promised "
    if expected is None:
        sentence = f"{told}nothing at that depth."
        return Concern(name="judged_hit_rate", topic="encoder", state="unknown", sentence=sentence, window=len(known))
    # Laplace's estimate of the share, so that a sample of hits alone still has an error.
    share = (known.sum() + 1) / (len(known) + 2)
    error = np.hypot(np.sqrt(share * (1 - share) / len(known)), (expected.high - expected.low) / (2 * norm.ppf(0.975)))
    p_value = float(norm.cdf((mean - expected.value) / error))
    return _concern(
        "judged_hit_rate", mean, expected.value, p_value, len(known), parameters, f"{told}{expected.value:.1%}."
    )


def sign_test(lost: int, won: int) -> float:
    """Return the probability of at least this many losses among these changes if losses were as likely as gains.

    Source: McNemar's test in its exact form.
    """
    return float(binom.sf(lost - 1, lost + won, 0.5)) if lost + won else 1.0


def _concern(
    name: str, value: float, than: float, p_value: float, window: int, parameters: DiagnosisParameters, sentence: str
) -> Concern:
    loss = than - value
    shown = p_value <= parameters.alpha and loss > 0
    return Concern(
        name=name,
        topic="encoder",
        state="ok" if not shown else "alarm" if loss >= parameters.minimum_loss else "watch",
        sentence=sentence,
        value=value,
        threshold=than,
        p_value=p_value,
        effect=max(0.0, loss),
        effect_name="loss of hit rate",
        window=window,
    )
