"""Minutes of service, for the guardrails of an A/B test: requests, errors, slow answers, searches that found nothing.

An arm whose server fails, dawdles or finds nothing leaves no impression of it, so the events cannot tell. Prometheus can,
but a verdict must not need one: each process writes its own minutes, and readers add them up.
"""

from __future__ import annotations

import datetime
import logging
import secrets
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.shared.errors import ResourceError
from components.shared.files.atomic import whole_file
from components.shared.files.tables import SERVICE_COUNTS, SERVICE_SCHEMA
from serving.server.request import CurrentRequest

_log = logging.getLogger(__name__)
_SEARCHES = (":predict", "/infer")
_MINUTE = datetime.timedelta(minutes=1)
_MOST_ROWS = 60  # of one file: an hour


class ServiceCounts:
    """Counts searches by the minute, and keeps the minutes that are over in files of an hour each.

    A file is `service-<arm>-<its first minute>-<process>.parquet`, rewritten whole every minute. What a client did
    wrong (4xx) is no request of the service, and minutes without any are no rows.

    Args:
        directory: folder of the files.
        arm: arm of this process.
        slow_seconds: any answer that took longer is slow.
    """

    def __init__(self, directory: Path, *, arm: str, slow_seconds: float) -> None:
        self._directory, self._arm, self._slow_seconds = directory, arm, slow_seconds
        self._process = secrets.token_hex(4)
        self._lock = threading.Lock()
        self._minute: datetime.datetime | None = None
        self._counts = dict.fromkeys(SERVICE_COUNTS, 0)
        self._rows: list[dict[str, Any]] = []
        self._is_new = False

    def count(self, request: CurrentRequest, at: datetime.datetime | None = None) -> None:
        """Count a request that was answered, or given up by its client (499), if it was a search.

        Args:
            request: request, with the status of its answer.
            at: UTC; None: now.
        """
        if not request.route.endswith(_SEARCHES) or 400 <= request.status < 499:
            return
        took = time.monotonic() - request.started
        with self._lock:
            self._turn(at or datetime.datetime.now(datetime.UTC))
            self._counts["requests"] += 1
            self._counts["errors"] += request.status >= 500
            self._counts["slow"] += took > self._slow_seconds
            self._counts["zero_results"] += request.found_nothing

    def write_finished(self, now: datetime.datetime) -> None:
        """Write the minute that is over, if one is."""
        with self._lock:
            self._turn(now)
            rows = self._take()
        self._write(rows)

    def stop(self) -> None:
        """Write what there is."""
        with self._lock:
            self._end_minute()
            rows = self._take()
        self._write(rows)

    def _turn(self, now: datetime.datetime) -> None:
        minute = now.replace(second=0, microsecond=0)
        if self._minute is not None and self._minute < minute:
            self._end_minute()
        if self._minute is None:
            self._minute = minute

    def _end_minute(self) -> None:
        if self._minute is not None and self._counts["requests"]:
            self._rows.append({"at": self._minute + _MINUTE, "arm": self._arm, **self._counts})
            self._is_new = True
        self._counts = dict.fromkeys(self._counts, 0)
        self._minute = None

    def _take(self) -> list[dict[str, Any]]:
        """Return the rows of the file to be written, if any is new; the next file begins where this one is full."""
        if not self._is_new:
            return []
        rows, self._is_new = self._rows, False
        self._rows = [] if len(rows) >= _MOST_ROWS else list(rows)
        return rows

    def _write(self, rows: list[dict[str, Any]]) -> None:
        if not rows:
            return
        name = f"service-{self._arm}-{rows[0]['at']:%Y%m%dT%H%M}-{self._process}.parquet"
        try:
            with whole_file(self._directory / name) as temporary:
                pq.write_table(pa.Table.from_pylist(rows, SERVICE_SCHEMA), temporary)
        except (OSError, ResourceError) as error:  # the next minute's file has these too
            _log.error("the counts of service since %s are not on the disk: %s", rows[0]["at"], error)
