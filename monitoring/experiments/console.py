"""The work and output of the commands `ab plan`, `ab report` and `ab decide`."""

from __future__ import annotations

import datetime
import json
import math
from pathlib import Path
from typing import Any

import duckdb
from pydantic import ValidationError

from components.shared.errors import ParameterError
from monitoring.events import open_events
from monitoring.experiments.analysis import Analysis, analyse
from monitoring.experiments.decision import Decision, decide
from monitoring.experiments.interleaving import Preference
from monitoring.experiments.parameters import ExperimentParameters
from monitoring.experiments.power import plan
from monitoring.online.searches import clean_results, fold_searches
from monitoring.online.service import read_service


def read_parameters(file: str | None, values: dict[str, Any]) -> ExperimentParameters:
    """Read parameters from a JSON file, if any, and lay `values` (without None) over them.

    Raises:
        ParameterError: unreadable, an unknown name, or a value out of range.
    """
    try:
        known = json.loads(Path(file).read_text()) if file else {}
        return ExperimentParameters.model_validate({**known, **{k: v for k, v in values.items() if v is not None}})
    except (OSError, ValueError, TypeError, ValidationError) as error:
        detail = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'parameters'}: {e['msg']}" for e in error.errors()
        ) if isinstance(error, ValidationError) else str(error)  # fmt: skip
        raise ParameterError(f"invalid experiment parameters ({detail}); correct it") from error


def forecast(events: str, parameters: ExperimentParameters) -> str:
    """Say how long an experiment would take."""
    with open_events(events) as connection:
        clean_results(connection, parameters.online)
        fold_searches(connection, parameters.online)
        found = plan(connection, parameters)
    lines = [
        f"{found.metric} is {found.baseline:.4g} over {found.days} days and {found.users:,} users "
        f"({found.users_per_day:,.0f} new ones a day lately).",
        f"To find a change of a given size with a power of {parameters.power:.0%} at α = {parameters.alpha:g} "
        f"({parameters.treatment_share:.0%} of the users in {parameters.treatment}):",
        "",
        f"{'change':>8}  {'looking daily':>24}  {'one look, fixed in advance':>24}",
    ]
    for row in found.forecasts:
        daily = _duration(row.sequential_days, row.sequential_users)
        fixed = _duration(row.fixed_days, row.fixed_users)
        lines.append(f"{row.lift:>8.1%}  {daily:>24}  {fixed:>24}")
    longest = max((row.sequential_days or math.inf) for row in found.forecasts)
    if longest > found.days:
        lines += ["", f"Beyond {found.days} days the history's trend is followed: take it as an order of magnitude."]
    return "\n".join(lines)


def verdict(events: str, parameters: ExperimentParameters, service: str | None) -> tuple[Analysis, Decision]:
    """Analyse and decide."""
    with open_events(events) as connection:
        return _decide(connection, parameters, service)


def report(
    events: str,
    parameters: ExperimentParameters,
    service: str | None,
    output: Path,
    *,
    releases: tuple[Path, Path] | None = None,
    queries: list[str] | None = None,
    preference: Preference | None = None,
) -> Decision:
    """Analyse, decide and write the page.

    Args:
        events: location of the event log.
        parameters: parameters of the experiment.
        service: file of counters, if any.
        output: the page.
        releases: directories of the control's and the treatment's release, for the pictures.
        queries: pictures to search both for.
        preference: result of the interleaved searches, if there were any.
    """
    from monitoring.experiments.report.page import write_report
    from monitoring.experiments.side_by_side import compare_releases

    with open_events(events) as connection:
        analysis, decision = _decide(connection, parameters, service)
    sheets = compare_releases(*releases, queries or []) if releases else []
    write_report(output, analysis, decision, sheets=sheets, preference=preference)
    return decision


def as_json(analysis: Analysis, decision: Decision) -> dict[str, Any]:
    """Return a verdict for programs: rollout reads it."""
    primary = analysis.primary
    figures = {
        name: float(getattr(primary, name)[-1])
        for name in ("control", "treatment", "relative", "relative_low", "relative_high", "p_value")
    }
    return {
        "schema_version": 1,
        "verdict": decision.verdict,
        "reasons": decision.reasons,
        "warnings": decision.warnings,
        "metric": primary.metric.name,
        **{name: None if math.isnan(value) else value for name, value in figures.items()},
        "users": [int(n) for n in analysis.users[-1]],
        "searches": [int(n) for n in analysis.searches[-1]],
        "sample_ratio_p": float(analysis.sample_ratio_p[-1]),
        "guardrails": {
            found.name: {"alarmed": found.alarmed, "measured": found.control is not None}
            for found in analysis.guardrails
        },
        "looked_at": analysis.looks[-1].astimezone(datetime.UTC).isoformat(),
    }


def _decide(
    connection: duckdb.DuckDBPyConnection, parameters: ExperimentParameters, service: str | None
) -> tuple[Analysis, Decision]:
    analysis = analyse(connection, parameters, read_service(service) if service else None)
    return analysis, decide(analysis)


def _duration(days: float | None, users: int | None) -> str:
    if days is None or users is None:
        return "over ten years"
    return f"{max(days, 1):,.0f} days, {users:,} users"
