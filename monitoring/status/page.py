"""The status page: one HTML file for an operator, everything inline, everything from outside escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from components.shared.files.atomic import whole_file
from monitoring.findings import Concern, State, Topic
from monitoring.remedies.advice import ADVICE, CAUSE_TITLES, command_of
from monitoring.remedies.ledger import Entry
from monitoring.status.charts import sparkline, strip
from monitoring.status.pictures import StatusTile
from monitoring.status.record import Record, TrendPoint, known_state, overall_state, watched

PAGE_FILE = "status.html"
TEMPLATE = Path(__file__).parent / "page.html.j2"
AGE_SCRIPT = (Path(__file__).parent / "age.js").read_text(encoding="utf-8")
_HASH = base64.b64encode(hashlib.sha256(AGE_SCRIPT.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{_HASH}'; "
    "base-uri 'none'; form-action 'none'"
)

TOPIC_TITLES: dict[Topic, str] = {
    "drift": "What users search for",
    "inputs": "The pictures that users send",
    "encoder": "Encoder",
    "index": "Index",
    "catalogue": "Catalogue",
    "serving": "Serving",
}
STATE_WORDS: dict[State, str] = {"ok": "fine", "watch": "watch", "alarm": "alarm", "unknown": "not known"}
_HEADLINES: dict[State, str] = {
    "ok": "Search is healthy",
    "watch": "Search is healthy, something has begun to change",
    "alarm": "Search needs attention",
    "unknown": "Not enough data yet",
}
_TITLES = {"map": "mAP", "ndcg_at_10": "nDCG at 10", "ann_recall_at_10": "Index recall at 10"}
_RANK: dict[State, int] = {"alarm": 0, "watch": 1, "unknown": 2, "ok": 3}
_ROWS_SHOWN = 24


def write_page(
    path: Path,
    record: Record,
    trend: Sequence[TrendPoint],
    *,
    tiles: dict[str, StatusTile],
    actions: Sequence[Entry] = (),
    stale_hours: float = 26.0,
) -> None:
    """Write the page.

    Args:
        path: the file.
        record: record of the latest run.
        trend: trend of the runs before and this one, oldest first.
        tiles: pictures by image_id.
        actions: remedies that were started, oldest first.
        stale_hours: age at which the page is marked as out of date.
    """
    report = record.report
    html = (
        _environment()
        .get_template(TEMPLATE.name)
        .render(
            record=record,
            report=report,
            facts=record.release,
            state=overall_state(report),
            headline=_HEADLINES[overall_state(report)],
            unknown=sum(c.state == "unknown" for c in report.concerns),
            topics=_by_topic(report.concerns),
            sparks={c.name: sparkline(trend, c.name, c.threshold) for c in report.concerns},
            strip=strip(trend),
            runs=len(trend),
            tiles=tiles,
            concern_states={c.name: c.state for c in report.concerns},
            actions=list(reversed(actions))[:6],
            made=int(report.at.timestamp()),
            stale=int(stale_hours * 3600),
            rows_shown=_ROWS_SHOWN,
        )
    )
    with whole_file(path) as temporary:
        temporary.write_text(html, encoding="utf-8", errors="replace")


def empty_page() -> str:
    """Return the page of a folder in which nothing was written yet."""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
        "<title>Visual search · monitoring</title><p>There is no record yet; run <code>visual-search monitor run</code>."
    )


def title_of(name: str) -> str:
    """Return the displayed name of a concern or a metric."""
    return _TITLES.get(name) or name.replace("_", " ").capitalize()


def percent(number: float | None, digits: int = 1) -> str:
    """Write a share, or a dash."""
    return "–" if number is None else f"{number:.{digits}%}"


def figure(number: float | None, digits: int = 3) -> str:
    """Write a number with the given number of significant digits, or a dash."""
    if number is None:
        return "–"
    if number and not 1e-3 <= abs(number) < 1e5:
        return f"{number:.{digits - 1}e}".replace("-", "−")
    return f"{number:,.{digits}g}".replace("-", "−") if abs(number) < 1000 else f"{number:,.0f}".replace("-", "−")


def p_value(number: float | None) -> str:
    """Write a p-value."""
    return (
        "–"
        if number is None
        else "< 0.0001"
        if number < 1e-4
        else f"{number:.4f}"
        if number < 0.01
        else f"{number:.2f}"
    )


def _by_topic(concerns: Sequence[Concern]) -> list[tuple[Topic, State, list[Concern]]]:
    topics: list[tuple[Topic, State, list[Concern]]] = []
    for topic in get_args(Topic):
        group = sorted((c for c in concerns if c.topic == topic), key=lambda c: _RANK[c.state])
        if group:
            topics.append((topic, known_state(group), group))
    return sorted(topics, key=lambda entry: _RANK[entry[1]])


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "figure": figure, "p": p_value, "title_of": title_of}
    environment.globals |= {
        "watched": watched,
        "advice": ADVICE,
        "command_of": command_of,
        "causes": CAUSE_TITLES,
        "topic_titles": TOPIC_TITLES,
        "state_words": STATE_WORDS,
        "policy": POLICY,
        "age_script": AGE_SCRIPT,
    }
    return environment
