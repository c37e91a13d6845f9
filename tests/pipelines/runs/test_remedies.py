"""Where remedies run: what a cluster is told, what is found again, and what an earlier run on this machine says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.shared.errors import InputError, NotReadyError, ParameterError
from pipelines.__main__ import main
from pipelines.runs.remedies import ClusterRuns, LocalRuns, Sources, latest_arguments
from pipelines.settings import Settings
from support.servers.kubeflow_server import kubeflow_server

NAME = "visual-search-reindexing-a-0123-1"


def earlier_run(home: Path, name: str, arguments: dict) -> None:
    folder = home / "runs" / name
    folder.mkdir(parents=True)
    (folder / "request.json").write_text(json.dumps({"pipeline": "training", "arguments": arguments}))


def test_sources_are_those_of_the_latest_run_unless_others_are_given(tmp_path: Path) -> None:
    earlier_run(tmp_path, "20260101-000000", {"images": "old/", "parameters": "{}"})
    known = {"images": "photos/", "judgements": "j.csv", "events": "e/", "parameters": '{"training": {"epochs": 3}}'}
    earlier_run(tmp_path, "20260102-000000", known)
    earlier_run(tmp_path, "20260103-000000", {"parameters": "{}"})  # the demonstration makes its own
    (tmp_path / "runs" / "20260104-000000").mkdir()
    earlier = latest_arguments(tmp_path)
    assert earlier == known
    assert Sources().arguments("training", earlier) == known
    given = Sources(images="s3://b/", assignments=["training.epochs=9"]).arguments("reindexing", earlier)
    assert given == {"images": "s3://b/", "judgements": "j.csv", "parameters": '{"training": {"epochs": 9}}'}
    with pytest.raises(ParameterError, match="--images"):
        Sources().arguments("training", latest_arguments(tmp_path / "nowhere"))
    with pytest.raises(ParameterError):
        Sources(images="x", assignments=["training.epoch=9"]).arguments("training", {})


def test_an_open_entry_of_this_machine_was_interrupted(tmp_path: Path) -> None:
    assert LocalRuns(Settings(home=tmp_path), Sources()).look("x", "").state == "interrupted"


@pytest.mark.filterwarnings("ignore")  # kfp's own
def test_a_cluster_run_is_submitted_once_looked_at_and_found_by_name() -> None:
    with kubeflow_server() as server:
        runs = ClusterRuns(Settings(kfp_host=server.url), Sources(images="s3://b/"), arguments={"cpu": "2"})
        assert runs.look(NAME, "").state == "interrupted"
        outcome = runs.submit("reindexing", NAME)
        assert (outcome.state, outcome.reference) == ("running", "run-1")
        assert server.runs["run-1"]["runtime_config"]["parameters"]["images"] == "s3://b/"
        for state, expected in (("RUNNING", "running"), ("SUCCEEDED", "succeeded"), ("CANCELED", "failed")):
            server.runs["run-1"]["state"] = state
            assert runs.look(NAME, "run-1").state == expected
            assert runs.look(NAME, "").state == expected
        assert runs.look(NAME, "run-9").state == "interrupted"


@pytest.mark.filterwarnings("ignore")  # kfp's own
def test_an_answer_that_is_lost_does_not_start_a_second_run() -> None:
    with kubeflow_server() as server:
        runs = ClusterRuns(Settings(kfp_host=server.url), Sources(images="s3://b/"))
        server.lose_answers = True
        outcome = runs.submit("reindexing", NAME)
        assert outcome.state == "running"
        assert outcome.reference in server.runs
        assert {run["display_name"] for run in server.runs.values()} == {NAME}


@pytest.mark.filterwarnings("ignore")  # kfp's own
def test_remedies_run_where_the_installation_starts_tasks_with_the_arguments_that_the_pipeline_has() -> None:
    with kubeflow_server(multi_user=True) as server, pytest.MonkeyPatch.context() as environment:
        environment.setenv("KF_PIPELINES_TOKEN", server.token)
        given = {"training_memory": "64Gi", "cpu": "2", "tracking_uri": "http://mlflow.visual-search:5000"}
        settings = Settings(kfp_host=server.url, kfp_namespace="visual-search", tracking_uri="http://mlflow:5000")
        runs = ClusterRuns(settings, Sources(images="s3://b/"), arguments=given)
        assert runs.submit("reindexing", "a").state == "running"
        assert runs.submit("training", "b").state == "running"
        first, second = (run["runtime_config"]["parameters"] for run in server.runs.values())
        assert "training_memory" not in first
        assert second["training_memory"] == "64Gi"
        assert first["tracking_uri"] == second["tracking_uri"] == "http://mlflow.visual-search:5000"
        assert {run["workflow_namespace"] for run in server.runs.values()} == {"visual-search"}
        assert runs.look("b", "").reference == "run-2"
        with pytest.raises(ParameterError, match="'memori' is unknown"):
            ClusterRuns(settings, Sources(images="s3://b/"), arguments={"memori": "1"}).submit("training", "c")


@pytest.mark.filterwarnings("ignore")  # kfp's own
def test_a_remedy_that_the_server_refuses_is_not_taken_for_lost() -> None:
    with kubeflow_server(multi_user=True) as server, pytest.MonkeyPatch.context() as environment:
        environment.setenv("KF_PIPELINES_TOKEN", server.token)
        runs = ClusterRuns(Settings(kfp_host=server.url), Sources(images="s3://b/"))
        with pytest.raises(ParameterError, match="VISUAL_SEARCH_KFP_NAMESPACE"):
            runs.submit("reindexing", NAME)
        runs = ClusterRuns(Settings(kfp_host=server.url, kfp_namespace="other"), Sources(images="s3://b/"))
        with pytest.raises(InputError, match="is not authorized"):
            runs.submit("reindexing", NAME)


def test_no_server_is_named() -> None:
    runs = ClusterRuns(Settings(kfp_host="http://127.0.0.1:9"), Sources(images="s3://b/"))
    with pytest.raises(NotReadyError, match="VISUAL_SEARCH_KFP_HOST"):
        runs.look(NAME, "")


def test_the_monitoring_pipeline_is_for_clusters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--images", str(tmp_path), "--home", str(tmp_path), "--pipeline", "monitoring"]) == 1
    assert "monitor run --act" in capsys.readouterr().err
