"""Charts as inline SVG: text stays text, and colours follow the page, light or dark."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from components.evaluation.bootstrap import Interval
from components.evaluation.report.embedding_map import Positions
from components.evaluation.report.wording import plain

COLOURS = {
    "trained": "#2f6fed",
    "index": "#0e9aa7",
    "champion": "#8e5bd0",
    "untrained": "#e07b39",
    "pixels": "#b08968",
    "colour_histogram": "#c2578f",
    "chance": "#8d8d94",
}
CATEGORY_COLOURS = (
    "#2f6fed", "#e07b39", "#2a9d5c", "#c2578f", "#8e5bd0", "#b5a11d", "#0e9aa7", "#d1495b", "#7a6a58", "#6c8ebf",
)  # fmt: skip
OTHER_COLOUR = "#8d8d94"

# Placeholders that are replaced by the page's own colours.
_INK, _MUTED, _LINE = "#010203", "#040506", "#070809"
_PAGE_COLOURS = {_INK: "var(--ink)", _MUTED: "var(--muted)", _LINE: "var(--line)"}

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "visual-search",
    "text.parse_math": False,  # a category can be named $x^$
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": _INK,
    "axes.labelcolor": _MUTED,
    "axes.edgecolor": _LINE,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _LINE,
    "grid.linewidth": 0.8,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _MUTED,
    "ytick.labelcolor": _MUTED,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}


class _Chart:
    """A figure being drawn; `svg` is set afterwards."""

    def __init__(self, axes: Axes, figure: Figure) -> None:
        self.axes, self.figure = axes, figure
        self.svg = Markup()

    def name(self, title: str) -> None:
        """Put a title at the left edge, where the whole width is available."""
        self.figure.suptitle(title, x=0.01, ha="left", fontsize=10.5, fontweight="bold")


@contextmanager
def _chart(description: str, *, width: float = 4.3, height: float = 2.9) -> Iterator[_Chart]:
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # a letter that the font used for measuring lacks; the browser has it
        figure = Figure(figsize=(width, height), layout="constrained")
        chart = _Chart(figure.subplots(), figure)
        yield chart
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    chart.svg = _inline(buffer.getvalue(), description)


def forest(title: str, figures: Mapping[str, Interval], titles: Mapping[str, str]) -> Markup:
    """Draw each ranker's value with its interval."""
    names = list(figures)
    text = f"{title}: " + "; ".join(
        f"{titles[n]} {figures[n].value:.3f} ({figures[n].low:.3f} to {figures[n].high:.3f})" for n in names
    )
    with _chart(text, height=0.75 + 0.3 * len(names)) as chart:
        axes = chart.axes
        for place, name in enumerate(reversed(names)):
            one, colour = figures[name], COLOURS[name]
            axes.plot(
                [one.low, one.high], [place, place], color=colour, linewidth=5, alpha=0.35, solid_capstyle="round"
            )
            axes.plot([one.value], [place], "o", color=colour, markersize=6)
            # The label goes where there is room.
            beyond = one.high < 0.86
            at = one.high + 0.025 if beyond else one.low - 0.025
            axes.text(at, place, f"{one.value:.2f}", va="center", ha="left" if beyond else "right", fontsize=8.5)
        axes.set_yticks(range(len(names)), [titles[n] for n in reversed(names)])
        axes.tick_params(axis="y", labelcolor=_INK, length=0)
        axes.set_xlim(-0.02, 1.04)
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.grid(visible=False, axis="y")
        chart.name(title)
    return chart.svg


def recall_curves(cuts: Sequence[int], curves: Mapping[str, Sequence[float]], titles: Mapping[str, str]) -> Markup:
    """Draw recall over the cut-off, one line per ranker."""
    text = "Recall at growing cut-offs: " + "; ".join(
        f"{titles[n]} ends at {c[-1]:.2f}" for n, c in curves.items() if c
    )
    with _chart(text, height=3.7) as chart:
        for name, curve in curves.items():
            width = 2.4 if name == "trained" else 1.5
            chart.axes.plot(cuts[: len(curve)], curve, color=COLOURS[name], linewidth=width, label=titles[name])
        chart.axes.set_xscale("log")
        chart.axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        chart.axes.set_ylim(0, 1.02)
        chart.axes.set_xlabel("neighbours returned, k")
        chart.axes.set_ylabel("recall@k")
        chart.figure.legend(loc="outside lower center", ncols=2)
    return chart.svg


def line(
    title: str,
    points: Sequence[tuple[float, float]],
    *,
    x: str,
    y: str,
    colour: str = COLOURS["trained"],
    target: float | None = None,
) -> Markup:
    """Draw one curve, with a horizontal line at `target` if it is given."""
    first, last = points[0], points[-1]
    text = f"{title}: {y} goes from {first[1]:.3f} at {x} {first[0]:g} to {last[1]:.3f} at {last[0]:g}"
    with _chart(text) as chart:
        if target is not None:
            chart.axes.axhline(target, color=_MUTED, linewidth=1, linestyle=(0, (4, 3)))
            chart.axes.text(last[0], target, f"target {target:g} ", ha="right", va="bottom", fontsize=8.5, color=_MUTED)
        chart.axes.plot(*zip(*points, strict=True), color=colour, linewidth=2, marker="o", markersize=3.5)
        chart.name(title)
        chart.axes.set_xlabel(x)
        chart.axes.set_ylabel(y)
    return chart.svg


