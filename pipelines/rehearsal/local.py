"""The cluster of the rehearsal: the objects of Standard mode in memory, and real server processes that follow them.

The same planner, reconciler, store and registry as on Kubernetes work on it; only the API server and KServe are missing.
"""

from __future__ import annotations

import contextlib
import copy
import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import httpx
import jsonpatch

from components.shared.release.manifest import read_manifest
from components.shared.release.served import publish_release
from pipelines.rehearsal.router import Router
from serving.rollout.cluster import CHILD_OF_ARM, ChangedMeanwhileError, plan_for
from serving.rollout.plan import CHALLENGER, CHAMPION, Desired, Json, Patch, Plan, storage_of
from serving.rollout.readiness import SOURCE_ANNOTATION
from serving.rollout.standard import ROUTE, SERVICES

_NAMESPACE = "rehearsal"
_NOTHING = "nothing/"
_READY_SECONDS = 180.0


class Pair(Protocol):
    """Encoder and transformer as two processes."""

    children: dict[str, Any]
    encoder_http_port: int
    encoder_grpc_port: int

    @property
    def url(self) -> str:
        """Address of the transformer."""

    def start(self) -> None:
        """Start both."""

    def start_one(self, name: str) -> None:
        """Start "encoder" or "transformer"."""

    def wait_ready(self, timeout_seconds: float = ...) -> None:
        """Wait until it can answer."""

    def stop(self, timeout_seconds: float = ...) -> None:
        """Stop both."""


class PairFactory(Protocol):
    """Makes a pair that is not started yet."""

    def __call__(
        self, location: Path, logs: Path, settings: Mapping[str, str], encoder_ports: tuple[int, int] = (0, 0)
    ) -> Pair:
        """Make it.

        Args:
            location: location of the served release.
            logs: folder.
            settings: settings of both processes, without the prefix.
            encoder_ports: ports of REST and gRPC; 0: free ones.
        """


