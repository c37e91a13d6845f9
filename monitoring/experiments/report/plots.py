"""The charts of the report, as inline SVG in the page's own colours."""

from __future__ import annotations

import io
import re
import warnings
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from monitoring.experiments.analysis import Analysis, Trajectory

_INK, _MUTED, _LINE, _ACCENT, _OTHER = "#010203", "#040506", "#070809", "#2f6fed", "#8d8d94"
_PAGE_COLOURS = {_INK: "var(--ink)", _MUTED: "var(--muted)", _LINE: "var(--line)", _ACCENT: "var(--accent)"}
_STYLE: Any = {
    "svg.fonttype": "none", "svg.hashsalt": "visual-search", "text.parse_math": False, "font.size": 10,
    "text.color": _INK, "axes.labelcolor": _MUTED, "axes.edgecolor": _LINE, "axes.facecolor": "none",
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True, "grid.color": _LINE,
    "xtick.color": _LINE, "ytick.color": _LINE, "xtick.labelcolor": _MUTED, "ytick.labelcolor": _MUTED,
    "figure.facecolor": "none", "savefig.facecolor": "none",
}  # fmt: skip


def sequence(analysis: Analysis) -> Markup:
    """Draw the deciding metric's relative lift with its always-valid interval over the looks."""
    found, (unit, elapsed) = analysis.primary, time_axis(analysis)
    seen = ~np.isnan(found.relative)
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(8.6, 3.1)
        axes.axhline(0, color=_MUTED, linewidth=1)
        if seen.any():
            x, low, high = elapsed[seen], found.relative_low[seen], found.relative_high[seen]
            axes.fill_between(x, low, high, color=_ACCENT, alpha=0.18, linewidth=0)
            axes.plot(x, low, color=_ACCENT, linewidth=1)
            axes.plot(x, high, color=_ACCENT, linewidth=1)
            axes.plot(x, found.relative[seen], color=_ACCENT, linewidth=2.2, marker="o", markersize=4)
            reach = float(np.percentile(np.abs([low, high]), 90)) * 1.15
            axes.set_ylim(-reach, reach)
        axes.set_xlim(0, max(elapsed[-1] * 1.02, 1e-6))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
        axes.set_xlabel(f"{unit} since the start")
        axes.set_ylabel("relative change")
        return _svg(figure)


def forest(rows: list[tuple[str, Trajectory]]) -> Markup:
    """Draw relative lifts with intervals, one row each, at the last look."""
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(8.6, 0.75 + 0.34 * len(rows))
        axes.axvline(0, color=_MUTED, linewidth=1)
        for place, (_, row) in enumerate(rows):
            if np.isnan(row.relative[-1]):
                axes.annotate(
                    "too few", (0, place), xytext=(6, 0), textcoords="offset points", va="center", color=_MUTED
                )
                continue
            low, high = row.relative_low[-1], row.relative_high[-1]
            axes.plot([low, high], [place, place], color=_ACCENT, linewidth=2.2, solid_capstyle="round")
            axes.plot(row.relative[-1], place, marker="o", markersize=6, color=_ACCENT)
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
        axes.set_xlabel("relative change, challenger against champion")
        return _svg(figure)


def assignment(analysis: Analysis) -> Markup:
    """Draw the treatment's share of users over the looks against what it should be."""
    share = analysis.users[:, 1] / np.maximum(analysis.users.sum(axis=1), 1)
    wanted, (unit, elapsed) = analysis.parameters.treatment_share, time_axis(analysis)
    error = 2.6 * np.sqrt(wanted * (1 - wanted) / np.maximum(analysis.users.sum(axis=1), 1))
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(8.6, 2.2)
        axes.fill_between(elapsed, wanted - error, wanted + error, color=_OTHER, alpha=0.18, linewidth=0)
        axes.axhline(wanted, color=_MUTED, linewidth=1)
        axes.plot(elapsed, share, color=_ACCENT, linewidth=2, marker="o", markersize=4)
        axes.set_xlim(0, max(elapsed[-1] * 1.02, 1e-6))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
        axes.set_xlabel(f"{unit} since the start")
        axes.set_ylabel("share of users")
        return _svg(figure)


def time_axis(analysis: Analysis) -> tuple[str, np.ndarray]:
    """Return a unit that fits the experiment's length, and the time of each look in it: a rehearsal takes seconds."""
    seconds = np.array([(look - analysis.start).total_seconds() for look in analysis.looks])
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds[-1] >= 2 * length:
            return unit, seconds / length
    return "seconds", seconds


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _svg(figure: Figure) -> Markup:
    buffer = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a category's name may be in a script the font lacks
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for colour, variable in _PAGE_COLOURS.items():
        text = text.replace(colour, variable)
    text = re.sub(r'<svg [^>]*viewBox="([^"]+)"[^>]*>', r'<svg viewBox="\1" role="img">', text, count=1)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    return Markup(text)  # noqa: S704 (matplotlib escapes text)
