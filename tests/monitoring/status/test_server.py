"""Gauges and pages over real HTTP."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from components.shared.errors import ResourceError
from monitoring.remedies.ledger import Entry, Ledger
from monitoring.status.exporter import render
from monitoring.status.page import write_page
from monitoring.status.record import LATEST_FILE, RecordStore
from monitoring.status.server import StatusServer
from support.factories.monitoring_factory import AT, make_record, make_report


def fill(folder: Path) -> Path:
    for arm, state, remedy in (("challenger", "ok", None), ("champion", "alarm", "retrain")):
        record = make_record(make_report(state, arm=arm, remedy=remedy))
        store = RecordStore(folder / arm)
        store.add(record)
        write_page(folder / arm / "status.html", record, store.trend(), tiles={})
    return folder


@contextmanager
def serving(folder: Path) -> Iterator[StatusServer]:
    with StatusServer(folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ask(server: StatusServer, path: str, method: str = "GET") -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=20)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def samples(text: bytes) -> dict[tuple[str, frozenset], float]:
    families = text_string_to_metric_families(text.decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def test_gauges_of_all_arms_and_remedies(tmp_path: Path) -> None:
    fill(tmp_path)
    with Ledger(tmp_path).alone():
        for state in ("failed", "running"):
            Ledger(tmp_path).put(
                Entry(entry_id=f"a-{state}", remedy="retrain", pipeline="training", why="", release_id="r", arm="champion",
                      report_at=AT, started_at=AT, state=state)
            )  # fmt: skip
    found = samples(render(tmp_path))

    def value(name: str, **labels: str) -> float | None:
        wanted = set(labels.items())
        return next(
            (v for (n, have), v in found.items() if n == f"visual_search_monitoring_{name}" and wanted <= have), None
        )

    assert value("state", arm="champion") == 2
    assert value("state", arm="challenger") == 0
    assert value("concern_state", arm="champion", concern="domain_classifier", topic="drift") == 2
    assert value("concern_state", concern="judged_queries") == -1
    assert value("concern_value", concern="index_recall") == 0.97
    assert value("concern_p_value", concern="index_recall") is None
    assert value("diagnosis", arm="champion", cause="new_items", remedy="retrain") == 1
    assert value("diagnosis", arm="challenger") is None
    assert value("report_timestamp_seconds", arm="champion") == AT.timestamp()
    assert value("online_click_through_per_query", by="arm", label="champion") == 0.4
    assert value("remedy_state", remedy="retrain", state="running") == 1
    assert value("remedy_state", state="failed") is None  # the latest counts
    (tmp_path / "champion" / LATEST_FILE).write_text("{")
    found = samples(render(tmp_path))
    assert value("readable", arm="champion") == 0
    assert value("readable", arm="challenger") == 1
    assert value("state", arm="champion") is None


def test_pages_and_headers(tmp_path: Path) -> None:
    with serving(fill(tmp_path)) as server:
        for path, status, kind in (
            ("/", 200, "text/html"), ("/arms/challenger", 200, "text/html"), ("/metrics", 200, "text/plain"),
            ("/arms/champion/latest.json", 200, "application/json"), ("/healthz", 200, "text/plain"),
            ("/?x=1", 200, "text/html"), ("/arms/nobody", 404, "text/plain"), ("/latest.json", 404, "text/plain"),
            ("/arms/../champion/latest.json", 404, "text/plain"), ("/arms/champion/history", 404, "text/plain"),
            ("/%2e%2e/etc/passwd", 404, "text/plain"),
        ):  # fmt: skip
            answer, body = ask(server, path)
            assert (answer.status, answer.headers.get_content_type()) == (status, kind), path
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            assert "Python" not in answer.headers["Server"]
            if path == "/":
                assert b"Search needs attention" in body
        answer, body = ask(server, "/", "HEAD")
        assert (answer.status, body) == (200, b"")
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            assert ask(server, "/", method)[0].status == 501


def test_damage_is_a_503_and_the_rest_goes_on(tmp_path: Path) -> None:
    with serving(fill(tmp_path)) as server:
        (tmp_path / "champion" / "status.html").unlink()
        (tmp_path / "champion" / LATEST_FILE).write_text("{")
        assert ask(server, "/")[0].status == 503
        assert ask(server, "/arms/champion/latest.json")[0].status == 503
        assert ask(server, "/metrics")[0].status == 200
        assert ask(server, "/arms/challenger")[0].status == 200


def test_before_the_first_run(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        assert b"monitor run" in ask(server, "/")[1]
        assert ask(server, "/metrics")[0].status == 200


def test_many_idle_connections_do_not_pile_up(tmp_path: Path) -> None:
    with serving(fill(tmp_path)) as server:
        idle = [socket.create_connection(server.server_address[:2], timeout=20) for _ in range(60)]
        for connection in idle:
            connection.close()
        answers, until = set(), time.monotonic() + 60
        while not answers and time.monotonic() < until:
            try:
                answers.add(ask(server, "/healthz")[0].status)
            except (http.client.HTTPException, OSError):
                time.sleep(0.05)  # still full
        assert answers == {200}


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with StatusServer(tmp_path) as server, pytest.raises(ResourceError, match="another --port"):
        StatusServer(tmp_path, port=server.server_address[1])