def propensities(positions: Sequence[float], estimated: Sequence[float], true: Sequence[float] | None) -> Markup:
    """Draw the probability that a user examines each position: estimated from the log, and the true one where known."""
    text = f"Probability of examination, by position; at the last position estimated {estimated[-1]:.2f}" + (
        f", true {true[-1]:.2f}" if true else ""
    )
    with _chart(text) as chart:
        if true:
            chart.axes.plot(positions, true, color=_INK, linewidth=1.4, linestyle=(0, (4, 3)), label="true")
        chart.axes.plot(
            positions, estimated, color=COLOURS["trained"], linewidth=2, marker="o", markersize=4, label="estimated"
        )
        chart.axes.set_ylim(0, 1.08)
        chart.name("Which positions do users examine?")
        chart.axes.set_xlabel("position")
        chart.axes.set_ylabel("propensity")
        chart.axes.legend(loc="upper right")
    return chart.svg


def bars(title: str, values: Mapping[str, float]) -> Markup:
    """Draw named shares as horizontal bars, with the first one highlighted."""
    names = [plain(name, 40) for name in values]
    text = f"{title}: " + "; ".join(f"{n} {v:.2f}" for n, v in zip(names, values.values(), strict=True))
    with _chart(text, height=0.9 + 0.36 * len(names)) as chart:
        places = list(range(len(names)))[::-1]
        colours = [COLOURS["trained"]] + [OTHER_COLOUR] * (len(names) - 1)
        chart.axes.barh(places, list(values.values()), color=colours, height=0.6)
        for place, value in zip(places, values.values(), strict=True):
            chart.axes.text(value + 0.015, place, f"{value:.2f}", va="center", fontsize=8.5)
        chart.axes.set_yticks(places, names)
        chart.axes.tick_params(axis="y", labelcolor=_INK, length=0)
        chart.axes.set_xlim(0, 1.12)
        chart.axes.grid(visible=False, axis="y")
        chart.name(title)
    return chart.svg


def by_category(
    title: str, names: Sequence[str], before: Sequence[Interval] | None, after: Sequence[Interval]
) -> Markup:
    """Draw one metric per category, before and after training."""
    shown = [plain(name, 24) for name in names]
    text = f"{title} by category: " + "; ".join(f"{n} {a.value:.2f}" for n, a in zip(shown, after, strict=True))
    with _chart(text, width=4.6, height=0.9 + 0.34 * len(shown)) as chart:
        places = np.arange(len(shown))[::-1]
        series = [("after training", after, COLOURS["trained"])]
        if before is not None:
            series.insert(0, ("before", before, COLOURS["untrained"]))
        for number, (label, figures, colour) in enumerate(series):
            low_high = [[f.value - f.low for f in figures], [f.high - f.value for f in figures]]
            values = [f.value for f in figures]
            chart.axes.errorbar(
                values,
                places + 0.16 * (len(series) - 1 - 2 * number),
                xerr=low_high,
                fmt="o",
                color=colour,
                markersize=5.5,
                linewidth=1.2,
                alpha=0.95,
                label=label,
            )
        chart.axes.set_yticks(places, shown)
        chart.axes.tick_params(axis="y", labelcolor=_INK, length=0)
        chart.axes.set_xlim(-0.02, 1.04)
        chart.axes.set_ylim(-0.7, len(shown) - 0.3)
        chart.axes.grid(visible=False, axis="y")
        chart.name(title)
        if before is not None:
            chart.figure.legend(loc="outside lower center", ncols=2)
    return chart.svg


def scatter(title: str, positions: Positions, colours: Sequence[str]) -> Markup:
    """Draw images as dots, coloured by category."""
    with _chart(f"{title}: {len(positions)} images as dots on a plane, coloured by category", height=3.9) as chart:
        chart.axes.scatter(positions[:, 0], -positions[:, 1], c=list(colours), s=9, linewidths=0, alpha=0.85)
        chart.axes.set_axis_off()
        chart.name(title)
    return chart.svg


def _inline(svg: str, description: str) -> Markup:
    """Remove the file's head, use the page's colours and font, and add a description in words."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)  # a page has many charts, so ids of groups would collide
    for stand_in, colour in _PAGE_COLOURS.items():
        svg = svg.replace(stand_in, colour)
    svg = svg.replace("'DejaVu Sans', ", "").replace("'DejaVu Sans'", "inherit")
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)  # it would apply to the whole page
    head, _, body = svg.partition(">")
    head = re.sub(r' (?:width|height)="[^"]*pt"', "", head)
    named = head.replace("<svg", f'<svg role="img" aria-label="{escape(description)}"', 1)
    return Markup(f"{named}>{body}")  # noqa: S704 (all text in it is escaped)
