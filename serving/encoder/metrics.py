"""Prometheus metrics of the encoder."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

_NAMESPACE = "visual_search_encoder"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class EncoderMetrics:
    """The metrics of one process.

    Args:
        registry: Prometheus registry that exports them.
        arm: label of all of them.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY, *, arm: str = "") -> None:
        self.arm = arm
        release = ["release_id", "arm"]
        self.batch_images = Histogram(
            "batch_images",
            "Pictures computed together.",
            release,
            namespace=_NAMESPACE,
            buckets=_SIZES,
            registry=registry,
        )
        self.compute_seconds = Histogram(
            "compute_seconds", "Time of a batch.", release, namespace=_NAMESPACE, buckets=_SECONDS, registry=registry
        )
        self.queue_seconds = Histogram(
            "queue_seconds", "Wait for a batch.", release, namespace=_NAMESPACE, buckets=_SECONDS, registry=registry
        )
        self.dropped = Counter(
            "dropped", "Requests not computed: late or overload.", ["reason", *release], namespace=_NAMESPACE,
            registry=registry,
        )  # fmt: skip
        self.loads = Counter(
            "loads",
            "Attempts to load a release: loaded or failed; labelled with what is served after it.",
            ["outcome", *release],
            namespace=_NAMESPACE,
            registry=registry,
        )
        self.serving = Gauge(
            "serving", "1 for each encoder that is in use.", [*release, "space_id", "runtime", "precision"],
            namespace=_NAMESPACE, registry=registry,
        )  # fmt: skip

    def of_release(self, release_id: str) -> BatchMetrics:
        """Return the part that one batcher writes."""
        return BatchMetrics(self, release_id)


class BatchMetrics:
    """Counters of one batcher.

    Args:
        metrics: metrics of the process.
        release_id: release whose encoder it runs.
    """

    def __init__(self, metrics: EncoderMetrics, release_id: str) -> None:
        self._metrics, self._labels = metrics, (release_id, metrics.arm)

    @classmethod
    def silent(cls) -> BatchMetrics:
        """Return metrics that are not exported."""
        return cls(EncoderMetrics(CollectorRegistry()), "none")

    def computed(self, images: int, seconds: float) -> None:
        """Count a batch."""
        self._metrics.batch_images.labels(*self._labels).observe(images)
        self._metrics.compute_seconds.labels(*self._labels).observe(seconds)

    def waited(self, seconds: float) -> None:
        """Note how long a piece waited."""
        self._metrics.queue_seconds.labels(*self._labels).observe(seconds)

    def dropped(self, reason: str) -> None:
        """Count a request that was not computed."""
        self._metrics.dropped.labels(reason, *self._labels).inc()
