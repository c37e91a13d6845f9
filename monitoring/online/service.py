"""Counts that the events do not contain: searches without results, errors and slow answers, counted by the servers.

A search that finds nothing shows nothing and so leaves no impression. The transformer counts it, as it counts answers,
errors and slow answers, and writes a row for each minute: a window of time of one process of one arm.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from components.shared.errors import SourceError
from components.shared.files.tables import SERVICE_COUNTS, SERVICE_SCHEMA, require_columns


def read_service(path: str) -> pa.Table:
    """Read windows of counters (`SERVICE_SCHEMA`), sorted by time.

    Args:
        path: a Parquet or CSV file, or the folder that the transformers write their files to.

    Raises:
        SourceError: missing, unreadable, without a column, or a count is negative or larger than the requests.
    """
    file = Path(path)
    try:
        table = _read(file)
        require_columns(table, tuple(SERVICE_SCHEMA.names), path)
        table = table.select(SERVICE_SCHEMA.names).cast(SERVICE_SCHEMA).sort_by("at")
    except (pa.ArrowException, OSError) as error:
        raise SourceError(
            f"{path} cannot be read as counters of the servers ({str(error).splitlines()[0]}); "
            f"give Parquet or CSV with the columns {', '.join(SERVICE_SCHEMA.names)}",
            source=path,
        ) from error
    for name in SERVICE_COUNTS:
        bad = pc.or_kleene(pc.less(table[name], 0), pc.greater(table[name], table["requests"]))
        if table[name].null_count or pc.any(bad).as_py():
            raise SourceError(
                f"{path}: {name} must be from 0 to the window's requests in every row; count windows, not since the start",
                source=path,
            )
    return table


def _read(path: Path) -> pa.Table:
    if path.is_dir():
        files = sorted(each for each in path.glob("*.parquet") if not each.name.startswith("."))
        return pa.concat_tables([pq.read_table(each) for each in files]) if files else SERVICE_SCHEMA.empty_table()
    return pq.read_table(path) if path.suffix == ".parquet" else pyarrow.csv.read_csv(path)


def service_rates(table: pa.Table) -> pa.Table:
    """Return error rate, slow rate and zero-result rate by arm."""
    sums = table.group_by("arm").aggregate([(name, "sum") for name in SERVICE_COUNTS]).sort_by("arm")
    columns = {"arm": sums["arm"], "requests": sums["requests_sum"]}
    for name, rate in (("errors", "error_rate"), ("slow", "slow_rate"), ("zero_results", "zero_result_rate")):
        columns[rate] = pc.divide(sums[f"{name}_sum"], sums["requests_sum"])
    return pa.table(columns)
