"""The event store as the server uses it: impressions on the side, clicks and dwell acknowledged after the commit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from serving.events.database import Database
from serving.events.errors import StoreUnavailableError
from serving.events.records import Event
from serving.events.tokens import Impression
from serving.events.writer import GroupWriter, WriteOutcome, WriterState

_LOG = logging.getLogger(__name__)


class EventStore:
    """Events in SQLite or PostgreSQL, written by one thread. Use `EventStore.open`; close it to write what is waiting.

    A click whose impression was lost with its process is kept all the same; labelling leaves it out, and counts it.
    Making the impression up from the click would favour what was clicked over what was not.
    """

    def __init__(self, database: Database, *, submit_seconds: float = 10.0, most_impressions: int = 20_000) -> None:
        self._database = database
        self._prepared = False
        self._submit_seconds = submit_seconds
        try:
            self._prepare()
        except StoreUnavailableError as error:
            _LOG.error("%s; searching continues, and events are refused until the store is back", error)
        except BaseException:
            database.close()
            raise
        self._writer = GroupWriter(self._write, most_impressions=most_impressions)

    @classmethod
    def open(cls, url: str, *, submit_seconds: float = 10.0, most_impressions: int = 20_000) -> EventStore:
        """Open a store, and create it where there is none. A database that is away now is no error: it may come back.

        Args:
            url: sqlite:///path or postgresql+psycopg://…
            submit_seconds: how long `submit` waits for a commit.
            most_impressions: impressions that may wait in memory.

        Raises:
            ParameterError: the URL is of another kind.
            ContractError: the database is of a newer version, or something else.
        """
        return cls(Database(url), submit_seconds=submit_seconds, most_impressions=most_impressions)

    @property
    def state(self) -> WriterState:
        """Counts for the metrics."""
        return self._writer.state

    def record_impressions(self, impressions: list[Impression]) -> bool:
        """Take impressions without waiting and without raising; False (and counted) if there is no room for them."""
        return self._writer.offer(impressions)

    def submit(self, events: Sequence[Event]) -> WriteOutcome:
        """Store events; returns after they are on the disk.

        Raises:
            StoreUnavailableError: not acknowledged; sending the same events again is safe.
        """
        future = self._writer.submit(events)
        try:
            return future.result(self._submit_seconds)
        except FutureTimeoutError:
            raise self._too_slow() from None

    async def submit_async(self, events: Sequence[Event]) -> WriteOutcome:
        """Do as `submit` does, without blocking the event loop."""
        future: Future[WriteOutcome] = self._writer.submit(events)
        try:
            return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(future)), self._submit_seconds)
        except TimeoutError:
            raise self._too_slow() from None

    def close(self, timeout_seconds: float = 10.0) -> None:
        """Write what is waiting, then close the connections."""
        if not self._writer.stop(timeout_seconds):
            _LOG.error("events were still waiting for %s when the time to stop had passed", self._database.name)
            return
        self._database.close()

    def _write(self, rows: Sequence[dict[str, Any]]) -> set[str]:
        try:
            self._prepare()
            return self._database.insert(rows)
        except StoreUnavailableError:
            self._prepared = False  # the file may have been replaced, the server set up again
            raise

    def _prepare(self) -> None:
        if not self._prepared:
            self._database.prepare()
            self._prepared = True

    def _too_slow(self) -> StoreUnavailableError:
        return StoreUnavailableError(f"the events in {self._database.name} were not written in time")
