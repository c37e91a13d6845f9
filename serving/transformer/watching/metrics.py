"""Prometheus metrics of the transformer, in addition to the server's HTTP metrics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import Counter, Gauge, Histogram

from serving.server.metrics import NAMESPACE, SECONDS, ServerMetrics


class TransformerMetrics:
    """The metrics of one process.

    Args:
        arm: label of all of them.
        server: the shell's, beside which they are exported.
    """

    def __init__(self, arm: str, server: ServerMetrics) -> None:
        self._arm, self._server = arm, server
        registry = server.registry
        labels = ["release_id", "arm"]
        self._stages = Histogram(
            "stage_seconds", "Time of a stage of a query: decode, encode, search, answer.", ["stage", *labels],
            namespace=NAMESPACE, buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self._queries = Counter(
            "queries", "Queries answered, by kind: picture or image.", ["kind", *labels],
            namespace=NAMESPACE, registry=registry,
        )  # fmt: skip
        self._empty = Counter(
            "queries_without_result", "Queries answered with no result, or none above the floor.", labels,
            namespace=NAMESPACE, registry=registry,
        )  # fmt: skip
        self.loads = Counter(
            "loads", "Releases and generations: loads, failures, swaps; labelled with what is served after it.",
            ["outcome", *labels], namespace=NAMESPACE, registry=registry,
        )  # fmt: skip
        self._recall = Gauge(
            "online_index_recall_at_10", "Mean share of the exact 10 neighbours that the index finds, over a sample of "
            "the latest queries.", labels, namespace=NAMESPACE, registry=registry,
        )  # fmt: skip
        self._recall_queries = Counter(
            "online_index_recall_queries", "Queries that were also searched exactly.", labels,
            namespace=NAMESPACE, registry=registry,
        )  # fmt: skip
        self.decoding = server.present(
            "decoding", "The pool of decoding processes: jobs done, refused, timed out, crashed; processes started; jobs "
            "waiting.", "what",
        )  # fmt: skip
        self.encoder_ready = Gauge(
            "encoder_ready", "Whether the encoder serves the space of the catalogue.", namespace=NAMESPACE,
            registry=registry,
        )  # fmt: skip
        self._impressions_lost = Counter(
            "impressions_lost", "Impressions that the event store had no room for.", labels, namespace=NAMESPACE,
            registry=registry,
        )  # fmt: skip

    @contextmanager
    def stage(self, name: str, release_id: str) -> Iterator[None]:
        """Time a stage, also of a query that fails in it."""
        started = perf_counter()
        try:
            yield
        finally:
            self._stages.labels(name, release_id, self._arm).observe(perf_counter() - started)

    def answered(self, kind: str, release_id: str, *, is_empty: bool) -> None:
        """Count an answer."""
        self._queries.labels(kind, release_id, self._arm).inc()
        if is_empty:
            self._empty.labels(release_id, self._arm).inc()

    def lost(self, impressions: int, release_id: str) -> None:
        """Count impressions that were not kept."""
        self._impressions_lost.labels(release_id, self._arm).inc(impressions)

    def recall(self, mean: float, release_id: str) -> None:
        """Set the online recall after one more query was searched exactly."""
        self._recall.labels(release_id, self._arm).set(mean)
        self._recall_queries.labels(release_id, self._arm).inc()
