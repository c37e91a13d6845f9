"""What the client says to a Kubeflow Pipelines API, recorded by a real HTTP server on loopback."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from components.shared.errors import NotReadyError, ParameterError
from pipelines.__main__ import main
from pipelines.runs.cluster import connect, schedule_runs
from pipelines.settings import Settings

EXPERIMENT = {"experiment_id": "e-1", "display_name": "visual-search"}


class Api(BaseHTTPRequestHandler):
    """Knows the few routes of /apis/v2beta1 that submitting and scheduling use."""

    posted: list[tuple[str, dict]]

    def do_GET(self) -> None:
        if self.path.startswith("/apis/v2beta1/healthz"):
            self.answer({"multi_user": False})
        elif self.path.startswith("/apis/v2beta1/experiments"):
            self.answer({"experiments": [EXPERIMENT], "total_size": 1})
        elif self.path.startswith("/apis/v2beta1/runs/"):
            self.answer({"run_id": "r-1", "state": "SUCCEEDED"})
        else:
            self.answer({}, 404)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.posted.append((self.path.partition("?")[0], body))
        if self.path.startswith("/apis/v2beta1/runs"):
            self.answer({"run_id": "r-1", "display_name": body["display_name"]})
        elif self.path.startswith("/apis/v2beta1/recurringruns"):
            self.answer({"recurring_run_id": "rr-1"})
        else:
            self.answer(EXPERIMENT)

    def answer(self, body: dict, status: int = 200) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Api]]:
    Api.posted = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("VISUAL_SEARCH_KFP_HOST", f"http://127.0.0.1:{server.server_port}")
    yield Api
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.filterwarnings("ignore")  # kfp's own
def test_submit_sends_the_compiled_pipeline_with_its_parameters(
    api: type[Api], capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(
        ["submit", "training", "--images", "s3://bucket/photos/", "--set", "training.epochs=7", "--seed", "5",
         "--argument", "training_memory=64Gi", "--argument", "accelerator_count=2", "--wait"]
    )  # fmt: skip
    assert code == 0
    assert "run r-1 started" in capsys.readouterr().out
    body = dict(api.posted)["/apis/v2beta1/runs"]
    given = body["runtime_config"]["parameters"]
    assert given["images"] == "s3://bucket/photos/"
    assert given["training_memory"] == "64Gi"
    assert given["accelerator_count"] == "2"
    parameters = json.loads(given["parameters"])
    assert parameters["training"]["epochs"] == 7
    assert parameters["training"]["seed"] == 5
    spec = body["pipeline_spec"]
    spec = spec.get("pipeline_spec", spec)
    assert set(spec["deploymentSpec"]["executors"]) >= {"exec-training", "exec-registration"}


@pytest.mark.filterwarnings("ignore")
def test_schedule_makes_a_recurring_run_that_never_overlaps(api: type[Api]) -> None:
    code = main(["schedule", "reindexing", "--images", "s3://bucket/photos/", "--cron", "0 0 3 * * *"])
    assert code == 0
    body = dict(api.posted)["/apis/v2beta1/recurringruns"]
    assert body["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * *"
    assert str(body["max_concurrency"]) == "1"
    assert body["no_catchup"] is True


def test_cron_of_five_fields_is_refused(tmp_path) -> None:
    with pytest.raises(ParameterError, match="six fields"):
        schedule_runs(None, tmp_path, {}, name="x", cron="0 3 * * *")


@pytest.mark.filterwarnings("ignore")
def test_no_server_is_one_clear_sentence() -> None:
    with pytest.raises(NotReadyError, match="VISUAL_SEARCH_KFP_HOST"):
        connect(Settings(kfp_host="http://127.0.0.1:9"))


def test_submit_without_images_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", "training"]) == 1
    assert "--images" in capsys.readouterr().err
