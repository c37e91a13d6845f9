"""Why the queries moved: other pictures, new kinds of items, or the known in other proportions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from components.shared.vectors.embeddings import Vectors, normalise
from monitoring.diagnosis.parameters import DiagnosisParameters
from monitoring.drift.comparison import Comparison
from monitoring.drift.domain_classifier import domain_classifier
from monitoring.drift.mean_difference import mean_difference
from monitoring.drift.occupancy import clusters_of, occupancy, occupy
from monitoring.drift.parameters import DriftParameters
from monitoring.drift.samples import FIGURES

_NEIGHBOURS = 5  # whose mean says where in the space a query is
_ROWS_PER_STRATUM = 40
_REST_ALPHA = 0.025  # of each of two tests of what is left without a crowd


@dataclass(frozen=True)
class NewKind:
    """A crowd of queries where the reference has next to nothing.

    Attributes:
        queries: (c,) rows of the window, nearest to the crowd's centre first.
        excess: share of all queries that are of it, estimated.
        rarity: share of the reference that is as far from everything known as the crowd, or farther.
    """

    queries: NDArray[np.int64]
    excess: float
    rarity: float


@dataclass(frozen=True)
class Change:
    """Evidence from the queries themselves.

    Attributes:
        figures: names of the input statistics that changed, and not only because other things are looked for.
        unseen: the embeddings of everything moved alike, though no input statistic changed.
        new_kind: a kind of item that is new; None: none.
        moved: rows of the window that show it best.
    """

    figures: tuple[str, ...]
    unseen: bool
    new_kind: NewKind | None
    moved: NDArray[np.int64]


def explain(comparison: Comparison, drift: DriftParameters, parameters: DiagnosisParameters) -> Change:
    """Tell what kind of change the tests saw; call it only where one alarmed, or was worth watching."""
    with threadpool_limits(1):  # threads of such small products mostly wait for one another
        return _explain(comparison, drift, parameters)


def _explain(comparison: Comparison, drift: DriftParameters, parameters: DiagnosisParameters) -> Change:
    rng = np.random.default_rng(drift.seed)
    new_kind = find_new_kind(comparison, drift, parameters, rng)
    figures = changed_figures(comparison, parameters, leave_out=None if new_kind is None else new_kind.queries)
    unseen = not figures and new_kind is None and moved_alike(comparison, drift, parameters, rng)
    if new_kind is not None and not figures:
        moved = new_kind.queries
    elif figures:
        moved = _most_extreme(comparison, figures[0])
    else:
        moved = np.argsort(comparison.nearness.window)
    return Change(figures, unseen, new_kind, moved)


def changed_figures(
    comparison: Comparison, parameters: DiagnosisParameters, *, leave_out: NDArray[np.int64] | None
) -> tuple[str, ...]:
    """Return the alarming input statistics that changed among queries for the same things, the most changed first.

    If more users search for shoes, pictures get brighter: shoes are photographed on white. So each figure is compared within
    clusters of the reference, by van Elteren's test, before it counts.

    Args:
        comparison: comparison of window and reference.
        parameters: α.
        leave_out: rows of the window that are explained already.
    """
    alarming = [tested for tested in comparison.inputs if tested.state == "alarm"]
    reference, window = comparison.reference.inputs, comparison.window.inputs
    if not alarming or reference is None or window is None:
        return ()
    keep = np.setdiff1d(np.arange(len(comparison.window.ids)), [] if leave_out is None else leave_out)
    centroids = clusters_of(comparison.reference.vectors, len(comparison.reference.ids) // _ROWS_PER_STRATUM, 0)
    places = occupy(comparison.reference.vectors, comparison.window.vectors[keep], centroids)
    changed = []
    for tested in alarming:
        name = tested.outcome.name
        if name == "format":  # the format of files does not depend on what users search for
            changed.append(tested)
            continue
        p_value = van_elteren(
            reference.figures[name], window.figures[name][keep], places.of_reference, places.of_window
        )
        if p_value <= parameters.alpha / len(FIGURES):
            changed.append(tested)
    changed.sort(key=lambda tested: -tested.outcome.effect)
    return tuple(tested.outcome.name for tested in changed)


def van_elteren(
    first: NDArray[np.float64], second: NDArray[np.float64], strata: NDArray[np.int64], other: NDArray[np.int64]
) -> float:
    """Return the two-sided p-value of Wilcoxon's rank sums within strata; NaN values are left out.

    Args:
        first: (m,) figures.
        second: (n,) figures.
        strata: (m,) stratum of each of the first.
        other: (n,) of the second.

    Source: van Elteren, On the combination of independent two-sample tests of Wilcoxon, 1960.
    """
    total = expected = variance = 0.0
    for stratum in np.intersect1d(strata, other):
        a, b = first[strata == stratum], second[other == stratum]
        a, b = a[np.isfinite(a)], b[np.isfinite(b)]
        m, n = len(a), len(b)
        if not m or not n:
            continue
        ranks = rankdata(np.concatenate([a, b]))
        weight = 1 / (m + n + 1)
        total += weight * ranks[m:].sum()
        expected += weight * n * (m + n + 1) / 2
        if m + n > 1:  # of the ranks as they are, so ties are accounted for
            variance += weight**2 * m * n * ranks.var(ddof=1) / (m + n)
    return float(2 * norm.sf(abs(total - expected) / np.sqrt(variance))) if variance > 0 else 1.0


def find_new_kind(
    comparison: Comparison, drift: DriftParameters, parameters: DiagnosisParameters, rng: np.random.Generator
) -> NewKind | None:
    """Return the kind of item that is new, if the local excess is one.

    A crowd is a new kind if (1) it is farther from everything known than most of the reference does, and (2) without
    the part of the space around it, nothing else has changed: else the proportions of the known have.
    """
    if comparison.tested("local_excess").state != "alarm":
        return None
    window, reference = comparison.window.vectors, comparison.reference.vectors
    crowd = window[comparison.crowd.window]
    nearest = float(np.median((crowd @ reference[comparison.nearness.gallery].T).max(axis=1)))
    rarity = float((comparison.nearness.reference <= nearest).mean())
    if rarity > parameters.rare_quantile:
        return None
    centre = normalise(crowd.mean(axis=0)[None])[0]
    of_window, of_reference = window @ centre, reference @ centre
    excess, limit = _excess(of_reference, of_window)
    rest, known = window[of_window < limit], reference[of_reference < limit]
    if min(len(rest), len(known)) < drift.minimum_window or (
        occupancy(known, rest, None, drift, rng)[0].p_value <= _REST_ALPHA
        or mean_difference(known, rest, drift, rng).p_value <= _REST_ALPHA
    ):
        return None
    return NewKind(comparison.crowd.window, excess, rarity)


def moved_alike(
    comparison: Comparison, drift: DriftParameters, parameters: DiagnosisParameters, rng: np.random.Generator
) -> bool:
    """Whether the embeddings moved alike all over the space, as they do when the pictures change.

    Of each query, and of each probe of the reference, only the difference to its nearest known images is kept. Where
    users merely search for other known things, these differences do not change.
    """
    reference, window = comparison.reference.vectors, comparison.window.vectors
    gallery, probes = reference[comparison.nearness.gallery], reference[comparison.nearness.probes]
    found = domain_classifier(_residuals(probes, gallery), _residuals(window, gallery), drift, rng)
    least = max(parameters.moved_auc, parameters.moved_share * comparison.tested("domain_classifier").outcome.effect)
    return found.p_value <= parameters.alpha and found.effect >= least


def _residuals(vectors: Vectors, gallery: Vectors) -> Vectors:
    number = min(_NEIGHBOURS, len(gallery))
    nearest = np.argpartition(-(vectors @ gallery.T), number - 1, axis=1)[:, :number]
    residuals: Vectors = vectors - gallery[nearest].mean(axis=1)
    return residuals


def _excess(of_reference: NDArray[np.float32], of_window: NDArray[np.float32]) -> tuple[float, float]:
    """Return the greatest surplus of the window's share among those nearest to a place, and the similarity it ends at."""
    both = np.concatenate([of_reference, of_window])
    order = np.argsort(-both)
    steps = np.where(order >= len(of_reference), 1 / len(of_window), -1 / len(of_reference))
    surplus = np.cumsum(steps)
    last = int(surplus.argmax())
    return float(surplus[last]), float(both[order[last]])


def _most_extreme(comparison: Comparison, name: str) -> NDArray[np.int64]:
    """Return rows of the window, those first whose figure is farthest on the side that it moved to."""
    reference, window = comparison.reference.inputs, comparison.window.inputs
    if reference is None or window is None or name not in FIGURES:
        return np.argsort(comparison.nearness.window)
    values = window.figures[name]
    grew = np.nanmedian(values) >= np.nanmedian(reference.figures[name])
    return np.argsort(-values if grew else values)
