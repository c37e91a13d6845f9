"""The verdict: promote, continue or roll back, with the reasons in sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from monitoring.experiments.analysis import Analysis
from monitoring.experiments.guardrails import TITLES, GuardrailResult

Verdict = Literal["promote", "continue", "roll_back"]


@dataclass(frozen=True)
class Decision:
    """A verdict and why.

    Attributes:
        verdict: promote, continue or roll_back.
        reasons: sentences; the deciding one first.
        warnings: findings that a person should check; they do not affect the verdict.
    """

    verdict: Verdict
    reasons: list[str]
    warnings: list[str]


def decide(analysis: Analysis) -> Decision:
    """Decide. What is checked first overrules what comes later: sample ratio, guardrails, the metric, the time.

    False roll-backs by guardrails happen with probability at most `guardrail_alpha`, by sample ratio
    `sample_ratio_alpha`; a treatment that changes nothing is promoted or rolled back for its metric with probability at most
    `alpha` (two-sided), all this over any number of looks.
    """
    stops = _broken(analysis)
    if stops:
        return Decision("roll_back", stops, _warnings(analysis))
    verdict, reason = _by_metric(analysis)
    return Decision(verdict, [reason], _warnings(analysis))


def _broken(analysis: Analysis) -> list[str]:
    parameters, reasons = analysis.parameters, []
    if analysis.sample_ratio_p[-1] < parameters.sample_ratio_alpha:
        control, treatment = analysis.users[-1]
        share = treatment / (control + treatment)
        reasons.append(
            f"{share:.1%} of the users are in {parameters.treatment} where {parameters.treatment_share:.1%} should be "
            f"(p = {analysis.sample_ratio_p[-1]:.1g}): something selects which users are counted, so no figure can "
            "be trusted; find the cause before you try again."
        )
    reasons.extend(_alarm(result) for result in analysis.guardrails if result.alarmed)
    return reasons


def _alarm(result: GuardrailResult) -> str:
    allowed = f" (allowed: {result.margin:.2%} more)" if result.margin else ""
    return (
        f"{TITLES[result.name]} rose from {result.control or 0:.2%} to {result.treatment or 0:.2%}, which is not by chance"
        f"{allowed}."
    )


def _by_metric(analysis: Analysis) -> tuple[Verdict, str]:
    parameters, primary = analysis.parameters, analysis.primary
    low, high, name = primary.relative_low[-1], primary.relative_high[-1], primary.metric.title
    over = analysis.days >= parameters.maximum_days
    if np.isnan(primary.difference[-1]):
        if over:
            return (
                "roll_back",
                f"{parameters.maximum_days:g} days gave too few users or clicks to judge; send more traffic.",
            )
        control, treatment = (int(n) for n in analysis.users[-1])
        return "continue", (
            f"Too early to decide: {control} and {treatment} users so far; each arm needs {parameters.minimum_users} users and "
            f"{parameters.minimum_clicks} searches with a click."
        )
    good = 1 if primary.metric.higher_is_better else -1
    interval = f"between {low:+.1%} and {high:+.1%} (always-valid interval, {1 - parameters.alpha:.0%})"
    worse, better = _sides(primary.low[-1], primary.high[-1], good)
    if worse:
        return "roll_back", f"{name} got worse: {interval}."
    if better:
        if analysis.days < parameters.minimum_days:
            return "continue", f"{name} is better, {interval}, but {parameters.minimum_days:g} days are not over."
        return "promote", f"{name} is better: {interval}."
    if over:
        return _at_the_end(analysis, interval, low if good > 0 else -high)
    return "continue", f"{name} changed by something {interval}, which leaves open which arm is better."


def _sides(low: float, high: float, good: int) -> tuple[bool, bool]:
    """Return whether the difference is shown to be for the worse, and for the better."""
    return (high < 0, low > 0) if good > 0 else (low > 0, high < 0)


def _at_the_end(analysis: Analysis, interval: str, lowest: float) -> tuple[Verdict, str]:
    parameters, name = analysis.parameters, analysis.primary.metric.title
    margin = parameters.not_worse_margin
    if margin is not None and lowest > -margin:
        return "promote", (
            f"{name} changed by something {interval}: not shown to be better, but shown to lose less than {margin:.1%}."
        )
    return "roll_back", (
        f"{parameters.maximum_days:g} days did not show that {name.lower()} is better ({interval}); the champion stays."
    )


def _warnings(analysis: Analysis) -> list[str]:
    parameters, found = analysis.parameters, []
    unmeasured = [TITLES[g.name].lower() for g in analysis.guardrails if g.control is None]
    if unmeasured:
        found.append(f"Not monitored, because there are no request counts (or too few): {', '.join(unmeasured)}.")
    share = analysis.in_both / max(analysis.users[-1].sum() + analysis.in_both, 1)
    if share > 0.01:
        found.append(
            f"{share:.1%} of the users saw both arms and were left out; check that clients stick to their first arm."
        )
    if analysis.cleaning.bot_results > 0.1 * max(analysis.cleaning.results, 1):
        found.append(f"{analysis.cleaning.bot_results / analysis.cleaning.results:.0%} of all results went to bots.")
    if parameters.cuped and analysis.primary.adjusted_by == 0:
        found.append("No events from before the start, so CUPED could not narrow the intervals.")
    return found
