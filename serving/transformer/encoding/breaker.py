"""A circuit breaker: calls pause after repeated failures; then a single request tests whether the service has recovered."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

State = Literal["closed", "open", "half-open"]


class CircuitBreaker:
    """Counts failures in a row. For one event loop: not safe for several threads.

    Args:
        failures: in a row, after which it opens.
        rest_seconds: how long it stays open; then one call is let through, and decides.
        clock: monotonic, seconds.
    """

    def __init__(
        self, *, failures: int = 5, rest_seconds: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._threshold, self._rest_seconds, self._clock = failures, rest_seconds, clock
        self._failures = 0
        self._opened: float | None = None
        self._is_trying = False

    @property
    def state(self) -> State:
        """State that a call would find now."""
        if self._opened is None:
            return "closed"
        return "half-open" if self._clock() - self._opened >= self._rest_seconds and not self._is_trying else "open"

    @contextmanager
    def call(self, refusal: Callable[[], Exception], failures: tuple[type[BaseException], ...]) -> Iterator[None]:
        """Let a call through and learn from how it ends.

        Args:
            refusal: makes the error that is raised instead of the call while the breaker is open.
            failures: errors that count; any other way to end, being cancelled too, says nothing.
        """
        state = self.state
        if state == "open":
            raise refusal()
        self._is_trying = state == "half-open"
        is_trial = self._is_trying
        try:
            yield
        except failures:
            self._failures += 1
            if is_trial or self._failures >= self._threshold:
                self._opened = self._clock()
            raise
        else:
            self._failures, self._opened = 0, None
        finally:
            if is_trial:
                self._is_trying = False
