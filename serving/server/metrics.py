"""Prometheus metrics of a server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from serving.server.request import CurrentRequest

NAMESPACE = "visual_search"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
MAX_RELEASES = 16  # of one process's life; later ones are counted as "other", so that labels stay bounded


@dataclass(frozen=True)
class Identity:
    """Identity of the release that a process serves now.

    Attributes:
        release_id: empty if no release is loaded.
        generation: 0 is the release itself.
        arm: arm of the A/B test; empty: none.
    """

    release_id: str = ""
    space_id: str = ""
    generation: int = 0
    arm: str = ""


class ServerMetrics:
    """The metrics of one process.

    Attributes:
        listeners: are told of every request that is over, with its status.

    Args:
        identity: returns arm and release that are served now; called for each request.
        registry: registry of these metrics; own by default, so that a process may have two servers in a test.
    """

    def __init__(self, identity: Callable[[], Identity] = Identity, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self.identity = identity
        self._releases: set[str] = set()
        self.listeners: list[Callable[[CurrentRequest], None]] = []
        served = ["release_id", "arm"]
        self.requests = self._counter("http_requests", "Requests by route and status.", ["route", "status", *served])
        self.request_seconds = self._histogram("http_request_seconds", "From headers to answer.", ["route", *served])
        self.refusals = self._counter("refusals", "Requests not answered as asked, by code.", ["code", *served])
        self.queue_length = self.present("queue_length", "Requests waiting.", "queue")
        self.in_flight = self.present("in_flight", "Requests being worked on.", "queue")
        self.queue_wait_seconds = self._histogram("queue_wait_seconds", "Wait for a place.", ["queue", *served])
        self.grpc_calls = self._counter("grpc_calls", "gRPC calls by method and status.", ["method", "status", *served])
        self.grpc_seconds = self._histogram("grpc_seconds", "Time of gRPC calls.", ["method", *served])
        self.release = self._gauge(
            "release_info", "The served release.", ["release_id", "space_id", "generation", "arm"]
        )
        self.draining = self._gauge("draining", "1 while the server stops.", [])
        self.connections = self._gauge("http_connections", "Open connections.", [])

    def present(self, name: str, text: str, label: str) -> PresentGauge:
        """Make a gauge of what is so now, under what is served now."""
        gauge = PresentGauge(f"{NAMESPACE}_{name}", text, label, self.labels)
        self.registry.register(gauge)
        return gauge

    def labels(self, release_id: str | None = None, arm: str | None = None) -> tuple[str, str]:
        """Return the labels of a request: what answered it, or what is served now."""
        now = self.identity()
        release = now.release_id if release_id is None else release_id
        if release not in self._releases:
            if len(self._releases) >= MAX_RELEASES:
                release = "other"
            else:
                self._releases.add(release)
        return release, now.arm if arm is None else arm

    def answered(self, route: str, status: int, started: float, release_id: str | None, arm: str | None) -> None:
        """Count a request.

        Args:
            route: template of the route.
            status: HTTP status.
            started: start on the clock time.monotonic(), seconds.
            release_id: release that answered; None: the one that is served now.
            arm: the same for the arm.
        """
        labels = self.labels(release_id, arm)
        self.requests.labels(route, str(status), *labels).inc()
        self.request_seconds.labels(route, *labels).observe(time.monotonic() - started)

    def render(self) -> bytes:
        """Write all metrics as text: ours, then those of the default registry (process, kserve, other parts)."""
        now = self.identity()
        self.release.clear()
        self.release.labels(now.release_id, now.space_id, str(now.generation), now.arm).set(1)
        theirs = b"" if self.registry is REGISTRY else generate_latest(REGISTRY)
        return generate_latest(self.registry) + theirs

    def _counter(self, name: str, text: str, labels: list[str]) -> Counter:
        return Counter(name, text, labels, namespace=NAMESPACE, registry=self.registry)

    def _gauge(self, name: str, text: str, labels: list[str]) -> Gauge:
        return Gauge(name, text, labels, namespace=NAMESPACE, registry=self.registry)

    def _histogram(self, name: str, text: str, labels: list[str]) -> Histogram:
        return Histogram(name, text, labels, namespace=NAMESPACE, buckets=SECONDS, registry=self.registry)


class PresentGauge(Collector):
    """A gauge that is read when it is asked for: it never shows a value under a release that is served no more.

    Args:
        name: whole name of the metric.
        text: its description.
        label: label that distinguishes its values.
        served: release and arm that are served now.

    Attributes:
        values: label → how to read the value.
    """

    def __init__(self, name: str, text: str, label: str, served: Callable[[], tuple[str, str]]) -> None:
        self._name, self._text, self._label, self._served = name, text, label, served
        self.values: dict[str, Callable[[], float]] = {}

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Read all values."""
        family = GaugeMetricFamily(self._name, self._text, labels=[self._label, "release_id", "arm"])
        for label, read in self.values.items():
            family.add_metric([label, *self._served()], read())
        yield family

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Name the metric without reading it."""
        yield GaugeMetricFamily(self._name, self._text)
