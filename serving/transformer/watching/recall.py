"""Watches the index in use: a small share of the queries is searched exactly as well, at a bounded cost."""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from components.shared.vectors.embeddings import Vectors
from serving.transformer.watching.metrics import TransformerMetrics

_log = logging.getLogger(__name__)
_REMEMBERED = 500  # queries that the mean is of
_MAX_LOAD = 0.01  # of one core: exact searches are paused until they took no more than this


class Measurable(Protocol):
    """A catalogue whose index can be compared with an exact search."""

    @property
    def release_id(self) -> str:
        """Its release."""

    def recall_at_10(self, vector: Vectors) -> float:
        """Share of the exact ten neighbours that the index finds."""


class RecallWatch:
    """Measures one query at a time, in a thread of its own; while it is busy or resting, queries pass by.

    Args:
        share: share of the queries.
        metrics: receives the mean.
        seed: seed of the choice.
    """

    def __init__(self, share: float, metrics: TransformerMetrics, *, seed: int | None = None) -> None:
        self._share, self._metrics = share, metrics
        self._random = random.Random(seed)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="recall")
        self._is_busy = False
        self._rests_until = 0.0
        self._release_id = ""
        self._latest: deque[float] = deque(maxlen=_REMEMBERED)

    def offer(self, catalogue: Measurable, vector: Vectors) -> None:
        """Perhaps measure the index with this query; returns at once."""
        if self._random.random() < self._share and not self._is_busy and time.monotonic() >= self._rests_until:
            self._is_busy = True
            self._thread.submit(self._measure, catalogue, vector)

    def stop(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _measure(self, catalogue: Measurable, vector: Vectors) -> None:
        started = time.monotonic()
        try:
            recall = catalogue.recall_at_10(vector)
            if catalogue.release_id != self._release_id:
                self._release_id = catalogue.release_id
                self._latest.clear()
            self._latest.append(recall)
            self._metrics.recall(sum(self._latest) / len(self._latest), catalogue.release_id)
        except Exception:
            _log.exception("the index could not be compared with an exact search")
        finally:
            now = time.monotonic()
            self._rests_until = now + (now - started) * (1 / _MAX_LOAD - 1)
            self._is_busy = False
