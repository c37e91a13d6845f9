"""The online metrics of a run: from the events, with the share of searches that found nothing beside them."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.shared.errors import DataError, SourceError
from components.shared.files.tables import QUERY_SAMPLES, read_table
from monitoring.drift.samples import sample_files
from monitoring.evidence import RunInputs
from monitoring.online.service import read_service, service_rates
from monitoring.online.summary import summarise
from monitoring.status.record import OnlineRow, online_rows

_DIMENSIONS = ("arm", "release_id", "country", "position", "hour")


def online_tables(inputs: RunInputs, since: datetime.datetime) -> tuple[dict[str, tuple[OnlineRow, ...]], str]:
    """Return the metrics by dimension since a moment, and why there are none; one of the two is empty."""
    if inputs.events is None:
        return (
            {},
            "There is no event store yet: no user has searched, or serving keeps its events elsewhere (--events).",
        )
    try:
        tables = summarise(inputs.events, dimensions=_DIMENSIONS, since=since)
    except (SourceError, DataError) as error:
        return {}, f"The events cannot be read: {error}"
    if not tables["arm"].num_rows:
        return {}, f"There were no searches since {since:%Y-%m-%d %H:%M} UTC."
    nothing = _zero_results(sample_files(inputs.samples), since)
    if inputs.service_counts is not None:  # every search counts there, not a sample
        nothing["arm"] = nothing.get("arm", {}) | _counted_zero_results(inputs.service_counts, since)
    return {name: online_rows(table, nothing.get(name)) for name, table in tables.items()}, ""


def _zero_results(files: Iterable[Path], since: datetime.datetime) -> dict[str, dict[str, float]]:
    """Return the share of the sampled queries that found nothing, by arm and by release."""
    keep = pc.field("at") >= pa.scalar(since, pa.timestamp("us", tz="UTC"))
    columns = ["arm", "release_id", "results", "at"]
    parts = [read_table(path, QUERY_SAMPLES, columns).filter(keep) for path in files]
    if not parts:
        return {}
    table = pa.concat_tables(parts)
    empty = np.asarray(table["results"]) == 0
    shares: dict[str, dict[str, float]] = {}
    for name in ("arm", "release_id"):
        labels = np.asarray(table[name])
        shares[name] = {str(label): float(empty[labels == label].mean()) for label in np.unique(labels)}
    return shares


def _counted_zero_results(folder: Path, since: datetime.datetime) -> dict[str, float]:
    counts = read_service(str(folder))
    rates = service_rates(counts.filter(pc.field("at") >= pa.scalar(since, pa.timestamp("us", tz="UTC"))))
    return {
        row["arm"]: row["zero_result_rate"]
        for row in rates.select(["arm", "zero_result_rate"]).to_pylist()
        if row["zero_result_rate"] is not None and math.isfinite(row["zero_result_rate"])
    }
