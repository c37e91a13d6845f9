"""Spans reach a real OTLP collector: an HTTP server that reads the protobuf."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support.servers.echo_process import JSON, PREDICT, EchoProcess, eventually

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


def test_spans_of_requests_and_stages_reach_the_collector() -> None:
    spans = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = ExportTraceServiceRequest()
            request.ParseFromString(self.rfile.read(int(self.headers["content-length"])))
            for resource in request.resource_spans:
                spans.extend(span for scope in resource.scope_spans for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        with EchoProcess(collector=f"http://127.0.0.1:{collector.server_port}") as echo:
            assert echo.ask("POST", PREDICT, b"{}", JSON | {"traceparent": PARENT})[0] == 200
            with grpc.insecure_channel(f"127.0.0.1:{echo.grpc}") as channel:
                request = pb.ModelInferRequest(model_name="visual-search")
                GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=10, metadata=[("traceparent", PARENT)])
            assert eventually(lambda: len(spans) >= 4)
            echo.stop()
        collector.shutdown()
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    roots = {span.name: span for span in spans if span.name != "work"}
    assert set(roots) == {f"POST {PREDICT}", "gRPC ModelInfer"}
    assert {span.parent_span_id.hex() for span in roots.values()} == {"b7ad6b7169203331"}
    assert {span.parent_span_id for span in spans if span.name == "work"} == {each.span_id for each in roots.values()}
