"""A pod ends under load, as a rolling update ends it, and no request of the Service is lost (promise 14, with both processes)."""

from __future__ import annotations

import contextlib
import http.client
import signal
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from manifests.checks.pods import ENCODER, TRANSFORMER
from pipelines.commands.serving_processes import ServingProcesses
from support.inputs.rendered_overlays import documents, one
from support.servers.echo_process import eventually
from support.servers.late_proxy import LateProxy
from support.servers.serving_processes import make_local_release, pictures_of, settings_for

PREDICT = "/v1/models/visual-search:predict"
LATE_SECONDS = 2.0  # kube-proxy on a busy node; the pods' times below are those of the manifests


def lame_ducks() -> dict[str, str]:
    """Return how long each container of the manifests answers after its SIGTERM."""
    containers = {each["name"]: each for each in one(documents("standard"), "ServingRuntime")["spec"]["containers"]}
    found = {}
    for container, process in ((ENCODER, "encoder"), (TRANSFORMER, "transformer")):
        variables = {entry["name"]: entry.get("value") for entry in containers[container].get("env", [])}
        found[process] = variables.get("VISUAL_SEARCH_LAME_DUCK_SECONDS", "5")
    return found


class Replica:
    """A pod: encoder and transformer, which get SIGTERM at the same moment."""

    def __init__(self, release: Path, folder: Path) -> None:
        times = lame_ducks()
        self.processes = ServingProcesses(
            release, folder / "logs", settings_for(folder, lame_duck_seconds=times["encoder"])
        )
        self.processes.logs.mkdir(parents=True, exist_ok=True)
        self.processes.start_one("encoder")
        self.processes._environment["VISUAL_SEARCH_LAME_DUCK_SECONDS"] = times["transformer"]
        self.processes.start_one("transformer")
        self.is_deleted = False

    @property
    def port(self) -> int:
        return self.processes.port

    def is_ready(self) -> bool:
        """Say what the endpoint says; a pod that is being deleted is not ready, whatever its probe says."""
        if self.is_deleted:
            return False
        with contextlib.suppress(OSError):
            address = f"{self.processes.url}/v2/models/visual-search/ready"
            return bool(urllib.request.urlopen(address, timeout=5).status == 200)
        return False

    def end(self) -> dict[str, int]:
        """Delete the pod as kubelet does without preStop, and return the exit code of each process."""
        self.is_deleted = True
        for child in self.processes.children.values():
            child.send_signal(signal.SIGTERM)
        return {name: child.wait(120) for name, child in self.processes.children.items()}


class Load:
    """Clients that search through the proxy all the time, each over one connection for as long as the server keeps it open."""

    def __init__(self, port: int, picture: bytes, clients: int = 3) -> None:
        self._port, self._picture = port, picture
        self.answered = 0
        self.failures: list[str] = []
        self.stopped = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._search, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        for thread in self._threads:
            thread.join(60)

    def _search(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        while not self.stopped.wait(0.02):
            failure = None
            try:
                connection.request("POST", PREDICT, self._picture, {"Content-Type": "image/jpeg"})
                answer = connection.getresponse()
                body = answer.read()
                if answer.status != 200:
                    failure = f"{answer.status} {body[:200]!r}"
            except (OSError, http.client.HTTPException) as error:
                failure = repr(error)
                connection.close()
            with self._lock:
                self.answered += failure is None
                if failure is not None:
                    self.failures.append(failure)
        connection.close()


@contextmanager
def service(tmp_path: Path) -> Iterator[tuple[list[Replica], LateProxy, Load, Path]]:
    """Two replicas behind a late proxy, under load."""
    release = make_local_release(tmp_path / "release")
    picture = next(iter(pictures_of(release).values()))
    with ExitStack() as stack:
        replicas: list[Replica] = []
        stack.callback(lambda: [each.processes.stop(1) for each in replicas])
        for number in range(2):
            replicas.append(Replica(release, tmp_path / f"pod-{number}"))
        ports = {each.port: each for each in replicas}
        proxy = stack.enter_context(
            LateProxy(lambda port: next(e for e in replicas if e.port == port).is_ready(), LATE_SECONDS)
        )
        proxy.pods = list(ports)
        assert eventually(lambda: len(proxy.endpoints()) == 2, 240)
        load = stack.enter_context(Load(proxy.port, picture))
        assert eventually(lambda: load.answered >= 20 and len(proxy.connections) == 2, 120)
        yield replicas, proxy, load, release


def roll(tmp_path: Path, restarts: int, at_least: int) -> None:
    with service(tmp_path) as (replicas, proxy, load, release):
        for restart in range(restarts):
            old = replicas[restart % 2]
            assert old.end() == {"encoder": 0, "transformer": 0}
            assert eventually(lambda old=old: old.port not in proxy.endpoints())
            before = load.answered
            assert eventually(lambda before=before: load.answered >= before + 20, 120)
            if restart + 1 < restarts:
                new = Replica(release, tmp_path / f"pod-{restart + 2}")
                replicas[restart % 2] = new
                proxy.pods = [each.port for each in replicas]
                assert eventually(lambda: len(proxy.endpoints()) == 2, 240)
        assert eventually(lambda: load.answered >= at_least, 240)
    print(f"{restarts} pods ended, {load.answered} answered, {len(load.failures)} failed")
    assert load.failures == []


def test_a_pod_that_ends_under_load_loses_no_request(tmp_path: Path) -> None:
    roll(tmp_path, restarts=1, at_least=100)


@pytest.mark.long
def test_pods_that_end_one_after_the_other_lose_no_request(tmp_path: Path) -> None:
    roll(tmp_path, restarts=6, at_least=3000)
