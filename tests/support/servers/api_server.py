"""A small Kubernetes API server on loopback: keeps objects, answers GET and PATCH as the real one does, and can misbehave.

Objects have `resourceVersion` and `generation`; a JSON patch is applied whole or not at all. A controller, if given, is called
after every change, as KServe would be. Discovery is answered too, so that kubectl itself can be pointed here.
"""

from __future__ import annotations

import copy
import json
import random
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jsonpatch

_GROUPS = {
    "serving.kserve.io/v1beta1": ("inferenceservices", "inferenceservice", "InferenceService"),
    "gateway.networking.k8s.io/v1": ("httproutes", "httproute", "HTTPRoute"),
    "apps/v1": ("deployments", "deployment", "Deployment"),
    "serving.knative.dev/v1": ("services", "knativeservice", "Service"),
}


class RefusedError(Exception):
    """A request that the API server refuses."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def apply_json_patch(value, operations):
    """Return `value` patched (RFC 6902: test, add, replace, remove); raises RefusedError where it does not apply."""
    try:
        return jsonpatch.apply_patch(value, operations)
    except jsonpatch.JsonPatchTestFailed as error:
        raise RefusedError(422, f"testing value failed: {error}") from error
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
        raise RefusedError(422, f"the patch does not apply: {error}") from error


def merge_patch(value, patch):
    """Return `value` merged with a patch (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(value) if isinstance(value, dict) else {}
    for key, part in patch.items():
        if part is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), part)
    return merged


class ApiServer:
    """Serves until the block ends.

    Args:
        objects: to begin with.
        controller: called with (server's objects by "kind/name") after each change; may change their status.
        fail_share: share of requests that get a 500, half of them after the change was made.
        slow_seconds: longest random delay of a request.
        seed: of what is random.
    """

    def __init__(self, objects, controller: Callable | None = None, *, fail_share=0.0, slow_seconds=0.0, seed=0):
        self.objects = {}
        self.controller, self.fail_share, self.slow_seconds = controller, fail_share, slow_seconds
        self.patches: list[dict] = []  # what was asked and applied, in order
        self._random, self._lock = random.Random(seed), threading.RLock()
        for thing in objects:
            self.put(thing)

    def __enter__(self):
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"api": self}))
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._http.shutdown()
        self._http.server_close()

    def kubeconfig(self, folder: Path) -> Path:
        """Write a kubeconfig that leads here."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "clusters": [{"name": "test", "cluster": {"server": self.url}}],
            "users": [{"name": "test", "user": {"token": "test"}}],
        }
        path = folder / "kubeconfig"
        path.write_text(json.dumps(config))
        return path

    def put(self, thing):
        """Add or replace an object, as `kubectl apply` would."""
        with self._lock:
            key = f"{thing['kind'].lower()}/{thing['metadata']['name']}"
            self.objects[key] = copy.deepcopy(thing)
            self._bump(key, changed=True)

    def control(self):
        """Let the controller go on, as time would."""
        with self._lock:
            if self.controller is not None:
                self.controller(self.objects)

    def misbehave(self, *, after: bool):
        """Fail or dawdle, if it is time to."""
        with self._lock:
            delay, fails = self._random.random() * self.slow_seconds, self._random.random() < self.fail_share / 2
        if not after:
            time.sleep(delay)
        if fails:
            raise RefusedError(500, "etcdserver: request timed out")

    def get(self, key):
        with self._lock:
            if key not in self.objects:
                raise RefusedError(404, f"{key} not found")
            return copy.deepcopy(self.objects[key])

    def patch(self, key, content_type, body):
        with self._lock:
            old = self.get(key)
            if content_type == "application/json-patch+json":
                new = apply_json_patch(old, body)
            elif content_type == "application/merge-patch+json":
                new = merge_patch(old, body)
            else:
                raise RefusedError(415, f"{content_type} is not supported for custom resources")
            wanted = new["metadata"].get("resourceVersion")
            if wanted != old["metadata"]["resourceVersion"]:
                raise RefusedError(409, "the object has been modified")
            self.objects[key] = new
            self.patches.append({"key": key, "body": body})
            self._bump(key, changed=new["spec"] != old["spec"])
            return copy.deepcopy(self.objects[key])

    def _bump(self, key, *, changed):
        meta = self.objects[key]["metadata"]
        meta["resourceVersion"] = str(int(meta.get("resourceVersion", "0")) + 1)
        meta["generation"] = meta.get("generation", 0) + int(changed)
        if self.controller is not None:
            self.controller(self.objects)


class _Handler(BaseHTTPRequestHandler):
    api: ApiServer
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._answer(lambda: self._discover() or self.api.get(self._key()))

    def do_PATCH(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        content_type = self.headers["Content-Type"]
        self._answer(lambda: self.api.patch(self._key(), content_type, body))

    def log_message(self, *_):
        pass

    def _answer(self, work):
        try:
            self.api.misbehave(after=False)
            found, status = work(), 200
            self.api.misbehave(after=True)
        except RefusedError as error:
            found, status = (
                {"kind": "Status", "apiVersion": "v1", "code": error.status, "message": str(error)},
                error.status,
            )
        data = json.dumps(found).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except OSError:  # the client was killed
            self.close_connection = True

    def _key(self):
        parts = self.path.partition("?")[0].strip("/").split("/")
        plurals = {plural: singular for plural, singular, _ in _GROUPS.values()}
        if len(parts) != 7 or parts[5] not in plurals:
            raise RefusedError(404, f"{self.path} is not known here")
        return f"{plurals[parts[5]]}/{parts[6]}"

    def _discover(self):
        path = self.path.partition("?")[0]
        if path in ("/api", "/api/"):
            return {"kind": "APIVersions", "versions": ["v1"]}
        if path == "/api/v1":
            return {"kind": "APIResourceList", "groupVersion": "v1", "resources": []}
        if path in ("/apis", "/apis/"):
            groups = []
            for name in _GROUPS:
                group, version = name.split("/")
                entry = {"groupVersion": name, "version": version}
                groups.append({"name": group, "versions": [entry], "preferredVersion": entry})
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        for name, (plural, singular, kind) in _GROUPS.items():
            if path == f"/apis/{name}":
                resource = {"name": plural, "singularName": singular, "namespaced": True, "kind": kind,
                            "verbs": ["get", "patch"]}  # fmt: skip
                return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": [resource]}
        return None
