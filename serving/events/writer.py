"""One writing thread: events that arrive during a commit are written together by the next one."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from serving.events.errors import StoreUnavailableError
from serving.events.records import Event
from serving.events.tokens import Impression

_LOG = logging.getLogger(__name__)
_COMMIT_EVENTS = 2_000  # of clients, in one transaction
_COMMIT_IMPRESSIONS = 2_000
_LINGER_SECONDS = 0.5  # impressions wait to be grouped: no client waits for them
_RETRY_SECONDS = 1.0


@dataclass(frozen=True)
class WriteOutcome:
    """Numbers of new and repeated events of one call; both kinds are on the disk.

    Attributes:
        accepted: number of events stored by this call.
        repeated: stored before, and not again.
    """

    accepted: int
    repeated: int


@dataclass(frozen=True)
class WriterState:
    """Counts since the start, and what is waiting.

    Attributes:
        stored: events and impressions that are on the disk.
        repeated: those that were there before.
        failures: transactions that failed.
        impressions_dropped: impressions for which there was no room, or that cannot be stored.
        waiting: events of clients in the queue.
        impressions_waiting: impressions in the queue.
        available: whether the last transaction succeeded.
    """

    stored: int = 0
    repeated: int = 0
    commits: int = 0
    failures: int = 0
    impressions_dropped: int = 0
    waiting: int = 0
    impressions_waiting: int = 0
    available: bool = True


class GroupWriter:
    """Queues, bounded, and the thread that empties them.

    Args:
        write: stores rows durably in one transaction and returns the event_ids that were new.
        most_events: events of clients that may wait.
        most_impressions: largest number of waiting impressions.
    """

    def __init__(
        self,
        write: Callable[[Sequence[dict[str, Any]]], set[str]],
        *,
        most_events: int = 10_000,
        most_impressions: int = 20_000,
    ) -> None:
        self._write = write
        self._most_events, self._most_impressions = most_events, most_impressions
        self._calls: deque[tuple[Sequence[Event], Future[WriteOutcome]]] = deque()
        self._impressions: deque[Impression] = deque()
        self._due = 0.0  # when the impressions are to be written, of the monotonic clock
        self._changed = threading.Condition()
        self._stopping = False
        self._state = WriterState()
        self._thread = threading.Thread(target=self._run, name="events-writer", daemon=True)
        self._thread.start()

    @property
    def state(self) -> WriterState:
        """Counts and what is waiting, at one moment."""
        with self._changed:
            return replace(self._state, impressions_waiting=len(self._impressions))

    def submit(self, events: Sequence[Event]) -> Future[WriteOutcome]:
        """Queue events; the future has a result after their commit, or StoreUnavailableError.

        Raises:
            StoreUnavailableError: too many are waiting, or the writer is stopping.
        """
        future: Future[WriteOutcome] = Future()
        future.set_running_or_notify_cancel()  # nobody can cancel it from now on, under the writer's hands
        with self._changed:
            if self._stopping or self._state.waiting + len(events) > self._most_events:
                why = "the server is stopping" if self._stopping else "too many events are waiting"
                raise StoreUnavailableError(f"events cannot be stored at the moment: {why}", retry_after_seconds=1)
            self._state = replace(self._state, waiting=self._state.waiting + len(events))
            self._calls.append((events, future))
            self._changed.notify()
        return future

    def offer(self, impressions: Sequence[Impression]) -> bool:
        """Queue impressions if there is room for all of them, else count them as dropped; never waits for the disk."""
        with self._changed:
            if self._stopping or len(self._impressions) + len(impressions) > self._most_impressions:
                self._drop(len(impressions))
                return False
            is_first = not self._impressions
            self._impressions.extend(impressions)
            if is_first:  # the others change nothing of what the writer waits for
                self._due = max(self._due, time.monotonic() + _LINGER_SECONDS)
                self._changed.notify()
        return True

    def stop(self, timeout_seconds: float) -> bool:
        """Write what is waiting and end; return whether that was done in time."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._calls and not self._impressions_are_due() and not self._stopping:
                    self._changed.wait(self._seconds_until_due())
                if self._stopping and not self._calls and not self._impressions:
                    return
                calls, impressions = self._next_calls(), self._next_impressions()
            if calls:
                self._write_calls(calls)
            if impressions:
                self._write_impressions(impressions)

    def _impressions_are_due(self) -> bool:
        return bool(self._impressions) and (self._stopping or time.monotonic() >= self._due)

    def _seconds_until_due(self) -> float | None:
        return max(0.0, self._due - time.monotonic()) if self._impressions else None

    def _next_calls(self) -> list[tuple[Sequence[Event], Future[WriteOutcome]]]:
        calls, size = [], 0
        while self._calls and size < _COMMIT_EVENTS:
            calls.append(self._calls.popleft())
            size += len(calls[-1][0])
        return calls

    def _next_impressions(self) -> list[Impression]:
        if not self._impressions_are_due():
            return []
        return [self._impressions.popleft() for _ in range(min(len(self._impressions), _COMMIT_IMPRESSIONS))]

    def _write_calls(self, calls: list[tuple[Sequence[Event], Future[WriteOutcome]]]) -> None:
        identified = [([(event.event_id, event) for event in events], future) for events, future in calls]
        rows = {event_id: event.row() for events, _ in reversed(identified) for event_id, event in reversed(events)}
        taken = sum(len(events) for events, _ in identified)
        try:
            # In one order in every process, so that two of them cannot wait for each other's rows.
            new = self._write([rows[event_id] for event_id in sorted(rows)])
        except Exception as error:
            refusal = error if isinstance(error, StoreUnavailableError) else StoreUnavailableError(
                f"the events could not be stored ({type(error).__name__})"
            )  # fmt: skip
            self._failed(error, waiting=taken)
            for _, future in identified:
                future.set_exception(refusal)
            return
        stored = len(new)
        self._succeeded(stored, taken - stored, waiting=taken)
        for events, future in identified:
            mine = {event_id for event_id, _ in events} & new
            new -= mine
            future.set_result(WriteOutcome(len(mine), len(events) - len(mine)))

    def _write_impressions(self, impressions: list[Impression]) -> None:
        try:
            events = [Event(impression, "impression", impression.at) for impression in impressions]
            rows = {row["event_id"]: row for row in (event.row() for event in events)}
            new = self._write([rows[event_id] for event_id in sorted(rows)])
        except StoreUnavailableError as error:
            self._failed(error)
            with self._changed:
                if self._stopping:
                    self._drop(len(impressions))
                    return
                room = max(0, self._most_impressions - len(self._impressions))
                self._impressions.extendleft(reversed(impressions[:room]))
                self._drop(len(impressions[room:]))
                self._due = time.monotonic() + _RETRY_SECONDS
            return
        except Exception as error:  # not the store but these impressions: a retry would fail again
            self._failed(error)
            with self._changed:
                self._drop(len(impressions))
            return
        self._succeeded(len(new), len(impressions) - len(new))

    def _drop(self, count: int) -> None:
        self._state = replace(self._state, impressions_dropped=self._state.impressions_dropped + count)

    def _failed(self, error: Exception, *, waiting: int = 0) -> None:
        with self._changed:
            state, began = self._state, self._state.available
            self._state = replace(state, failures=state.failures + 1, waiting=state.waiting - waiting, available=False)
        if began:  # once for each outage, not for each attempt
            _LOG.error("events are not stored: %s", error)

    def _succeeded(self, stored: int, repeated: int, *, waiting: int = 0) -> None:
        with self._changed:
            state = self._state
            self._state = replace(
                state,
                stored=state.stored + stored,
                repeated=state.repeated + repeated,
                commits=state.commits + 1,
                waiting=state.waiting - waiting,
                available=True,
            )
        if not state.available:
            _LOG.warning("events are stored again")
