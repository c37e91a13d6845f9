"""The gate: decides whether a release may be registered, and gives the reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from components.evaluation.bootstrap import Interval
from components.evaluation.measurement import METRIC_TITLES
from components.evaluation.parameters import EvaluationParameters


@dataclass(frozen=True)
class GateCheck:
    """One condition of the gate.

    Attributes:
        threshold: smallest value that passes.
        passed: whether the condition is met.
        explanation: one sentence for people.
    """

    name: str
    value: float
    threshold: float
    passed: bool
    explanation: str


@dataclass(frozen=True)
class GateDecision:
    """The gate's decision.

    Attributes:
        passed: whether every check passed, or the gate only reports.
        reasons: explanations of the failed checks.
    """

    passed: bool
    reasons: list[str]
    checks: list[GateCheck]

    def as_json(self) -> dict[str, Any]:
        """Return the contents of `gate.json`."""
        return asdict(self)


def decide(
    *,
    measured: Mapping[str, Mapping[str, Interval]],
    ahead: Mapping[str, Mapping[str, Interval]],
    ann_recall: Interval,
    baselines: Mapping[str, str],
    parameters: EvaluationParameters,
) -> GateDecision:
    """Apply every check to the measurements.

    Args:
        measured: ranker → metric → interval; contains "trained" and every baseline.
        ahead: ranker → metric → interval of (trained − ranker) on the same queries; with "champion" if there is one.
        ann_recall: share of the exact neighbours that the index returns.
        baselines: name → title of the rankers that must be beaten.
        parameters: metrics, thresholds and rule.
    """
    checks = [_enough(measured["trained"][parameters.gate_metrics[0]], parameters)]
    for metric in parameters.gate_metrics:
        for name, title in baselines.items():
            checks.append(
                _ahead_paired(metric, name, title, ahead[name][metric])
                if parameters.superiority == "paired"
                else _ahead_apart(metric, name, title, measured["trained"][metric], measured[name][metric])
            )
    checks.append(_index_recall(ann_recall, parameters))
    if "champion" in ahead:
        checks += [_not_behind(m, ahead["champion"][m], parameters) for m in parameters.gate_metrics]
    reasons = [check.explanation for check in checks if not check.passed]
    return GateDecision(not reasons or parameters.gate == "report", reasons, checks)


def _enough(interval: Interval, parameters: EvaluationParameters) -> GateCheck:
    passed = interval.queries >= parameters.min_queries
    verdict = "enough to decide" if passed else "too few to decide; add held-out images, or lower min_queries"
    text = (
        f"{interval.queries} held-out queries have something relevant to find, at least {parameters.min_queries} are "
        f"asked for: {verdict}."
    )
    return GateCheck("enough_queries", float(interval.queries), float(parameters.min_queries), passed, text)


def _ahead_paired(metric: str, name: str, title: str, difference: Interval) -> GateCheck:
    passed = difference.low > 0
    title_of = METRIC_TITLES[metric]
    text = (
        f"The trained encoder is {abs(difference.value):.3f} {'ahead of' if difference.value >= 0 else 'behind'} the "
        f"baseline “{title}” on {title_of}, interval {_signed(difference.low)} to {_signed(difference.high)} "
        "on the same queries: "
        + ("clearly ahead." if passed else "not clearly ahead; train longer, or check the labels.")
    )
    return GateCheck(f"ahead_of_{name}_on_{metric}", _rounded(difference.low), 0.0, passed, text)


def _ahead_apart(metric: str, name: str, title: str, trained: Interval, other: Interval) -> GateCheck:
    passed = trained.low > other.high
    text = (
        f"On {METRIC_TITLES[metric]} the interval of the trained encoder begins at {trained.low:.3f}, that of the "
        f"baseline “{title}” ends at {other.high:.3f}: "
        + ("they do not overlap." if passed else "they overlap; train longer, or check the labels.")
    )
    return GateCheck(f"ahead_of_{name}_on_{metric}", _rounded(trained.low), _rounded(other.high), passed, text)


def _index_recall(recall: Interval, parameters: EvaluationParameters) -> GateCheck:
    # Tuning stops at the first setting that reaches the target, so on other queries the mean is below it half of the
    # time; only an interval that is wholly below shows that the index misses it.
    target = parameters.index_recall_target
    passed = recall.high >= target
    text = (
        f"The index returns {recall.value:.3f} of the exact 10 nearest neighbours (interval {recall.low:.3f} to "
        f"{recall.high:.3f}), the target is {target:.3f}: "
        + ("reached." if passed else "missed; build the index again with a higher recall target.")
    )
    return GateCheck("index_recall", _rounded(recall.high), target, passed, text)


def _not_behind(metric: str, difference: Interval, parameters: EvaluationParameters) -> GateCheck:
    margin = parameters.champion_margin
    passed = difference.low >= -margin
    text = (
        f"Against the champion the trained encoder is at {_signed(difference.value)} on {METRIC_TITLES[metric]}, interval "
        f"{_signed(difference.low)} to {_signed(difference.high)} on the same queries, and may lose at most "
        f"{margin:.3f}: " + ("not worse." if passed else "it may be worse; keep the champion, or train on more data.")
    )
    return GateCheck(f"not_behind_champion_on_{metric}", _rounded(difference.low), -margin, passed, text)


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _rounded(value: float) -> float:
    return round(value, 6)
