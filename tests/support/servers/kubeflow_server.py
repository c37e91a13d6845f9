"""The API of a Kubeflow Pipelines 2.17 server on loopback, of either kind: what submitting, watching and scheduling need.

Each answer follows what the real API server gave (or what its source says, where marked): see `ANSWERS`. In addition it plays
the Kubernetes API in front of a server that is found by a kube configuration: claims and Secrets, and the proxy to the server.
"""

from __future__ import annotations

import json
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ANSWERS = {
    "healthz": "source: apiserver/main.go newHealthzResponse; the runs of both kinds checked it",
    "multi-user, no namespace": "seen: 400, An experiment cannot have an empty namespace in multi-user mode",
    "multi-user, no token": "source: resource_manager.go IsAuthorized, Unauthenticated; seen: a token was needed",
    "multi-user, no right": "source: resource_manager.go IsAuthorized, PermissionDenied",
    "multi-user, namespace": "seen: Workflow and ScheduledWorkflow in the namespace of the request",
    "single-user, namespace": "seen: ignored without an error, Workflow in the server's own namespace",
    "types": "seen for hours; the other types by v2_template.go validatePipelineJobInputs",
    "unknown or missing parameter": "seen: 400 on submit",
    "cron": 'seen: 400 on "0 99 3 * * *"; the sentence by api_converter.go',
    "two schedules of one name": "seen: both accepted, both kept",
    "deleted schedule": "source: resource_manager.go DeleteJob; its workflows are owned by it, so they go too unless orphaned",
    "states": "source: model/run.go; SUCCEEDED, FAILED and CANCELED seen",
    "error bodies": "seen: code, message, details; source: common/util/error.go GRPCStatus (the sentence is in the details)",
}

_HTTP = {3: 400, 5: 404, 7: 403, 13: 500, 14: 503, 16: 401}  # grpc-gateway: code of gRPC → status of HTTP
_KINDS = {
    "NUMBER_DOUBLE": ("double or integer", "number", (int, float)),
    "NUMBER_INTEGER": ("double or integer", "number", (int, float)),
    "STRING": ("string", "string", str),
    "BOOLEAN": ("bool", "bool", bool),
    "LIST": ("list", "list", list),
    "STRUCT": ("struct", "struct", dict),
}
_API = "/apis/v2beta1/"


class _RefusalError(Exception):
    def __init__(self, code: int, sentence: str, chain: str) -> None:
        super().__init__(sentence)
        self.status = _HTTP[code]
        self.body = {
            "code": code,
            "message": f"{chain}: Invalid input error: {sentence}",
            "details": [{"@type": "type.googleapis.com/google.rpc.Status", "code": code, "message": sentence}],
        }


