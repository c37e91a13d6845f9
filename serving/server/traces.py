"""OpenTelemetry traces, only where a collector is given (OTEL_EXPORTER_OTLP_ENDPOINT); else every call here is free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from serving.server.request import CURRENT_REQUEST, CurrentRequest

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider


class Traces:
    """Spans of requests and stages; W3C traceparent comes in and goes on.

    Args:
        provider: provider of OpenTelemetry; None: nothing is traced.
    """

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._provider = provider
        self._tracer = None if provider is None else provider.get_tracer("visual-search")

    @contextmanager
    def request(self, method: str, headers: Mapping[bytes, bytes], request: CurrentRequest) -> Iterator[None]:
        """Span of a request, below the caller's if it names one."""
        if self._tracer is None:
            yield
            return
        from opentelemetry.trace import SpanKind, Status, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier = {name: headers.get(name.encode(), b"").decode("latin-1") for name in ("traceparent", "tracestate")}
        parent = TraceContextTextMapPropagator().extract({name: value for name, value in carrier.items() if value})
        with self._tracer.start_as_current_span(method, parent, SpanKind.SERVER) as span:
            yield
            span.update_name(f"{method} {request.route}")
            span.set_attribute("http.request.method", method)
            span.set_attribute("http.route", request.route)
            span.set_attribute("http.response.status_code", request.status)
            span.set_attribute("visual_search.request_id", request.request_id)
            span.set_attribute("visual_search.release_id", request.release_id or "")
            if request.status >= 500:
                span.set_status(Status(StatusCode.ERROR))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Span of one stage of the request, for example "decode"."""
        if self._tracer is None:
            yield
            return
        with self._tracer.start_as_current_span(name):
            yield

    def outgoing(self) -> list[tuple[str, str]]:
        """Return the metadata that a call to the encoder carries: the request id and, if traced, traceparent."""
        request = CURRENT_REQUEST.get()
        metadata = {} if request is None else {"x-request-id": request.request_id}
        if self._tracer is not None:
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

            TraceContextTextMapPropagator().inject(metadata)
        return list(metadata.items())

    def stop(self) -> None:
        """Send what is left."""
        if self._provider is not None:
            self._provider.shutdown()


def start_traces(service: str, endpoint: str | None) -> Traces:
    """Start tracing to a collector, if there is one.

    Args:
        service: name of the service, for example "visual-search-encoder".
        endpoint: OTEL_EXPORTER_OTLP_ENDPOINT as the entry point read it; None or empty: no traces.
    """
    if not endpoint:
        return Traces()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=5)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1000))
    return Traces(provider)
