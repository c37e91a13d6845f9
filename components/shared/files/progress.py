"""Progress of long work: a bar on a terminal, a line every few seconds in a log."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar, cast

from tqdm import tqdm

T = TypeVar("T")

_LOG_INTERVAL_SECONDS = 5.0
_LOG_DELAY_SECONDS = 2.0
_LOG_LINE = "{desc}: {n_fmt}/{total_fmt} {percentage:.0f}% [{elapsed}<{remaining}, {rate_fmt}{postfix}]\n"


def progress(values: Iterable[T], description: str, *, total: int | None = None, unit: str = "it") -> Iterator[T]:
    """Iterate over `values` and show on standard error the progress, the speed and the remaining time."""
    yield from progress_bar(values, description, total=total, unit=unit)


def progress_bar(
    values: Iterable[T] | None, description: str, *, total: int | None = None, unit: str = "it"
) -> tqdm[T]:
    """Return the bar itself, for work that calls `update` itself or shows figures (`set_postfix`)."""
    terminal = sys.stderr.isatty()
    bar = tqdm(
        values,
        desc=description,
        total=total,
        unit=unit,
        file=sys.stderr,
        dynamic_ncols=terminal,
        mininterval=0.2 if terminal else _LOG_INTERVAL_SECONDS,
        maxinterval=10 if terminal else _LOG_INTERVAL_SECONDS,
        bar_format=None if terminal else _LOG_LINE,
        leave=True,
        delay=0 if terminal else _LOG_DELAY_SECONDS,  # quick work needs no line
    )
    return cast("tqdm[T]", bar)
