"""Wording of figures, names and paths for people."""

from __future__ import annotations

import math

from components.evaluation.bootstrap import Interval


def plain(text: object, limit: int = 60) -> str:
    """Make foreign text fit to print: without control or direction characters, and at most `limit` characters long."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def short_path(uri: str) -> str:
    """Return the last two parts of a URI without its query, since the rest can contain private names or keys."""
    parts = [part for part in uri.split("?", 1)[0].split("#", 1)[0].split("/") if part]
    return plain("/".join(parts[-2:]), 80)


def figure(value: float | None) -> str:
    """Write a share with three decimals (of the six in metrics.json), or a dash if there is none."""
    return "–" if value is None or math.isnan(value) else f"{round(value, 6):.3f}"


def interval(value: Interval) -> str:
    """Write the ends of an interval."""
    return "" if math.isnan(value.low) else f"{figure(value.low)}–{figure(value.high)}"


def signed(value: float | None) -> str:
    """Write a difference with its sign."""
    return "–" if value is None or math.isnan(value) else f"{round(value, 6):+.3f}".replace("-", "−")


def signed_interval(value: Interval) -> str:
    """Write the ends of an interval of a difference."""
    return "" if math.isnan(value.low) else f"{signed(value.low)} to {signed(value.high)}"


def count(value: int, noun: str, plural: str | None = None) -> str:
    """Write a number with its noun: "1 image", "1,234 images"."""
    return f"{value:,} {noun if value == 1 else plural or noun + 's'}"


def bytes_of(value: float) -> str:
    """Write a size: "1.5 MB"."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