class KubeflowServer:
    """What it keeps, and how it misbehaves.

    Args:
        multi_user: kind of the installation.

    Attributes:
        runs, schedules: as posted, by id, with their state and, as "workflow_namespace", where their pods would be.
        own_namespace: where a single-user installation runs everything.
        claims, secrets: (namespace, name) of what exists in the cluster.
        token: what a caller must show in a multi-user installation.
        allowed: namespaces in which the token has rights.
        states: states that a run goes through, one per look; the last one stays.
        lose_answers: create runs, but end the connection without an answer.
        down: number of requests that get no answer.
        failures: bodies that the next requests get with their status, before anything else.
        requests: method and path of each request.
    """

    def __init__(self, *, multi_user: bool = False) -> None:
        self.multi_user = multi_user
        self.runs: dict[str, dict] = {}
        self.schedules: dict[str, dict] = {}
        self.experiments: dict[str, dict] = {}
        self.own_namespace = "kubeflow"
        self.claims: set[tuple[str, str]] = set()
        self.secrets: set[tuple[str, str]] = set()
        self.token = "of-the-service-account"
        self.allowed = {"visual-search"}
        self.states: list[str] = []
        self.lose_answers = False
        self.down = 0
        self.failures: list[tuple[int, bytes]] = []
        self.requests: list[str] = []
        self.url = ""

    def kubeconfig(self, folder: Path) -> Path:
        """Write a kube configuration that leads here."""
        path = folder / "kubeconfig.json"
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "c", "cluster": {"server": self.url}}],
                    "users": [{"name": "u", "user": {}}],
                    "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                    "current-context": "x",
                }
            )
        )
        return path

    def answer(self, method: str, path: str, query: dict[str, str], body: dict, token: str) -> dict:
        """Answer one request of the pipelines' API."""
        what, _, rest = path.partition("/")
        if what == "healthz":
            return {"multi_user": self.multi_user, "pipeline_store": "database"}
        if self.multi_user and token != f"Bearer {self.token}":
            raise _RefusalError(
                16, "Failed to check authorization. User identity is empty in the request header", "Failed"
            )
        if what == "experiments":
            return self._experiments(method, query, body)
        if what == "runs":
            return self._runs(method, rest, query, body)
        if what == "recurringruns":
            return self._schedules(method, rest, query, body)
        raise _RefusalError(5, "Not Found", "Failed")

    def _authorize(self, namespace: str, chain: str) -> None:
        if not self.multi_user:
            return
        if not namespace:
            raise _RefusalError(3, "An experiment cannot have an empty namespace in multi-user mode", chain)
        if namespace not in self.allowed:
            raise _RefusalError(
                7, f"User 'jobs' is not authorized with reason:  (request: Namespace:{namespace})", chain
            )

    def _experiments(self, method: str, query: dict[str, str], body: dict) -> dict:
        if method == "GET":
            namespace = query.get("namespace", "") if self.multi_user else ""
            self._authorize(namespace, "Failed to list experiments")
            found = [one for one in self.experiments.values() if one["namespace"] == namespace and _matches(query, one)]
            return {"experiments": found, "total_size": len(found)}
        namespace = body.get("namespace", "") if self.multi_user else ""
        self._authorize(namespace, "Failed to create a experiment")
        key = f"e-{len(self.experiments) + 1}"
        self.experiments[key] = {**body, "experiment_id": key, "namespace": namespace}
        return self.experiments[key]

    def _runs(self, method: str, rest: str, query: dict[str, str], body: dict) -> dict:
        run_id, _, verb = rest.partition(":")
        if method == "GET" and not run_id:
            namespace = query.get("namespace", "")
            self._authorize(namespace, "Failed to list runs")
            place = namespace if self.multi_user else self.own_namespace
            return {"runs": [r for r in self.runs.values() if r["workflow_namespace"] == place and _matches(query, r)]}
        if method == "POST" and not run_id:
            check_inputs(body, "Failed to create a run")
            made = {
                **body,
                "run_id": f"run-{len(self.runs) + 1}",
                "state": "RUNNING",
                "workflow_namespace": self._place(body),
            }
            self.runs[made["run_id"]] = made
            return made
        if run_id not in self.runs:
            raise _RefusalError(5, f"Run {run_id} not found", "Failed to get a run")
        if verb == "terminate":
            self.runs[run_id]["state"] = "CANCELED"
            return {}
        if self.states:
            self.runs[run_id]["state"] = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return self.runs[run_id]

    def _schedules(self, method: str, rest: str, query: dict[str, str], body: dict) -> dict:
        if method == "GET":
            found = [
                one
                for one in self.schedules.values()
                if one["experiment_id"] == query.get("experiment_id") and _matches(query, one)
            ]
            start, size = int(query.get("page_token") or 0), int(query.get("page_size") or 10)
            following = str(start + size) if start + size < len(found) else ""
            return {"recurringRuns": found[start : start + size], "next_page_token": following}
        if method == "POST":
            check_inputs(body, "Failed to create a recurring run")
            _check_cron(body["trigger"]["cron_schedule"]["cron"])
            key = f"schedule-{len(self.requests)}"
            self.schedules[key] = {**body, "recurring_run_id": key, "workflow_namespace": self._place(body)}
            return self.schedules[key]
        if rest not in self.schedules:
            raise _RefusalError(5, f"Job {rest} not found", "Failed to delete a recurring run")
        del self.schedules[rest]
        if query.get("propagation_policy") != "ORPHAN":
            self.runs = {key: run for key, run in self.runs.items() if run.get("recurring_run_id") != rest}
        return {}

    def _place(self, body: dict) -> str:
        if not self.multi_user:
            return self.own_namespace
        namespace = self.experiments[body["experiment_id"]]["namespace"]
        self._authorize(namespace, "Failed to create a run due to authorization error")
        return namespace


