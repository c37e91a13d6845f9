"""Puts the report together: everything inline, everything from outside escaped."""

from __future__ import annotations

import math
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from components.shared.files.atomic import whole_file
from monitoring.experiments.analysis import Analysis, Trajectory
from monitoring.experiments.decision import Decision
from monitoring.experiments.guardrails import TITLES
from monitoring.experiments.interleaving import Preference
from monitoring.experiments.report import plots
from monitoring.experiments.side_by_side import SHOWN, SideBySideSheet

TEMPLATE = Path(__file__).parent / "report.html.j2"
_WORDS = {"promote": "Promote the challenger", "continue": "Continue", "roll_back": "Roll back"}
_MARKS = {"promote": "yes", "continue": "wait", "roll_back": "no"}


def write_report(
    path: Path,
    analysis: Analysis,
    decision: Decision,
    *,
    sheets: list[SideBySideSheet] | None = None,
    preference: Preference | None = None,
) -> None:
    """Write the page, one file that needs no other.

    Args:
        path: the file.
        analysis: figures.
        decision: verdict.
        sheets: results of each arm's release for the same pictures.
        preference: preference of interleaved searches, if there were any.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "signed": signed, "value": value, "p": p_value}
    names = list(analysis.metrics)
    unit, elapsed = plots.time_axis(analysis)
    html = environment.get_template(TEMPLATE.name).render(
        analysis=analysis,
        parameters=analysis.parameters,
        decision=decision,
        verdict=_WORDS[decision.verdict],
        mark=_MARKS[decision.verdict],
        primary=analysis.primary,
        length=elapsed[-1],
        unit=unit,
        others=names[1:],
        guardrail_titles=TITLES,
        charts={
            "sequence": plots.sequence(analysis),
            "forest": plots.forest([(analysis.metrics[name].metric.title, analysis.metrics[name]) for name in names]),
            "assignment": plots.assignment(analysis),
            "countries": plots.forest([(name, found) for name, _, found in analysis.countries]),
        },
        sheets=sheets or [],
        shown=SHOWN,
        preference=preference,
    )
    with whole_file(path) as temporary:
        temporary.write_text(html, encoding="utf-8", errors="replace")


def percent(number: float | None, digits: int = 1) -> str:
    """Write a share, or a dash."""
    return "–" if number is None or math.isnan(number) else f"{number:.{digits}%}"


def signed(number: float | None) -> str:
    """Write a relative change with its sign."""
    return "–" if number is None or math.isnan(number) else f"{number:+.1%}".replace("-", "−")


def value(number: float, found: Trajectory) -> str:
    """Write a metric in its own unit."""
    if math.isnan(number):
        return "–"
    return {"share": f"{number:.1%}", "seconds": f"{number:.1f} s"}.get(found.metric.unit, f"{number:.3f}")


def p_value(number: float) -> str:
    """Write a p-value."""
    return "< 0.0001" if number < 1e-4 else f"{number:.4f}" if number < 0.01 else f"{number:.2f}"
