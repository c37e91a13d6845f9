"""Alert rules and dashboard: their arithmetic by promtool, their metrics and queries by real servers and a real Prometheus."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from monitoring.findings import REMEDIES
from monitoring.remedies.advice import ADVICE
from monitoring.remedies.ledger import Entry, Ledger
from monitoring.status.record import RecordStore
from monitoring.status.server import StatusServer
from pipelines.__main__ import build_parser
from pipelines.commands.serving_processes import free_port
from serving.client import SearchClient
from support.factories.monitoring_factory import AT, make_record, make_report
from support.servers.serving_processes import make_local_release, pictures_of, serving

ROOT = Path(__file__).parents[3]
ALERTS, DASHBOARD = ROOT / "monitoring/alerts.yaml", ROOT / "monitoring/dashboard.json"
NAME = re.compile(r"\bvisual_search_[a-z0-9_]+")
SUFFIX = re.compile(r"_(?:bucket|sum|count|total)$")


def rules() -> list[dict]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def panels() -> list[dict]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def queries() -> list[tuple[str, str]]:
    """Return (title, query) of the dashboard, its variables as Grafana would put them in."""
    found = [(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]
    return [(title, q.replace("$arm", ".*").replace("$__rate_interval", "5s")) for title, q in found]


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="no promtool on this machine (Debian's package prometheus)"
)
def test_rules_alarm_when_they_should_and_only_then(tmp_path: Path) -> None:
    subprocess.run(["promtool", "check", "rules", str(ALERTS)], check=True, capture_output=True)
    tests = Path(__file__).with_name("alerts_test.yaml").read_text()
    (tmp_path / "test.yaml").write_text(tests.replace("RULES", str(ALERTS)))
    done = subprocess.run(["promtool", "test", "rules", str(tmp_path / "test.yaml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    tested = {
        case["alertname"]
        for test in yaml.safe_load(tests)["tests"]
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    assert tested == {rule["alert"] for rule in rules()}  # each was seen to alarm


def test_every_alert_says_what_to_do() -> None:
    parser = build_parser()
    for rule in rules():
        command, runbook = rule["annotations"]["command"], rule["annotations"]["runbook"]
        assert rule["labels"]["severity"] in {"page", "ticket"}
        if command.startswith("visual-search "):  # `parse_args` exits at a command that there is not
            parser.parse_args(command.split()[1:])
        page, section, entry = re.fullmatch(r"([\w./]+\.md), ([^:]+): (.+)", runbook).groups()
        runbooks = (ROOT / page).read_text()
        assert re.search(rf"^#+ {re.escape(section)}$", runbooks, re.MULTILINE), section
        part = runbooks.partition(section)[2]
        assert re.search(rf"^\| *{re.escape(entry)} *\|", part, re.MULTILINE | re.IGNORECASE), entry
    remedies = " ".join(rule["expr"] for rule in rules())
    assert all(remedy in remedies for remedy in REMEDIES if remedy != "nothing")
    for advice in ADVICE.values():
        if advice.command:
            parser.parse_args(advice.command.replace('"', "").split()[1:])


def test_dashboard_is_well_formed() -> None:
    board = json.loads(DASHBOARD.read_text())
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in panels())


@contextmanager
def status_server(folder: Path) -> Iterator[StatusServer]:
    with StatusServer(folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return answer.read()


@contextmanager
def prometheus(folder: Path, targets: list[str]) -> Iterator[str]:
    """Start a Prometheus on loopback that scrapes the targets every second and evaluates the alert rules."""
    folder.mkdir()
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": [{"job_name": "visual-search", "static_configs": [{"targets": targets}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    url = f"http://127.0.0.1:{free_port('127.0.0.1')}"
    words = [
        "prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={url.removeprefix('http://')}", "--log.level=error",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log, subprocess.Popen(words, stdout=log, stderr=log, cwd=folder) as process:
        try:
            wait_for(lambda: get(url + "/-/ready"), "Prometheus is not ready")
            yield url
        finally:
            process.terminate()


def wait_for(ask, message: str, seconds: float = 90):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.URLError, OSError):
            if answer := ask():
                return answer
        time.sleep(0.2)
    raise AssertionError(message)


def fill(folder: Path) -> Path:
    record = make_record(make_report("alarm", remedy="retrain"))
    by_release = {
        "release_id": tuple(row.model_copy(update={"label": f"r-{row.label}"}) for row in record.online["arm"])
    }
    RecordStore(folder / "champion").add(record.model_copy(update={"online": {**record.online, **by_release}}))
    with Ledger(folder).alone():
        Ledger(folder).put(
            Entry(entry_id="a-1", remedy="retrain", pipeline="training", why="", release_id="r", arm="champion",
                  report_at=AT, started_at=AT, state="failed")
        )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[str], Path]]:
    """Addresses of a real transformer, encoder and exporter, with a picture to keep them busy."""
    root = tmp_path_factory.mktemp("scraped")
    release = make_local_release(root / "release", items=6, views=3)
    pictures = list(pictures_of(release).values())
    stop = threading.Event()

    def ask(url: str) -> None:
        with SearchClient(url) as client:
            while not stop.wait(0.1):
                for picture in pictures[:3]:
                    with contextlib.suppress(Exception):
                        client.search(picture, k=3)
                with contextlib.suppress(Exception):
                    client.search(b"no picture", k=3)

    with (
        serving(release, root / "serve", recall_share="1") as processes,
        status_server(fill(root / "monitoring")) as status,
    ):
        thread = threading.Thread(target=ask, args=(processes.url,))
        thread.start()
        try:
            hosts = [processes.url, f"http://127.0.0.1:{processes.encoder_http_port}", status.url]
            yield [host.removeprefix("http://") for host in hosts], root
        finally:
            stop.set()
            thread.join()


def test_every_metric_of_rules_and_dashboard_is_exported(scraped: tuple[list[str], Path]) -> None:
    targets, _ = scraped
    exported = set()
    for target in targets:
        text = get(f"http://{target}/metrics").decode()
        exported |= {SUFFIX.sub("", name) for name in re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)}
    wanted = {name for rule in rules() for name in NAME.findall(rule["expr"])}
    wanted |= {name for _, query in queries() for name in NAME.findall(query)}
    assert len(wanted) > 25
    assert {name for name in wanted if SUFFIX.sub("", name) not in exported} == set()


@pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="no prometheus on this machine (Debian's package of that name)"
)
def test_every_panel_shows_something_and_alarms_reach_prometheus(scraped: tuple[list[str], Path]) -> None:
    targets, root = scraped
    with prometheus(root / "prometheus", targets) as url:

        def ask(query: str) -> list:
            answer = json.loads(get(f"{url}/api/v1/query?" + urllib.parse.urlencode({"query": query})))
            assert answer["status"] == "success", query
            return answer["data"]["result"]

        for title, query in queries():
            wait_for(lambda query=query: ask(query), f"the panel {title} shows nothing: {query}")
        for name, label in (("VisualSearchTrainAgain", {"cause": "new_items"}), ("VisualSearchRemedyFailed", {})):
            wanted = f'ALERTS{{alertname="{name}", alertstate="firing"}}'
            firing = wait_for(lambda wanted=wanted: ask(wanted), f"the alarm {name} does not fire")
            assert label.items() <= firing[0]["metric"].items()
        assert not ask('ALERTS{alertname="VisualSearchNotServing", alertstate="firing"}')
