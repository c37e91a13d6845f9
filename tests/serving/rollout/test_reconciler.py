"""The reconciler against a real HTTP API server, a real registry and a real store."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from components.shared.errors import ContractError, NotReadyError, ParameterError, ResourceError
from pipelines.__main__ import build_parser
from pipelines.commands import rollout as rollout_command
from serving.rollout import decisions
from serving.rollout.cluster import Cluster
from serving.rollout.reconciler import Reconciler, desired_of
from serving.rollout.state import read_rollout
from serving.rollout.status import as_text, status
from serving.rollout.store import ReleaseStore
from support.factories.cluster_controllers import make_controller
from support.factories.cluster_factory import NAMESPACE, make_objects
from support.servers.api_server import ApiServer

BY = {"who": "tester", "why": "to see"}
MODES = ("knative", "standard")


@pytest.fixture(params=MODES)
def cluster(request, registry, tmp_path, monkeypatch):
    controller = make_controller(request.param)
    with ApiServer(make_objects(request.param), controller) as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path)))
        server.mode, server.store = request.param, ReleaseStore(str(tmp_path / "store"))
        server.target = Cluster(request.param, NAMESPACE)
        server.reconciler = Reconciler(registry, server.store, server.target)
        yield server


def served(cluster, registry):
    ids = {cluster.store.uri(release.release_id): release.version for release in registry.releases()}
    return {ids[uri]: percent for uri, percent in cluster.controller.served.items()}


def test_it_follows_every_decision(cluster, registry):
    assert cluster.reconciler.reconcile().waiting is None
    assert served(cluster, registry) == {1: 100}
    decisions.start(registry, 2, share=5, **BY)
    cluster.reconciler.reconcile()
    assert served(cluster, registry) == {1: 95, 2: 5}
    assert "as it should be" in as_text(status(registry, cluster.store, cluster.target))
    decisions.step(registry, 50, **BY)
    text = as_text(status(registry, cluster.store, cluster.target))
    assert "50 %" in text.splitlines()[2]
    assert "as it should be" not in text
    cluster.reconciler.reconcile()
    assert served(cluster, registry) == {1: 50, 2: 50}
    decisions.roll_back(registry, **BY)
    cluster.reconciler.reconcile()
    assert served(cluster, registry) == {1: 100}
    registry.promote(3, "champion", **BY)  # as in MLflow's own pages
    cluster.reconciler.reconcile()
    assert served(cluster, registry) == {3: 100}
    count = len(cluster.patches)
    assert cluster.reconciler.reconcile().patches == []
    assert len(cluster.patches) == count


def test_a_dry_run_prints_what_would_be_applied_and_changes_nothing(cluster, registry):
    cluster.reconciler.reconcile()
    decisions.start(registry, 2, share=5, **BY)
    before, tag = len(cluster.patches), read_rollout(registry)
    planned = cluster.reconciler.reconcile(dry_run=True).patches
    assert planned
    assert (len(cluster.patches), read_rollout(registry)) == (before, tag)
    applied = cluster.reconciler.reconcile().patches
    assert [p.command for p in applied[: len(planned)]] == [p.command for p in planned]
    sent = [list(p.operations) for p in applied]
    assert [patch["body"] for patch in cluster.patches[before:]] == sent


def test_a_release_that_is_damaged_everywhere_gets_no_traffic(cluster, registry, tracking_uri):
    cluster.reconciler.reconcile()
    decisions.start(registry, 2, share=5, **BY)
    release = registry.get(2)
    with registry._files.opened(release.model_id) as folder:
        good = (folder / "items.parquet").read_bytes()
        (folder / "items.parquet").write_bytes(b"rotten")
    try:
        with pytest.raises(ContractError):
            cluster.reconciler.reconcile()
        assert served(cluster, registry) == {1: 100}
    finally:
        (folder / "items.parquet").write_bytes(good)
    cluster.reconciler.reconcile()
    assert served(cluster, registry) == {1: 95, 2: 5}


def test_a_damaged_copy_in_the_store_is_mended_before_traffic_comes(cluster, registry):
    cluster.reconciler.reconcile()
    release = registry.get(2)
    decisions.start(registry, 2, share=5, **BY)
    cluster.store.publish(registry.fetch(2, _folder(cluster)))
    rotten = _folder(cluster).parent / "store" / release.release_id / "items.parquet"
    rotten.write_bytes(b"rotten")
    cluster.reconciler.reconcile()
    cluster.store.verify(release.release_id)
    assert served(cluster, registry) == {1: 95, 2: 5}


def _folder(cluster):
    return Path(cluster.store.place).with_name("fetched")


def test_failing_and_slow_servers_only_delay_it(cluster, registry):
    cluster.fail_share, cluster.slow_seconds = 0.3, 0.01
    for version in (2, 3):
        decisions.start(registry, version, share=5, **BY)
        decisions.step(registry, 25, **BY)
        decisions.promote(registry, **BY)
        for _ in range(60):
            try:
                if cluster.reconciler.reconcile().waiting is None:
                    break
            except ResourceError:
                continue
        assert served(cluster, registry) == {version: 100}


def test_two_reconcilers_at_once_do_no_harm(cluster, registry):
    cluster.reconciler.reconcile()
    decisions.start(registry, 2, share=5, **BY)
    other = Reconciler(registry, cluster.store, Cluster(cluster.mode, NAMESPACE))
    threads = [threading.Thread(target=r.reconcile) for r in (cluster.reconciler, other)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert served(cluster, registry) == {1: 95, 2: 5}
    moments = cluster.controller.history[cluster.controller.history.index(cluster.controller.served) :]
    assert len(moments) == 1


def test_what_is_missing_is_named(registry, tmp_path, monkeypatch):
    with ApiServer([]) as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path)))
        store = ReleaseStore(str(tmp_path / "store"))
        with pytest.raises(NotReadyError, match="kubectl apply -k"):
            Reconciler(registry, store, Cluster("knative", NAMESPACE)).reconcile()
        assert "kubectl apply -k" in as_text(status(registry, store, Cluster("knative", NAMESPACE)))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nowhere"))
    with pytest.raises(ParameterError, match="no cluster is configured"):
        Cluster("knative", NAMESPACE)


def test_it_runs_until_it_is_told_to_stop(cluster, registry):
    stopping, seen = threading.Event(), []

    def report(outcome):
        seen.append(outcome)
        if len(seen) == 3:
            stopping.set()

    cluster.reconciler.run(0.01, stopping, report)
    assert len(seen) == 3
    assert not seen[-1].patches
    wanted = desired_of(registry, read_rollout(registry), cluster.store)
    assert cluster.target.plan(wanted).is_done


def test_the_commands_do_the_same(cluster, registry, tmp_path, monkeypatch, capsys, tracking_uri):
    monkeypatch.setattr(rollout_command, "_registry", lambda settings: registry)

    def command(*words):
        options = build_parser().parse_args(["rollout", *words, "--home", str(tmp_path)])
        assert rollout_command.run(options, rollout_command.read_settings(home=options.home)) == 0
        return capsys.readouterr().out

    place = ("--mode", cluster.mode, "--release-store", cluster.store.place)
    command("reconcile", *place)
    command("start", "2", "--share", "5")
    printed = command("reconcile", "--dry-run", *place)
    assert printed.splitlines()[1].startswith("kubectl patch ")
    assert served(cluster, registry) == {1: 100}
    assert command("reconcile", *place).startswith(printed.partition("# waiting")[0])
    command("step", "50")
    command("promote", "--why", "better")
    command("reconcile", *place)
    assert served(cluster, registry) == {2: 100}
    assert "version 2 against 1: done, 100 %" in command("status", *place)
    command("start", "3")
    command("rollback", "--why", "worse")
    assert "worse" in command("status", *place)
