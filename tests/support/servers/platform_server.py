"""An API server on loopback that only answers reads, with what a platform has installed, as the real one answers them.

Discovery follows from the objects and the declared kinds; a list filters by labels; what a person may not read is a 403, an
aggregated API whose pods are down is a 503 also in discovery. Answers are Status objects where there is nothing.

Source: seen of kube-apiserver 1.32 to 1.36.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]
_REASONS = {401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 503: "ServiceUnavailable"}


class PlatformServer:
    """Serves until the block ends.

    Args:
        version: of Kubernetes.
        kinds: by group and version, for example {"metrics.k8s.io/v1beta1": ["PodMetrics"]}.
        objects: by path, for example "/api/v1/namespaces/kserve".
        forbidden: paths that the person may not read, whether or not there is anything.
        broken: group and version of aggregated APIs whose pods are down.
    """

    def __init__(self, version: str, kinds: dict[str, list[str]], objects: dict[str, Json]) -> None:
        self.version, self.kinds, self.objects = version, kinds, objects
        self.forbidden: set[str] = set()
        self.broken: set[str] = set()
        self.requests: list[str] = []

    def __enter__(self) -> PlatformServer:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"platform": self}))
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def kubeconfig(self, folder: Path) -> Path:
        """Write a kube configuration that leads here."""
        path = folder / "kubeconfig"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "clusters": [{"name": "test", "cluster": {"server": self.url}}],
            "users": [{"name": "test", "user": {"token": "test"}}],
        }
        path.write_text(json.dumps(config))
        return path

    def answer(self, method: str, address: str) -> tuple[int, Json]:
        """Return status code and body of a request."""
        parts = urlsplit(address)
        path, query = parts.path.rstrip("/"), parse_qs(parts.query)
        self.requests.append(f"{method} {path}")
        if method != "GET" or path in self.forbidden:
            return _status(403, f'User "person" cannot read "{path}"')
        if path == "/version":
            major, minor = self.version.removeprefix("v").split(".")[:2]
            return 200, {"major": major, "minor": minor, "gitVersion": self.version}
        group = path.removeprefix("/apis/") if path.startswith("/apis/") else ""
        if any(group == each or group.startswith(f"{each}/") for each in self.broken):
            return _status(503, "the server is currently unable to handle the request")
        if group in self.kinds:
            resources = [
                {"name": f"{k.lower()}s", "kind": k, "namespaced": True, "verbs": ["get"]} for k in self.kinds[group]
            ]
            return 200, {"kind": "APIResourceList", "groupVersion": group, "resources": resources}
        if path in self.objects:
            return 200, self.objects[path]
        return self._list(path, query.get("labelSelector", [""])[0])

    def _list(self, path: str, selector: str) -> tuple[int, Json]:
        """Answer a list: of a namespace, or of all of them, as "/apis/apps/v1/deployments"."""
        prefix, _, plural = path.rpartition("/")
        found = [
            each
            for place, each in sorted(self.objects.items())
            if place.startswith(prefix + "/") and place.split("/")[-2] == plural
        ]
        if plural not in ("deployments", "daemonsets", "storageclasses", "nodes"):
            return _status(404, f'"{path}" not found')
        wanted = dict(pair.split("=") for pair in selector.split(",") if pair)
        labels = [(each, each["metadata"].get("labels") or {}) for each in found]
        return 200, {"kind": "List", "items": [e for e, l in labels if all(l.get(k) == v for k, v in wanted.items())]}  # noqa: E741


def _status(code: int, message: str) -> tuple[int, Json]:
    return code, {
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": _REASONS[code], "message": message,
    }  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    platform: PlatformServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PATCH(self) -> None:
        self._answer("PATCH")

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, method: str) -> None:
        code, body = self.platform.answer(method, self.path)
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
