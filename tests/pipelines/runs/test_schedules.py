"""A schedule is one thing with a name: made, changed, listed, removed; its runs are left alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipelines.__main__ import main
from support.servers.kubeflow_server import KubeflowServer, kubeflow_server

pytestmark = pytest.mark.filterwarnings("ignore")  # kfp's own
DAILY = ["schedule", "demonstration", "--cron", "0 0 3 * * *"]


@pytest.fixture(params=["single-user", "multi-user"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubeflowServer]:
    with kubeflow_server(multi_user=request.param == "multi-user") as state:
        monkeypatch.setenv("VISUAL_SEARCH_KFP_HOST", state.url)
        if state.multi_user:
            monkeypatch.setenv("VISUAL_SEARCH_KFP_NAMESPACE", "visual-search")
            monkeypatch.setenv("KF_PIPELINES_TOKEN", state.token)
        yield state


def crons(server: KubeflowServer) -> list[tuple[str, str]]:
    return sorted((one["display_name"], one["trigger"]["cron_schedule"]["cron"]) for one in server.schedules.values())


def test_the_same_command_again_leaves_one_schedule_and_its_running_run(
    server: KubeflowServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(DAILY) == 0
    (first,) = server.schedules
    server.runs["started"] = {"run_id": "started", "recurring_run_id": first, "workflow_namespace": "x"}
    assert main([*DAILY[:3], "0 0 4 * * *"]) == 0
    assert crons(server) == [("visual-search-demonstration", "0 0 4 * * *")]
    assert "started" in server.runs  # it belongs to the first schedule, and Kubernetes would delete it too
    assert f"replaces {first}" in capsys.readouterr().out


def test_schedules_made_twice_before_are_reduced_to_one(server: KubeflowServer) -> None:
    assert main(DAILY) == 0
    (first,) = server.schedules.values()
    for number in range(150):  # more than a page
        server.schedules[f"old-{number}"] = first | {"recurring_run_id": f"old-{number}"}
    assert main(DAILY) == 0
    assert crons(server) == [("visual-search-demonstration", "0 0 3 * * *")]


def test_a_refused_change_leaves_the_schedule_as_it_was(server: KubeflowServer) -> None:
    assert main(DAILY) == 0
    assert main([*DAILY[:3], "0 99 3 * * *"]) == 1
    assert crons(server) == [("visual-search-demonstration", "0 0 3 * * *")]


def test_two_names_are_two_schedules_that_are_listed_and_removed(
    server: KubeflowServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schedule", "--list"]) == 0
    assert "there is no schedule" in capsys.readouterr().out
    assert main(DAILY) == 0
    assert main([*DAILY[:3], "0 0 5 * * 1", "--name", "weekly"]) == 0
    capsys.readouterr()
    assert main(["schedule", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines] == ["visual-search-demonstration", "weekly"]
    assert "0 0 5 * * 1" in lines[1]
    assert main(["schedule", "--remove", "--name", "weekly"]) == 0
    assert main(["schedule", "demonstration", "--remove"]) == 0
    assert not server.schedules
    capsys.readouterr()
    assert main(["schedule", "demonstration", "--remove"]) == 1
    assert "no schedule named visual-search-demonstration" in capsys.readouterr().err


def test_a_schedule_that_could_not_be_replaced_is_told(
    server: KubeflowServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(DAILY) == 0
    from pipelines.runs.kfp_client import Client

    delete = Client.delete_schedule

    def refused(self: Client, schedule_id: str) -> None:
        server.failures = [(503, b"")]
        delete(self, schedule_id)

    monkeypatch.setattr(Client, "delete_schedule", refused)
    assert main(DAILY) == 1
    assert "repeat the command" in capsys.readouterr().err
    monkeypatch.undo()


@pytest.mark.parametrize("words", [[], ["--list", "--remove"], ["demonstration", "--cron", "0 0 3 * * *", "--list"]])
def test_a_wrong_call_is_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["schedule", *words])
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("words", "said"), [(["--cron", "0 0 3 * * *"], "give the pipeline"), (["--remove"], "--name")]
)
def test_a_schedule_without_a_pipeline_is_refused(
    words: list[str], said: str, server: KubeflowServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schedule", *words]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("cron", ["0 3 * * *", "0 0 3 * * * *"])
def test_cron_of_another_number_of_fields_is_refused_before_anything_is_sent(
    cron: str, server: KubeflowServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*DAILY[:3], cron]) == 1
    assert "six fields" in capsys.readouterr().err
    assert not server.requests
