"""All tests of drift together: one window against one reference, with one probability of a false alarm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from components.shared.vectors.embeddings import Vectors
from monitoring.drift.domain_classifier import domain_classifier
from monitoring.drift.inputs import input_outcomes
from monitoring.drift.local_excess import Crowd, local_excess
from monitoring.drift.mean_difference import mean_difference
from monitoring.drift.occupancy import Occupancy, occupancy
from monitoring.drift.outcome import DriftOutcome
from monitoring.drift.parameters import DriftParameters
from monitoring.drift.samples import Sample, check_spaces
from monitoring.drift.similarity import Nearness, nearness, top_similarity
from monitoring.experiments.multiplicity import holm
from monitoring.findings import State

EMBEDDING_TESTS = ("domain_classifier", "mean_difference", "occupancy", "top_similarity", "local_excess")


@dataclass(frozen=True)
class Tested:
    """An outcome in its family.

    Attributes:
        adjusted: its p-value, adjusted for all tests: alarming at ≤ α errs at all with probability ≤ α.
        state: "ok", "watch" (shown, but smaller than what matters) or "alarm".
    """

    outcome: DriftOutcome
    adjusted: float
    state: State


@dataclass(frozen=True)
class Comparison:
    """Results of the tests, and further inputs of the diagnosis.

    Attributes:
        reference: reference of the comparison, cut to size.
        window: queries of the window, without repetitions.
        embeddings: outcomes of EMBEDDING_TESTS, in order.
        inputs: outcomes of the input statistics; empty where they are not known.
        occupancy: counts of the clusters.
        crowd: region in which the queries exceed the reference most.
    """

    reference: Sample
    window: Sample
    embeddings: tuple[Tested, ...]
    inputs: tuple[Tested, ...]
    occupancy: Occupancy
    nearness: Nearness
    crowd: Crowd

    def tested(self, name: str) -> Tested:
        """Return what the test of this name says.

        Raises:
            KeyError: there is none.
        """
        return {tested.outcome.name: tested for tested in (*self.embeddings, *self.inputs)}[name]


def compare(
    reference: Sample, window: Sample, parameters: DriftParameters, *, lists: Vectors | None = None
) -> Comparison | None:
    """Run all tests; None if there are fewer queries, or references, than the minimum window.

    Args:
        reference: reference of the release, or an earlier window.
        window: the queries.
        parameters: parameters of the tests.
        lists: (l, d) centroids of the index's lists, if it has any.

    Raises:
        SpaceMismatchError: the two are not of one space.
    """
    check_spaces(reference, window)
    reference = reference.at_most(parameters.maximum_rows, parameters.seed)
    window = window.at_most(2 * parameters.maximum_rows, parameters.seed + 1).distinct()
    window = window.at_most(parameters.maximum_rows, parameters.seed + 1)
    if min(len(window.ids), len(reference.ids)) < parameters.minimum_window:
        return None
    with threadpool_limits(1):  # threads of such small products mostly wait for one another
        return _compare(reference, window, parameters, lists)


def _compare(reference: Sample, window: Sample, parameters: DriftParameters, lists: Vectors | None) -> Comparison:
    streams = np.random.default_rng(parameters.seed).spawn(6)
    near = nearness(reference.vectors, window.vectors, streams[0])
    occupied, counts = occupancy(reference.vectors, window.vectors, lists, parameters, streams[1])
    crowded, crowd = local_excess(reference.vectors, window.vectors, parameters, streams[5])
    outcomes = (
        domain_classifier(reference.vectors, window.vectors, parameters, streams[2]),
        mean_difference(reference.vectors, window.vectors, parameters, streams[3]),
        occupied,
        top_similarity(near, parameters),
        crowded,
    )
    inputs: tuple[DriftOutcome, ...] = ()
    if reference.inputs is not None and window.inputs is not None:
        inputs = input_outcomes(reference.inputs, window.inputs, parameters, streams[4])
    return Comparison(
        reference, window, judged(outcomes, parameters.alpha), judged(inputs, parameters.alpha), counts, near, crowd
    )


def judged(outcomes: tuple[DriftOutcome, ...], alpha: float) -> tuple[Tested, ...]:
    """Adjust the p-values of one half (embeddings, or inputs) by Holm's procedure, times two for the other half."""
    if not outcomes:
        return ()
    adjusted = np.minimum(1.0, 2 * holm(np.array([outcome.p_value for outcome in outcomes])))
    return tuple(
        Tested(outcome, float(p), _state(outcome, float(p), alpha))
        for outcome, p in zip(outcomes, adjusted, strict=True)
    )


def _state(outcome: DriftOutcome, adjusted: float, alpha: float) -> State:
    if adjusted > alpha:
        return "ok"
    return "alarm" if outcome.effect >= outcome.minimum else "watch"
