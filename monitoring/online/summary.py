"""Online metrics of a log in one call: a table for each dimension."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import cast

import pyarrow as pa

from monitoring.events import open_events
from monitoring.online.metrics import DIMENSIONS, Dimension, online_metrics
from monitoring.online.parameters import OnlineParameters
from monitoring.online.propensities import estimate_propensities
from monitoring.online.searches import BEGINNING, END, clean_results, fold_searches


def summarise(
    events: str,
    parameters: OnlineParameters | None = None,
    *,
    dimensions: Sequence[str] = DIMENSIONS,
    propensities: dict[int, float] | None = None,
    since: datetime.datetime = BEGINNING,
    until: datetime.datetime = END,
) -> dict[str, pa.Table]:
    """Read a log and return `online_metrics` by dimension.

    Args:
        events: event log, in a form that `open_events` accepts.
        parameters: how events become searches.
        dimensions: names of the tables.
        propensities: position → probability of examination; None: estimated from this log.
        since: events from then on.
        until: events before then.

    Raises:
        SourceError: the log cannot be read.
    """
    parameters = parameters or OnlineParameters()
    with open_events(events) as connection:
        clean_results(connection, parameters, since=since, until=until)
        known = estimate_propensities(connection, parameters).as_dict() if propensities is None else propensities
        fold_searches(connection, parameters, known)
        longest = parameters.longest_dwell_ms
        return {
            name: online_metrics(connection, cast(Dimension, name), longest_dwell_ms=longest) for name in dimensions
        }
