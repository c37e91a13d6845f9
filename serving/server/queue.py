"""A bounded queue before bounded concurrency: what does not fit, or waits too long, is refused at once and cheaply."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from types import TracebackType

from serving.server.limits import QueueSettings
from serving.server.metrics import ServerMetrics
from serving.server.refusals import OverloadedError


class AdmissionQueue:
    """First come, first served; of one event loop.

    Args:
        name: name in metrics.
        settings: how many are worked on, may wait, and for how long.
        metrics: counters of length, waiting time and work.
    """

    def __init__(self, name: str, settings: QueueSettings, metrics: ServerMetrics) -> None:
        self._settings = settings
        self._working = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._name, self._metrics = name, metrics
        metrics.queue_length.values[name] = lambda: len(self._waiting)
        metrics.in_flight.values[name] = lambda: self._working

    def refuse_if_full(self) -> None:
        """Refuse a request before anything is read of it.

        Raises:
            OverloadedError: all places are taken, those to wait in too.
        """
        if self._working >= self._settings.concurrency and len(self._waiting) >= self._settings.length:
            raise OverloadedError(
                "The server has more requests than it can answer; try again.", retry_after_seconds=_soon()
            )

    async def __aenter__(self) -> None:
        """Take a place.

        Raises:
            OverloadedError: the queue is full, or the wait was too long.
        """
        self.refuse_if_full()
        if self._working < self._settings.concurrency:
            self._working += 1
            self._observe_wait(0.0)
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        started = time.monotonic()
        timer = asyncio.get_running_loop().call_later(self._settings.wait_seconds, _give_up, place)
        try:
            await place  # whoever leaves hands over its place: `_working` stays as it is
        except BaseException:
            if place.done() and not place.cancelled() and place.exception() is None:
                self._leave()  # cancelled just after the place was handed over
            elif place in self._waiting:
                self._waiting.remove(place)
            raise
        finally:
            timer.cancel()
            self._observe_wait(time.monotonic() - started)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def _observe_wait(self, seconds: float) -> None:
        self._metrics.queue_wait_seconds.labels(self._name, *self._metrics.labels()).observe(seconds)

    def _leave(self) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._working -= 1


def _give_up(place: asyncio.Future[None]) -> None:
    if not place.done():
        place.set_exception(
            OverloadedError("The wait for an answer was too long; try again.", retry_after_seconds=_soon())
        )


def _soon() -> int:
    return random.randint(1, 3)
