"""Monitoring's sample of the queries: of every hour, a bounded number, each query with the same chance. No pictures."""

from __future__ import annotations

import datetime
import logging
import random
import secrets
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from components.shared.embeddings import Vectors
from components.shared.errors import ResourceError
from components.shared.tables import QUERY_SAMPLES, write_table

_log = logging.getLogger(__name__)


@dataclass
class _Hour:
    start: datetime.datetime
    seen: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)


class QuerySamples:
    """A reservoir for each hour, written when the hour is over and when the process stops.

    A file is `query-samples-<arm>-<hour>-<process>.parquet`, table QUERY_SAMPLES; several of one hour add up.

    Args:
        directory: where the files go.
        arm: of this process.
        per_hour: queries kept of an hour.
        seed: of the choice.
    """

    def __init__(self, directory: Path, *, arm: str, per_hour: int, seed: int | None = None) -> None:
        self._directory, self._arm, self._per_hour = directory, arm, per_hour
        self._random = random.Random(seed)
        self._process = secrets.token_hex(4)
        self._lock = threading.Lock()
        self._hour: _Hour | None = None

    def offer(self, row: dict[str, Any], embedding: Vectors, at: datetime.datetime) -> None:
        """Consider a query: the first `per_hour` are kept, later ones take a random one's place, ever more rarely.

        Args:
            row: the table's columns without `arm`, `at` and `embedding`.
            embedding: (d,) float32.
            at: UTC.

        Source: Vitter, Random sampling with a reservoir, 1985, algorithm R.
        """
        with self._lock:
            start = at.replace(minute=0, second=0, microsecond=0)
            over = None
            if self._hour is None or self._hour.start < start:
                over, self._hour = self._hour, _Hour(start)
            place = self._place(self._hour)
            if place is not None:
                kept = {**row, "arm": self._arm, "at": at, "embedding": embedding.tolist()}
                self._hour.rows[place : place + 1] = [kept]
        if over is not None:  # seldom: `write_finished` comes first, unless it was late
            self._write(over)

    def write_finished(self, now: datetime.datetime) -> None:
        """Write the hour that is over, if one is."""
        with self._lock:
            if self._hour is None or now - self._hour.start < datetime.timedelta(hours=1):
                return
            over, self._hour = self._hour, None
        self._write(over)

    def stop(self) -> None:
        """Write what there is."""
        with self._lock:
            over, self._hour = self._hour, None
        if over is not None:
            self._write(over)

    def _place(self, hour: _Hour) -> int | None:
        hour.seen += 1
        if len(hour.rows) < self._per_hour:
            return len(hour.rows)
        place = self._random.randrange(hour.seen)
        return place if place < self._per_hour else None

    def _write(self, hour: _Hour) -> None:
        if not hour.rows:
            return
        name = f"query-samples-{self._arm}-{hour.start:%Y%m%dT%H}-{self._process}-{secrets.token_hex(2)}.parquet"
        try:
            write_table(self._directory / name, pa.Table.from_pylist(hour.rows, QUERY_SAMPLES.schema), QUERY_SAMPLES)
        except (OSError, ResourceError) as error:
            _log.error("the sample of %s queries of %s is lost: %s", len(hour.rows), hour.start, error)
