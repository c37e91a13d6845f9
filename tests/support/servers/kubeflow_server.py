"""A Kubeflow Pipelines API on loopback that keeps runs: what submitting, looking and finding by name need."""

from __future__ import annotations

import json
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

EXPERIMENT = {"experiment_id": "e-1", "display_name": "visual-search"}


class KubeflowServer:
    """Its runs, by id, and how it misbehaves.

    Attributes:
        runs: as posted, with run_id and state.
        lose_answers: take runs, but end the connection without an answer.
    """

    def __init__(self) -> None:
        self.runs: dict[str, dict] = {}
        self.lose_answers = False
        self.url = ""


@contextmanager
def kubeflow_server() -> Iterator[KubeflowServer]:
    """Start one."""
    state = KubeflowServer()

    class Api(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            if path == "/apis/v2beta1/healthz":
                self.answer({"multi_user": False})
            elif path.startswith("/apis/v2beta1/experiments"):
                self.answer({"experiments": [EXPERIMENT], "total_size": 1})
            elif path == "/apis/v2beta1/runs":
                wanted = json.loads(urllib.parse.parse_qs(query)["filter"][0])["predicates"][0]
                name = wanted.get("stringValue") or wanted["string_value"]
                assert wanted["key"] == "display_name"
                self.answer({"runs": [run for run in state.runs.values() if run["display_name"] == name]})
            elif (run := state.runs.get(path.rpartition("/")[2])) is not None:
                self.answer(run)
            else:
                self.answer({"error": "no such run"}, 404)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not self.path.startswith("/apis/v2beta1/runs"):
                self.answer(EXPERIMENT)
                return
            run = {**body, "run_id": f"run-{len(state.runs) + 1}", "state": "RUNNING"}
            state.runs[run["run_id"]] = run
            if state.lose_answers:
                self.close_connection = True
            else:
                self.answer(run)

        def answer(self, body: dict, status: int = 200) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
