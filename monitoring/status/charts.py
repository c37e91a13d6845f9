"""Small charts of the status page, as inline SVG: a trend line with its threshold, and the strip of past runs."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from markupsafe import Markup

from monitoring.findings import State
from monitoring.status.record import TrendPoint

_WIDTH, _HEIGHT, _PAD = 240.0, 48.0, 5.0


def sparkline(points: Sequence[TrendPoint], name: str, threshold: float | None) -> Markup:
    """Draw the figure of one concern over the history; empty where there are fewer than two points.

    The dashed line is the threshold, a thin upright line a change of the release, a dot an alarm or something to watch,
    and the last.

    Args:
        points: oldest first.
        name: name of the concern.
        threshold: threshold of the latest report.
    """
    known = [(i, point.values[name]) for i, point in enumerate(points) if name in point.values]
    if len(known) < 2:
        return Markup("")
    values = [value for _, value in known] + ([] if threshold is None else [threshold])
    low, high = min(values), max(values)
    if high - low < 1e-12 * max(abs(high), 1.0):
        room = max(1.0, 1e-3 * abs(high))
        low, high = low - room, high + room

    def x(i: int) -> float:
        return _PAD + (_WIDTH - 2 * _PAD) * i / max(len(points) - 1, 1)

    def y(value: float) -> float:
        return _HEIGHT - _PAD - (_HEIGHT - 2 * _PAD) * (value - low) / (high - low)

    parts = [
        f'<line class="change" x1="{x(i) - 1:.1f}" x2="{x(i) - 1:.1f}" y1="0" y2="{_HEIGHT:g}"/>'
        for i in range(1, len(points))
        if points[i].release_id != points[i - 1].release_id
    ]
    if threshold is not None:
        parts.append(
            f'<line class="limit" x1="{_PAD}" x2="{_WIDTH - _PAD}" y1="{y(threshold):.1f}" y2="{y(threshold):.1f}"/>'
        )
    parts.append(f'<polyline class="line" points="{" ".join(f"{x(i):.1f},{y(v):.1f}" for i, v in known)}"/>')
    for i, value in known:
        state = points[i].states.get(name, "unknown")
        if state in {"alarm", "watch"} or i == known[-1][0]:
            # A line without length and a round cap: a dot that stays round when the drawing is stretched.
            parts.append(f'<path class="dot {state}" d="M{x(i):.1f} {y(value):.1f}h0"/>')
    label = f"{name.replace('_', ' ')}: {len(known)} runs, from {known[0][1]:.3g} to {known[-1][1]:.3g}"
    return _svg(parts, _WIDTH, _HEIGHT, "spark", label)


def strip(points: Sequence[TrendPoint], slots: int = 60) -> Markup:
    """Draw one bar for each past run in the colour and height of its worst state, the latest at the right."""
    shown = points[-slots:]
    heights: dict[State, float] = {"ok": 10.0, "unknown": 10.0, "watch": 18.0, "alarm": 28.0}
    step = 600.0 / slots
    parts = []
    for i, point in enumerate(shown, start=slots - len(shown)):
        height = heights[point.state]
        title = escape(f"{point.at:%Y-%m-%d %H:%M} · {point.state} · {point.release_id}")
        parts.append(
            f'<rect class="{point.state}" x="{i * step + 1:.1f}" y="{28 - height:g}" width="{step - 2:.1f}" '
            f'height="{height:g}" rx="2"><title>{title}</title></rect>'
        )
    return _svg(parts, 600.0, 28.0, "strip", f"the latest {len(shown)} runs")


def _svg(parts: Sequence[str], width: float, height: float, name: str, label: str) -> Markup:
    # Every number is formatted here, every text escaped.
    return Markup(  # noqa: S704
        f'<svg class="{name}" viewBox="0 0 {width:g} {height:g}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )
