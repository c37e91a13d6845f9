"""The server is examined before a run: which kind it is, and whether volume and Secret are where its tasks run."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.runs.installation import describe_installation, own_namespace
from pipelines.runs.task_resources import cluster_lookup, examine_kubeflow, missing_resources
from pipelines.settings import Settings
from support.servers.kubeflow_server import kubeflow_server

pytestmark = pytest.mark.filterwarnings("ignore")  # kfp's own
CLAIM, SECRET = "PersistentVolumeClaim/visual-search-workspace", "Secret/visual-search-credentials"


@pytest.mark.parametrize(
    ("address", "namespace"),
    [
        ("http://ml-pipeline.kubeflow:8888", "kubeflow"),
        ("http://ml-pipeline.kubeflow.svc:8888", "kubeflow"),
        ("https://ml-pipeline.pipelines.svc.cluster.local:8888", "pipelines"),
        ("https://10.0.0.1:6443/api/v1/namespaces/kubeflow/services/ml-pipeline:http/proxy", "kubeflow"),
        ("http://127.0.0.1:8888", ""),
        ("http://[::1]:8888", ""),
        ("http://localhost:8888", ""),
        ("https://kubeflow.example.com/pipeline", ""),
    ],
)
def test_the_servers_own_namespace_is_read_from_its_address(address: str, namespace: str) -> None:
    assert own_namespace(address) == namespace


@pytest.mark.parametrize("wanted", ["", "kubeflow"])
def test_a_single_user_server_accepts_its_own_namespace(wanted: str) -> None:
    installation = describe_installation(
        "http://ml-pipeline.kubeflow:8888", multi_user=False, pipeline_store="kubernetes", wanted=wanted
    )
    assert installation.namespace == ""
    assert installation.tasks_namespace == "kubeflow"
    assert installation.kind == "single-user, pipelines as Kubernetes resources"


def test_a_multi_user_server_takes_the_namespace_of_the_pod_if_none_is_given() -> None:
    installation = describe_installation("http://x", multi_user=True, pipeline_store=None, wanted="", account="team")
    assert (installation.namespace, installation.tasks_namespace, installation.kind) == ("team", "team", "multi-user")


def test_volume_and_secret_have_to_be_where_tasks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with kubeflow_server(multi_user=True) as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path)))
        monkeypatch.setenv("KF_PIPELINES_TOKEN", server.token)
        settings = Settings(kfp_host=server.url, kfp_namespace="visual-search")
        server.claims = {("kubeflow", "visual-search-workspace")}
        report = examine_kubeflow(settings, cluster_lookup())
        assert "multi-user, pipelines in its database; tasks run in the namespace visual-search" in report.summary
        assert [finding.thing for finding in report.findings] == [CLAIM, SECRET]
        assert all("does not exist in visual-search" in finding.sentence for finding in report.findings)
        server.secrets = {("visual-search", "visual-search-credentials")}
        server.claims = {("visual-search", "big")}
        assert [finding.thing for finding in examine_kubeflow(settings, cluster_lookup()).findings] == [CLAIM]
        assert examine_kubeflow(settings, cluster_lookup(), volume="big").findings == []


def test_a_single_user_server_finds_nothing_in_another_namespace() -> None:
    installation = describe_installation(
        "http://ml-pipeline.kubeflow:8888", multi_user=False, pipeline_store="database", wanted=""
    )
    applied = {("PersistentVolumeClaim", "visual-search"), ("Secret", "visual-search")}  # as our overlays do it
    found = missing_resources(installation, lambda kind, namespace, name: (kind, namespace) in applied)
    assert [finding.thing for finding in found] == [CLAIM, SECRET]
    assert all("does not exist in kubeflow" in finding.sentence for finding in found)


def test_nothing_is_claimed_where_nothing_can_be_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = describe_installation("https://pipelines.example.com", multi_user=False, pipeline_store=None, wanted="")
    assert missing_resources(elsewhere, lambda kind, namespace, name: False) == []
    known = describe_installation("http://x", multi_user=True, pipeline_store=None, wanted="a")
    assert missing_resources(known, lambda kind, namespace, name: None) == []
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert cluster_lookup()("Secret", "a", "b") is None
    with kubeflow_server() as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path)))
        server.failures = [(403, b"{}")]
        assert cluster_lookup()("Secret", "a", "b") is None
        assert cluster_lookup()("Secret", "a", "b") is False


def test_a_server_that_does_not_answer_or_fit_is_a_finding() -> None:
    report = examine_kubeflow(Settings(kfp_host="http://127.0.0.1:9"), lambda kind, namespace, name: True)
    assert report.summary == ""
    assert "no Kubeflow Pipelines server answers" in report.findings[0].sentence
    with kubeflow_server() as server:
        settings = Settings(kfp_host=server.url, kfp_namespace="visual-search")
        report = examine_kubeflow(settings, lambda kind, namespace, name: True)
    assert "would have no effect" in report.findings[0].sentence
