"""What the two real processes tell of themselves: metrics with release and arm, logs and traces by request, service counts."""

from __future__ import annotations

import shutil
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from components.shared.release.manifest import GOLDEN_FILE, read_manifest
from components.shared.release.served import Current, publish_release, write_current
from monitoring.online.service import read_service
from support.servers.serving_processes import log_lines, make_local_release, pictures_of, serving

PREDICT = "/v1/models/visual-search:predict"
TRACE = "0af7651916cd43dd8448eb211c80319c"
# What must say of which release and arm it speaks.
TRANSFORMER = {
    "visual_search_http_requests", "visual_search_http_request_seconds", "visual_search_stage_seconds",
    "visual_search_queue_length", "visual_search_in_flight", "visual_search_queue_wait_seconds", "visual_search_refusals",
    "visual_search_loads", "visual_search_queries", "visual_search_queries_without_result", "visual_search_decoding",
    "visual_search_online_index_recall_at_10", "visual_search_online_index_recall_queries",
}  # fmt: skip
ENCODER = {
    "visual_search_encoder_batch_images", "visual_search_encoder_compute_seconds", "visual_search_encoder_queue_seconds",
    "visual_search_encoder_loads", "visual_search_grpc_calls", "visual_search_grpc_seconds",
}  # fmt: skip


@pytest.fixture(scope="module")
def spans():
    """Spans as (service, span) that reached a collector, and its address in the environment of what is started."""
    found: list[tuple] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = ExportTraceServiceRequest()
            request.ParseFromString(self.rfile.read(int(self.headers["content-length"])))
            for part in request.resource_spans:
                service = {each.key: each.value.string_value for each in part.resource.attributes}["service.name"]
                found.extend((service, span) for scope in part.scope_spans for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector, pytest.MonkeyPatch.context() as environment:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
        yield found
        collector.shutdown()


def failures(text: str) -> float:
    """Failed loads, as a process's metrics tell."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.endswith("loads_total") and sample.labels["outcome"] in {"failed", "failures"}
    )


@pytest.fixture(scope="module")
def observed(spans, tmp_path_factory):
    """Serve, ask, fail, publish what cannot be loaded, and stop: the families of both processes, logs, spans, counts."""
    folder: Path = tmp_path_factory.mktemp("observed")
    release = make_local_release(folder / "made", items=8, views=3)
    root = folder / "served"
    publish_release(root, release)
    picture = pictures_of(release)["000-0"]
    jpeg = {"content-type": "image/jpeg"}
    options = {"arm": "blue", "recall_share": "1", "access_log_share": "1", "service_counts": str(folder / "counts")}
    with serving(root, folder, **options) as processes, httpx.Client(base_url=processes.url, timeout=60) as client:
        traced = {**jpeg, "x-request-id": "mine-1", "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
        assert client.post(PREDICT, content=picture, headers=traced).status_code == 200
        nothing = client.post(PREDICT, params={"floor": 1}, content=picture, headers=jpeg)
        assert nothing.json()["predictions"][0]["no_good_match"]
        assert client.post(PREDICT, content=b"x", headers=jpeg | {"x-request-id": "bad-1"}).status_code == 422
        shutil.copytree(release, root / "broken")
        (root / "broken" / GOLDEN_FILE).write_bytes(b"damaged")
        write_current(root, Current(release="broken"))
        encoder = f"http://127.0.0.1:{processes.encoder_http_port}/metrics"
        deadline = time.monotonic() + 60
        while not all(failures(client.get(address).text) for address in (f"{processes.url}/metrics", encoder)):
            assert time.monotonic() < deadline, "a failed load is not counted"
            time.sleep(0.2)
        texts = client.get("/metrics").text, client.get(encoder).text
    return {
        "release_id": read_manifest(release).release_id,
        "families": [{each.name: each for each in text_string_to_metric_families(text)} for text in texts],
        "logs": log_lines(processes, "transformer"),
        "counts": folder / "counts",
        "spans": spans,
    }


@pytest.mark.parametrize(("process", "wanted"), [(0, TRANSFORMER), (1, ENCODER)], ids=["transformer", "encoder"])
def test_metrics_say_of_which_release_and_arm_they_are(observed, process, wanted):
    families, release_id = observed["families"][process], observed["release_id"]
    assert not wanted - families.keys()
    for name in wanted:
        labels = [sample.labels for sample in families[name].samples]
        assert {each["arm"] for each in labels} == {"blue"}, name
        assert release_id in {each["release_id"] for each in labels}, name
        assert {each["release_id"] for each in labels} <= {release_id, ""}, name


def test_no_family_is_declared_and_never_filled(observed):
    for families in observed["families"]:
        ours = {name: family for name, family in families.items() if name.startswith("visual_search")}
        seldom = {"visual_search_encoder_dropped", "visual_search_impressions_lost", "visual_search_grpc_calls",
                  "visual_search_grpc_seconds"}  # fmt: skip
        seldom |= {"visual_search_queue_wait_seconds", "visual_search_refusals"}  # the encoder has no queue of HTTP
        assert {name for name, family in ours.items() if not family.samples} <= seldom


def test_stages_and_empty_answers_are_counted(observed):
    families = observed["families"][0]
    stages = {sample.labels["stage"] for sample in families["visual_search_stage_seconds"].samples}
    assert stages == {"decode", "encode", "search", "answer"}
    assert [s.value for s in families["visual_search_queries_without_result"].samples if s.name.endswith("total")] == [
        1
    ]
    codes = {sample.labels["code"] for sample in families["visual_search_refusals"].samples}
    assert "bad_image" in codes


def test_logs_name_the_request(observed):
    asked = {line.get("request_id"): line for line in observed["logs"] if line.get("logger") == "serving.access"}
    assert (asked["mine-1"]["status"], asked["mine-1"]["route"]) == (200, PREDICT)
    assert (asked["mine-1"]["release_id"], asked["mine-1"]["arm"]) == (observed["release_id"], "blue")
    assert (asked["bad-1"]["status"], asked["bad-1"]["code"]) == (422, "bad_image")


def test_a_search_is_one_trace_from_the_client_to_the_encoder(observed):
    ours = [(service, span) for service, span in observed["spans"] if span.trace_id.hex() == TRACE]
    by_name = {span.name: (service, span) for service, span in ours}
    assert set(by_name) == {f"POST {PREDICT}", "decode", "encode", "search", "answer", "gRPC ModelInfer"}
    (server, request), (encoder, call) = by_name[f"POST {PREDICT}"], by_name["gRPC ModelInfer"]
    assert (server, encoder) == ("visual-search-transformer", "visual-search-encoder")
    assert request.parent_span_id.hex() == "b7ad6b7169203331"
    for stage in ("decode", "encode", "search", "answer"):
        assert by_name[stage][1].parent_span_id == request.span_id
    assert call.parent_span_id == by_name["encode"][1].span_id
    ids = [
        {a.key: a.value.string_value for a in span.attributes}["visual_search.request_id"] for span in (request, call)
    ]
    assert ids == ["mine-1", "mine-1"]


def test_minutes_of_service_are_what_the_guardrails_read(observed):
    table = read_service(str(observed["counts"]))
    assert set(table["arm"].to_pylist()) == {"blue"}
    totals = {name: sum(table[name].to_pylist()) for name in ("requests", "errors", "zero_results")}
    assert totals == {"requests": 2, "errors": 0, "zero_results": 1}