def check_inputs(body: dict, chain: str) -> None:
    """Refuse parameters that do not fit the specification, as the server does."""
    posted = body["pipeline_spec"]
    declared = posted.get("pipeline_spec", posted)["root"].get("inputDefinitions", {}).get("parameters", {})
    given = body["runtime_config"].get("parameters", {})
    for name, parameter in declared.items():
        if name not in given:
            if not parameter.get("isOptional") and "defaultValue" not in parameter:
                raise _RefusalError(
                    3, f"parameter {name} is not optional, yet has neither default value nor user provided value", chain
                )
            continue
        kind, noun, types = _KINDS[parameter["parameterType"]]
        if not isinstance(given[name], types) or (noun == "number" and isinstance(given[name], bool)):
            what = "parameter value" if noun == "number" else "input parameter"
            raise _RefusalError(
                3, f"input parameter {name} requires type {kind}, but the {what} is not of {noun} value type", chain
            )
    if extra := [name for name in given if name not in declared]:
        raise _RefusalError(3, f"parameter(s) provided are not required by pipeline: {', '.join(extra)}", chain)


def _check_cron(cron: str) -> None:
    for word, limit in zip(cron.split(), (59, 59, 23, 31, 12, 6), strict=True):
        if word.isdigit() and int(word) > limit:
            raise _RefusalError(
                3,
                "Schedule cron is not a supported format(https://godoc.org/github.com/robfig/cron). "
                f"Error: End of range ({word}) above maximum ({limit}): {word}",
                "Failed to create a recurring run",
            )


def _matches(query: dict[str, str], entry: dict) -> bool:
    if not query.get("filter"):
        return True
    (wanted,) = json.loads(query["filter"])["predicates"]
    assert wanted["operation"] in ("EQUALS", 1)  # an enumeration of protobuf, by name or number
    assert wanted["key"] == "display_name"
    return entry["display_name"] == (wanted.get("stringValue") or wanted["string_value"])


@contextmanager
def kubeflow_server(*, multi_user: bool = False) -> Iterator[KubeflowServer]:
    """Start one."""
    state = KubeflowServer(multi_user=multi_user)

    class Api(BaseHTTPRequestHandler):
        def serve(self) -> None:
            path, _, text = self.path.partition("?")
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
            state.requests.append(f"{self.command} {self.path}")
            if state.down > 0:
                state.down -= 1
                self.close_connection = True
                return
            if state.failures:
                self.send(*state.failures.pop(0))
                return
            proxy = f"/api/v1/namespaces/{state.own_namespace}/services/ml-pipeline:http/proxy"
            query = dict(urllib.parse.parse_qsl(text))
            if path.startswith("/api/v1/") and not path.startswith(proxy):
                self.resource(path)
                return
            path = path.removeprefix(proxy)
            try:
                assert path.startswith(_API)
                answer = state.answer(
                    self.command, path.removeprefix(_API), query, body, self.headers.get("authorization", "")
                )
            except _RefusalError as refusal:
                self.send(refusal.status, json.dumps(refusal.body).encode())
                return
            if state.lose_answers and self.command == "POST" and path == f"{_API}runs":
                self.close_connection = True
                return
            self.send(200, json.dumps(answer).encode())

        do_GET = do_POST = do_DELETE = serve  # noqa: N815 (names of http.server)

        def resource(self, path: str) -> None:
            *_, namespace, kind, name = path.split("/")
            known = {"persistentvolumeclaims": state.claims, "secrets": state.secrets}[kind]
            body = {"kind": kind, "metadata": {"name": name, "namespace": namespace}}
            found = (namespace, name) in known
            self.send(200 if found else 404, json.dumps(body if found else {"reason": "NotFound"}).encode())

        def send(self, status: int, data: bytes) -> None:
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
