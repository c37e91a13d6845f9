"""The stages of a search, timed in the metrics and in the traces alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from serving.server.traces import Traces
from serving.transformer.watching.metrics import TransformerMetrics


class Stages:
    """Times stages.

    Args:
        metrics: receives their durations.
        traces: receiver of the spans.
    """

    def __init__(self, metrics: TransformerMetrics, traces: Traces) -> None:
        self._metrics, self._traces = metrics, traces

    @contextmanager
    def __call__(self, name: str, release_id: str) -> Iterator[None]:
        """Time what is done within."""
        with self._traces.stage(name), self._metrics.stage(name, release_id):
            yield