class LocalCluster:
    """Two arms, each a pair of processes on a root with `CURRENT`, behind the router.

    Args:
        folder: for roots and logs.
        make_pair: starts an encoder and a transformer.
        settings: settings of all processes, without the prefix.
    """

    def __init__(self, folder: Path, make_pair: PairFactory, settings: Mapping[str, str]) -> None:
        self._folder, self._make_pair, self._settings = folder, make_pair, dict(settings)
        self.pairs: dict[str, Pair] = {}
        self._strays: list[Pair] = []
        self.router = Router(_Addresses(self.pairs))
        self._objects = _objects()
        self._slowing = threading.Event()
        self._slow_thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the router; arms start when they are given a release."""
        self.router.start()

    def stop(self) -> None:
        """Stop everything."""
        self.heal()
        self.router.stop()
        for pair in (*self.pairs.values(), *self._strays):
            pair.stop()

    # Target

    def plan(self, desired: Desired) -> Plan:
        """Plan as for Standard mode."""
        for arm in SERVICES:
            self._observe(arm)
        return plan_for("standard", desired, self._objects, _NAMESPACE)

    def apply(self, patch: Patch) -> None:
        """Apply one patch and let processes and router follow.

        Raises:
            ChangedMeanwhileError: a test in it failed.
        """
        key = f"{patch.kind}/{patch.name}"
        try:
            self._objects[key] = jsonpatch.apply_patch(self._objects[key], patch.body)
        except jsonpatch.JsonPatchTestFailed as error:
            raise ChangedMeanwhileError(str(error)) from error
        if patch.kind == "httproute":
            self._route()
        else:
            self._serve(next(arm for arm, name in SERVICES.items() if name == patch.name))

    def _serve(self, arm: str) -> None:
        _, uri = storage_of(self._objects[f"inferenceservice/{SERVICES[arm]}"])
        root = self._folder / arm
        publish_release(root, Path(uri))
        if arm not in self.pairs:
            settings = {**self._settings, "arm": arm, "pin_header": "X-Visual-Search-Arm", "pin_value": arm}
            settings["cache"] = str(self._folder / f"{arm}-cache")
            self.pairs[arm] = self._make_pair(root, self._folder / f"{arm}-logs", settings)
            self.pairs[arm].start()
            self.pairs[arm].wait_ready(_READY_SECONDS)

    def _observe(self, arm: str) -> None:
        """Write down as a Deployment whether an arm serves what its InferenceService says."""
        _, uri = storage_of(self._objects[f"inferenceservice/{SERVICES[arm]}"])
        ready = arm in self.pairs and uri != _NOTHING and self._serves(arm, read_manifest(Path(uri)).release_id)
        self._objects[CHILD_OF_ARM[arm]] = {
            "spec": {"template": {"metadata": {"annotations": {SOURCE_ANNOTATION: uri}}}},
            "status": {"observedGeneration": 0, "replicas": 1, "updatedReplicas": 1, "readyReplicas": int(ready)},
        }

    def _serves(self, arm: str, release_id: str) -> bool:
        try:
            found = httpx.get(f"{self.pairs[arm].url}/v1/release", timeout=5, trust_env=False)
            return found.status_code == 200 and found.json()["release_id"] == release_id
        except (httpx.HTTPError, ValueError, KeyError):
            return False

    def _route(self) -> None:
        """Give the router the weights and pins of the HTTPRoute."""
        pins = {}
        for rule in self._objects[f"httproute/{ROUTE}"]["spec"]["rules"]:
            weights = {
                b["name"].removesuffix("-predictor").rpartition("-")[2]: b["weight"] for b in rule["backendRefs"]
            }
            matches = rule.get("matches")
            if matches:
                pins[matches[0]["headers"][0]["value"]] = max(weights, key=lambda arm: weights[arm])
            else:
                self.router.weights = {CHAMPION: 0, CHALLENGER: 0} | weights
        self.router.pins = pins

    # What happens to a challenger

    def crash(self, arm: str) -> None:
        """Kill both processes of an arm."""
        for child in self.pairs[arm].children.values():
            child.kill()

    def exchange_encoder(self, arm: str, release: Path) -> None:
        """Put the encoder of another release behind an arm's transformer, on the same port."""
        pair = self.pairs[arm]
        pair.children["encoder"].kill()
        pair.children["encoder"].wait()
        settings = {**self._settings, "arm": arm, "cache": str(self._folder / f"{arm}-stray")}
        ports, logs = (pair.encoder_http_port, pair.encoder_grpc_port), self._folder / f"{arm}-stray-logs"
        logs.mkdir(parents=True, exist_ok=True)
        stray = self._make_pair(release, logs, settings, ports)
        self._strays.append(stray)
        stray.start_one("encoder")
        pair.children["encoder"] = stray.children["encoder"]

    def slow_down(self, arm: str, stopped_seconds: float = 1.5, running_seconds: float = 0.1) -> None:
        """Let an arm's encoder run only now and then, until `heal`."""
        child = self.pairs[arm].children["encoder"]

        def hold() -> None:
            while not self._slowing.is_set():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGSTOP)
                self._slowing.wait(stopped_seconds)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGCONT)
                self._slowing.wait(running_seconds)

        self._slowing.clear()
        self._slow_thread = threading.Thread(target=hold, name="slow", daemon=True)
        self._slow_thread.start()

    def heal(self) -> None:
        """Let a slowed process run."""
        self._slowing.set()
        if self._slow_thread is not None:
            self._slow_thread.join()
            self._slow_thread = None


class _Addresses(Mapping[str, str]):
    """Arm → URL, of the pairs that there are at the moment of asking."""

    def __init__(self, pairs: dict[str, Pair]) -> None:
        self._pairs = pairs

    def __getitem__(self, arm: str) -> str:
        return self._pairs[arm].url

    def __iter__(self) -> Any:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)


def _objects() -> dict[str, Json]:
    found: dict[str, Json] = {}
    for name in SERVICES.values():
        spec = {"predictor": {"model": {"storageUri": _NOTHING}}}
        found[f"inferenceservice/{name}"] = {"metadata": {"name": name}, "spec": spec}
    backends = [
        {"name": f"{SERVICES[arm]}-predictor", "port": 80, "weight": weight}
        for arm, weight in ((CHAMPION, 100), (CHALLENGER, 0))
    ]
    pins = [
        {
            "matches": [{"headers": [{"name": "X-Visual-Search-Arm", "value": arm}]}],
            "backendRefs": copy.deepcopy(backends),
        }
        for arm in SERVICES
    ]
    accepted: Json = {
        "parents": [{"conditions": [{"type": "Accepted", "status": "True"}]}]
    }  # the router takes it at once
    specification: Json = {"rules": [*pins, {"backendRefs": backends}]}
    found[f"httproute/{ROUTE}"] = {"metadata": {"name": ROUTE}, "spec": specification, "status": accepted}
    return found
