"""Whoever is killed wherever: afterwards registry, cluster and log agree, and the next reconciliation has nothing to mend."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from components.registration.registry import CHAMPION
from serving.rollout.cluster import Cluster
from serving.rollout.reconciler import Reconciler
from serving.rollout.state import TAG, read_rollout
from serving.rollout.store import ReleaseStore
from support.factories.cluster_controllers import make_controller
from support.factories.cluster_factory import NAMESPACE, make_objects
from support.servers.api_server import ApiServer

_HERE = Path(__file__).parents[2]


class Victim:
    """The process that forks one for each command."""

    def __init__(self, model, log, environment):
        self.log = log.open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(_HERE / "support" / "servers" / "rollout_victim.py"), model],
            env={**os.environ, "PYTHONPATH": str(_HERE.parent), **environment}, cwd=_HERE.parent,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
        )  # fmt: skip
        if self.process.stdout.readline() != "ready\n":
            self.close()
            raise AssertionError(log.read_text())

    def run(self, words, kill_after=None):
        """Run a command, perhaps killed after so many seconds; returns whether it was, and how long it took."""
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        pid = int(self.process.stdout.readline().split()[1])
        began = time.monotonic()
        timer = None
        if kill_after is not None:
            timer = threading.Timer(kill_after, _kill, [pid])
            timer.start()
        status = int(self.process.stdout.readline().split()[1])
        if timer is not None:
            timer.cancel()
            timer.join()
        return os.WIFSIGNALED(status), time.monotonic() - began

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()
        self.log.close()


def _kill(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def check_agreement(registry, server, store):
    """Registry, cluster and log say the same."""
    history = [entry for entry in registry.history() if entry.took_effect]
    champion, rollout = registry.get(CHAMPION), read_rollout(registry)
    assert [e for e in history if e.move.alias == CHAMPION][-1].move.version == champion.version
    if rollout is not None:
        entries = [e for e in history if e.move.alias == TAG]
        assert entries[-1].move.state == registry.read_tag(TAG)
        revisions = [json.loads(e.move.state)["revision"] for e in entries]
        assert revisions == list(range(1, rollout.revision + 1))  # no decision that took effect is missing from the log
        assert rollout.state != "promoting"
    share = rollout.share if rollout is not None and rollout.state == "running" else 0
    expected = {store.uri(champion.release_id): 100 - share}
    if share:
        expected[store.uri(registry.get(rollout.challenger).release_id)] = share
    assert server.controller.served == expected
    for uri in expected:
        store.verify(uri.rstrip("/").rpartition("/")[2])


def next_command(registry, rng):
    """Return what somebody may want next."""
    rollout = read_rollout(registry)
    champion = registry.get(CHAMPION).version
    others = [str(release.version) for release in registry.releases() if release.version != champion]
    if rollout is None or not rollout.is_open:
        return ["start", rng.choice(others), "--share", str(rng.choice([1, 5, 25]))]
    kind = rng.choice(["step", "promote", "rollback"])
    if kind == "step":
        return ["step", str(rng.choice([n for n in (1, 5, 25, 50) if n != rollout.share]))]
    return [kind, "--why", "to see"]


def kill_often(kills, mode, registry, tmp_path, tracking_uri, monkeypatch, seed):
    rng = random.Random(seed)
    store = ReleaseStore(str(tmp_path / "store"))
    with ApiServer(make_objects(mode), make_controller(mode)) as server:
        config = str(server.kubeconfig(tmp_path))
        monkeypatch.setenv("KUBECONFIG", config)
        reconciler = Reconciler(registry, store, Cluster(mode, NAMESPACE))
        victim = Victim(registry.model_name, tmp_path / "victim.log", {"KUBECONFIG": config})
        common = ["--home", str(tmp_path / "home"), "--tracking-uri", tracking_uri]
        place = ["--mode", mode, "--release-store", store.place]
        durations, killed = {"decide": 1.0, "reconcile": 1.0}, {"decide": 0, "reconcile": 0}
        try:
            attempts = 0
            while sum(killed.values()) < kills and attempts < 4 * kills:
                attempts += 1
                kind = rng.choice(["decide", "reconcile"])
                if kind == "reconcile":  # something to follow, then killed while it follows
                    victim.run(["rollout", *next_command(registry, rng), *common])
                    words = ["rollout", "reconcile", *common, *place]
                else:
                    words = ["rollout", *next_command(registry, rng), *common]
                was, took = victim.run(words, kill_after=rng.uniform(0.02, durations[kind]))
                killed[kind] += was
                if not was:
                    durations[kind] = 0.7 * durations[kind] + 0.3 * took
                if attempts % 3 == 0:
                    continue  # killed again before anybody could mend it
                assert reconciler.reconcile().waiting is None
                check_agreement(registry, server, store)
                assert reconciler.reconcile().patches == []
        finally:
            victim.close()
        assert reconciler.reconcile().waiting is None
        check_agreement(registry, server, store)
        assert {uri for moment in server.controller.history for uri in moment} <= {
            store.uri(release.release_id) for release in registry.releases()
        } | {"s3://store/none/", "nothing"}
    print(f"{mode}: killed {killed} of {attempts}, {len(server.patches)} patches, {len(registry.history())} entries")
    assert sum(killed.values()) >= kills
    return killed


@pytest.mark.parametrize("mode", ["knative", "standard"])
def test_killed_at_random_points(mode, registry, tmp_path, tracking_uri, monkeypatch):
    kill_often(6, mode, registry, tmp_path, tracking_uri, monkeypatch, seed=1)


@pytest.mark.long
@pytest.mark.timeout(3_000)
@pytest.mark.parametrize("mode", ["knative", "standard"])
def test_killed_at_a_hundred_random_points(mode, registry, tmp_path, tracking_uri, monkeypatch):
    killed = kill_often(100, mode, registry, tmp_path, tracking_uri, monkeypatch, seed=2)
    assert min(killed.values()) >= 20
