"""The tests of drift in words."""

from __future__ import annotations

from monitoring.drift.comparison import Comparison, Tested
from monitoring.drift.parameters import DriftParameters
from monitoring.drift.samples import FIGURES
from monitoring.findings import Concern

_SEEN = {
    "domain_classifier": "a linear rule tells queries from the reference with an AUC of {value:.3f} (0.5 is chance)",
    "mean_difference": "the mean of the queries is {effect:.2f} standard deviations from the reference's",
    "occupancy": "{effect:.1%} of the queries would have to change their cluster to match the reference",
    "top_similarity": "the nearest known image of a query has a median similarity of {value:.3f}, a distance of {effect:.2f} "
    "from the reference's distribution",
    "local_excess": "in one region of the space there are more queries than expected by chance, by {effect:.1%} of all",
    "format": "{effect:.1%} of the queries would have to change their file format to match the reference",
}
_FIGURE = "the median {name} of the queries is {value:.4g}, the reference's {reference:.4g} (distance {effect:.2f})"
_VERDICT = {
    "ok": "chance alone explains this (p = {p:.2g})",
    "watch": "this is not by chance (p = {p:.2g}), but too small to matter (less than {minimum:g} {effect_name})",
    "alarm": "this is not by chance (p = {p:.2g})",
}


def drift_concerns(comparison: Comparison | None, queries: int, parameters: DriftParameters) -> tuple[Concern, ...]:
    """Say what the tests found.

    Args:
        comparison: result of `compare`; None: there were too few queries.
        queries: in the window.
        parameters: parameters of the tests.
    """
    if comparison is None:
        sentence = (
            f"{queries} queries are too few to compare, at least {parameters.minimum_window} different ones, and as many "
            "references, are needed"
        )
        return (Concern(name="drift", topic="drift", state="unknown", sentence=sentence, window=queries),)
    embeddings = [_concern(tested, comparison) for tested in comparison.embeddings]
    inputs = [_concern(tested, comparison) for tested in comparison.inputs]
    if not inputs:
        inputs = [
            Concern(
                name="inputs",
                topic="inputs",
                state="unknown",
                sentence="the release's reference has no picture statistics; the next one that is registered will have them",
            )
        ]
    return (*embeddings, *inputs)


def _concern(tested: Tested, comparison: Comparison) -> Concern:
    outcome = tested.outcome
    figures = {"value": outcome.value, "effect": outcome.effect}
    if outcome.name in FIGURES and comparison.reference.inputs is not None:
        known = comparison.reference.inputs.known().figures[outcome.name]
        ordered = sorted(known.tolist())
        reference = ordered[len(ordered) // 2]
        seen = _FIGURE.format(name=outcome.name.replace("_", " "), reference=reference, **figures)
    else:
        seen = _SEEN[outcome.name].format(**figures)
    verdict = _VERDICT[tested.state].format(p=tested.adjusted, minimum=outcome.minimum, effect_name=outcome.effect_name)
    return Concern(
        name=outcome.name,
        topic="inputs" if outcome.name in {*FIGURES, "format"} else "drift",
        state=tested.state,
        sentence=f"{seen[0].upper()}{seen[1:]}: {verdict}.",
        value=outcome.value,
        threshold=outcome.minimum,
        p_value=tested.adjusted,
        effect=outcome.effect,
        effect_name=outcome.effect_name,
        window=len(comparison.window.ids),
    )
