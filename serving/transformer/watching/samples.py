"""Monitoring's sample of the queries: of every hour, a bounded number, each query with the same chance. No pictures."""

from __future__ import annotations

import datetime
import heapq
import logging
import random
import secrets
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from components.shared.errors import ResourceError
from components.shared.files.tables import QUERY_SAMPLES, write_table
from components.shared.vectors.embeddings import Vectors

_log = logging.getLogger(__name__)


@dataclass
class _Hour:
    start: datetime.datetime
    kept: list[tuple[float, str, dict[str, Any]]] = field(default_factory=list)  # a heap, the lowest key on top


class QuerySamples:
    """Of each hour the queries with the highest keys, drawn at random; written when the hour is over and when the process stops.

    A key is drawn before the query is worked on, so that what only the sample wants is not computed for a query that cannot
    come into it. A file is `query-samples-<arm>-<hour>-<process>.parquet`, table QUERY_SAMPLES; several of one hour add up.

    Args:
        directory: folder of the files.
        arm: arm of this process.
        per_hour: queries kept of an hour.
        seed: seed of the choice.
    """

    def __init__(self, directory: Path, *, arm: str, per_hour: int, seed: int | None = None) -> None:
        self._directory, self._arm, self._per_hour = directory, arm, per_hour
        self._random = random.Random(seed)
        self._process = secrets.token_hex(4)
        self._lock = threading.Lock()
        self._hour: _Hour | None = None

    def draw(self, at: datetime.datetime) -> float | None:
        """Draw the key of a query; None if the hour's sample is full of higher ones."""
        key = self._random.random()
        with self._lock:
            hour = self._hour
            is_full = hour is not None and hour.start == _start_of(at) and len(hour.kept) == self._per_hour
            return None if is_full and hour is not None and key <= hour.kept[0][0] else key

    def offer(self, key: float, row: dict[str, Any], embedding: Vectors, at: datetime.datetime) -> None:
        """Keep a query, unless as many of higher keys have come in between.

        Args:
            key: result of `draw` for the query.
            row: the table's columns without `arm`, `at` and `embedding`.
            embedding: (d,) float32.
            at: UTC.
        """
        kept = (key, secrets.token_hex(4), {**row, "arm": self._arm, "at": at, "embedding": embedding.tolist()})
        over = None
        with self._lock:
            if self._hour is None or self._hour.start < _start_of(at):
                over, self._hour = self._hour, _Hour(_start_of(at))
            if len(self._hour.kept) < self._per_hour:
                heapq.heappush(self._hour.kept, kept)
            else:
                heapq.heappushpop(self._hour.kept, kept)
        if over is not None:  # rare: `write_finished` comes first, unless it was late
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

    def _write(self, hour: _Hour) -> None:
        if not hour.kept:
            return
        rows = sorted((row for _, _, row in hour.kept), key=lambda row: row["at"])
        name = f"query-samples-{self._arm}-{hour.start:%Y%m%dT%H}-{self._process}-{secrets.token_hex(2)}.parquet"
        try:
            write_table(self._directory / name, pa.Table.from_pylist(rows, QUERY_SAMPLES.schema), QUERY_SAMPLES)
        except (OSError, ResourceError) as error:
            _log.error("the sample of %s queries of %s is lost: %s", len(rows), hour.start, error)


def _start_of(at: datetime.datetime) -> datetime.datetime:
    return at.replace(minute=0, second=0, microsecond=0)
