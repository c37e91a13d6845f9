"""Runs on Kubeflow Pipelines of both kinds: where their tasks run, what is refused, and with which sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines.__main__ import PIPELINE_NAMES, main
from support.servers.kubeflow_server import KubeflowServer, kubeflow_server

pytestmark = pytest.mark.filterwarnings("ignore")  # kfp's own
NEEDED = {
    "training": [],
    "reindexing": [],
    "demonstration": [],
    "monitoring": ["--argument", "samples=/workspace/query-samples", "--argument", "hours=12"],
}


@contextmanager
def server_of_kind(kind: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubeflowServer]:
    """Start a server, and set the environment as the manifests set it in the pods that start runs."""
    with kubeflow_server(multi_user=kind == "multi-user") as server:
        monkeypatch.setenv("VISUAL_SEARCH_KFP_HOST", server.url)
        if server.multi_user:
            monkeypatch.setenv("VISUAL_SEARCH_KFP_NAMESPACE", "visual-search")
            monkeypatch.setenv("KF_PIPELINES_TOKEN", server.token)
        yield server


def sources(pipeline: str) -> list[str]:
    return [] if pipeline == "demonstration" else ["--images", "s3://bucket/photos/"]


@pytest.mark.parametrize("kind", ["single-user", "multi-user"])
@pytest.mark.parametrize("pipeline", PIPELINE_NAMES)
def test_each_pipeline_is_submitted_and_scheduled_with_arguments_of_their_types(
    pipeline: str, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with server_of_kind(kind, monkeypatch) as server:
        rest = [*sources(pipeline), *NEEDED[pipeline], "--argument", "memory=64Gi", "--set", "indexing.seed=7"]
        assert main(["submit", pipeline, *rest]) == 0
        assert main(["schedule", pipeline, *rest, "--cron", "0 0 3 * * *"]) == 0
        printed = capsys.readouterr().out
    place = "visual-search" if kind == "multi-user" else "kubeflow"
    (run,), (schedule,) = server.runs.values(), server.schedules.values()
    for made in (run, schedule):
        given = made["runtime_config"]["parameters"]
        assert made["workflow_namespace"] == place
        assert given["memory"] == "64Gi"
        assert json.loads(given["parameters"])["indexing"]["seed"] == 7
        assert given.get("hours", 12.0) == 12.0
        assert not isinstance(given.get("hours"), str)
    assert schedule["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * *"
    assert str(schedule["max_concurrency"]) == "1"
    assert schedule["no_catchup"] is True
    where = "the namespace visual-search" if kind == "multi-user" else "the server's own namespace"
    assert printed.count(f"its tasks run in {where} and mount the volume claim visual-search-workspace") == 2


def test_submit_sends_the_compiled_pipeline_with_its_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    with server_of_kind("single-user", monkeypatch) as server:
        server.states = ["SUCCEEDED"]
        code = main(
            ["submit", "training", "--images", "s3://bucket/photos/", "--set", "training.epochs=7", "--seed", "5",
             "--argument", "training_memory=64Gi", "--argument", "accelerator_count=2", "--service-account", "sa", "--wait"]
        )  # fmt: skip
    assert code == 0
    (body,) = server.runs.values()
    given = body["runtime_config"]["parameters"]
    assert given["images"] == "s3://bucket/photos/"
    assert (given["training_memory"], given["accelerator_count"]) == ("64Gi", "2")
    parameters = json.loads(given["parameters"])
    assert (parameters["training"]["epochs"], parameters["training"]["seed"]) == (7, 5)
    assert body["service_account"] == "sa"
    spec = body["pipeline_spec"]
    spec = spec.get("pipeline_spec", spec)
    assert set(spec["deploymentSpec"]["executors"]) >= {"exec-training", "exec-registration"}


@pytest.mark.parametrize("command", [["submit"], ["schedule", "--cron", "0 0 3 * * *"]])
def test_multi_user_without_a_namespace_is_told_to_give_one(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with server_of_kind("multi-user", monkeypatch) as server:
        monkeypatch.delenv("VISUAL_SEARCH_KFP_NAMESPACE")
        assert main([command[0], "demonstration", *command[1:]]) == 1
        said = capsys.readouterr().err
        assert "multi-user" in said
        assert "--namespace" in said
        assert "no Kubeflow Pipelines server answers" not in said
        assert main([command[0], "demonstration", *command[1:], "--namespace", "visual-search"]) == 0
    assert {made["workflow_namespace"] for made in (server.runs | server.schedules).values()} == {"visual-search"}


@pytest.mark.parametrize("command", [["submit"], ["schedule", "--cron", "0 0 3 * * *"]])
def test_a_namespace_that_a_single_user_server_would_ignore_is_refused(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with server_of_kind("single-user", monkeypatch) as server:
        assert main([command[0], "demonstration", *command[1:], "--namespace", "visual-search"]) == 1
    assert "would have no effect" in capsys.readouterr().err
    assert not server.runs
    assert not server.schedules


@pytest.mark.parametrize("namespace", ["", "kubeflow"])
def test_the_server_of_the_kube_configuration_is_found_in_its_namespace_whatever_that_of_the_tasks(
    namespace: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with kubeflow_server() as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path)))
        monkeypatch.setattr(
            "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig.json")
        )
        command = ["submit", "demonstration", "--namespace", namespace]
        assert main(command) == 1  # the claim does not exist: tasks would wait for it forever
        said = capsys.readouterr().err
        assert "PersistentVolumeClaim/visual-search-workspace" in said
        assert "does not exist in kubeflow" in said
        assert not server.runs
        server.claims = {("visual-search", "visual-search-workspace"), ("kubeflow", "mine")}
        assert main(command) == 1
        capsys.readouterr()
        assert main([*command, "--argument", "workspace_volume=mine"]) == 0
        printed = capsys.readouterr()
        assert "Secret/visual-search-credentials" in printed.err
        assert "its tasks run in the namespace kubeflow and mount the volume claim mine" in printed.out
        server.claims = {("kubeflow", "visual-search-workspace")}
        server.secrets = {("kubeflow", "visual-search-credentials")}
        assert main(command) == 0
        assert "Secret" not in capsys.readouterr().err


def test_no_namespace_of_the_tasks_moves_the_address_of_the_server(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with kubeflow_server(multi_user=True) as server:
        monkeypatch.setattr(
            "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(server.kubeconfig(tmp_path))
        )
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig.json"))
        monkeypatch.setenv("VISUAL_SEARCH_KFP_NAMESPACE", "visual-search")
        main(["submit", "demonstration"])
        used = {path for path in server.requests if "proxy" in path}
    assert used
    assert all("/namespaces/kubeflow/services/ml-pipeline" in path for path in used)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"token": "another"}, ["User identity is empty", "HTTP 401", "KF_PIPELINES_TOKEN"]),
        ({"allowed": set()}, ["is not authorized", "HTTP 403", "kubeflow-pipelines-edit"]),
        ({"failures": [(500, b'{"code": 13, "message": "Failed: disk is full", "details": []}')]}, ["disk is full"]),
        ({"failures": [(502, b"<html>Bad\ngateway</html>")]}, ["HTTP 502", "try again"]),
        ({"failures": [(200, b"<html>Log in</html>")]}, ["login page", "KF_PIPELINES_TOKEN"]),
    ],
)
def test_each_refusal_is_the_servers_sentence(
    change: dict, expected: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with server_of_kind("multi-user", monkeypatch) as server:
        for name, value in change.items():
            setattr(server, name, value)
        assert main(["submit", "demonstration"]) == 1
        said = capsys.readouterr().err
        for words in expected:
            assert words in said
        assert "Traceback" not in said
        assert "no Kubeflow Pipelines server answers" not in said


def test_a_refused_schedule_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with server_of_kind("single-user", monkeypatch) as server:
        assert main(["schedule", "demonstration", "--cron", "0 99 3 * * *"]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("visual-search: ")
    assert "Schedule cron is not a supported format" in said
    assert "Failed to create" not in said  # the chain of causes is for the server's log
    assert not server.schedules


def test_no_server_is_one_clear_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", "demonstration", "--host", "http://127.0.0.1:9"]) == 1
    said = capsys.readouterr().err
    assert "no Kubeflow Pipelines server answers at http://127.0.0.1:9" in said
    assert "VISUAL_SEARCH_KFP_HOST" in said


@pytest.mark.parametrize("command", [["submit"], ["schedule", "--cron", "0 0 3 * * *"]])
def test_arguments_are_checked_before_anything_is_sent(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with server_of_kind("single-user", monkeypatch) as server:
        code = main(
            [
                command[0],
                "monitoring",
                *command[1:],
                "--images",
                "s3://b/",
                "--argument",
                "nope=1",
                "--argument",
                "hours=soon",
            ]
        )
        assert code == 1
        assert not server.requests
    said = capsys.readouterr().err
    assert "'nope' is unknown" in said
    assert "'samples' is missing" in said
    assert "'hours' has to be a number, got 'soon'" in said
    assert "cool_down_hours (a number, default 24" in said


def test_submit_without_images_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", "training"]) == 1
    assert "--images" in capsys.readouterr().err
