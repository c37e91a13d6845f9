"""One run of monitoring by its command lines, on a small real release and samples made of its own vectors."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import urllib.request
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.shared.files.tables import EVENTS, SERVICE_SCHEMA, write_table
from components.shared.release.generation import write_generation
from components.shared.release.manifest import read_manifest
from components.shared.release.served import open_in_force, publish_generation, publish_release
from monitoring.__main__ import main as monitoring
from monitoring.status.record import RecordStore
from pipelines.__main__ import main
from support.factories.basics import make_vectors
from support.factories.event_factory import START, make_events
from support.factories.generation_factory import make_items
from support.factories.sample_factory import embed_fresh, write_query_samples
from support.servers.serving_processes import make_local_release

ITEMS_COUNT, QUERIES = 35, 210
NOW = datetime.datetime.now(datetime.UTC)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_local_release(tmp_path_factory.mktemp("release"), items=ITEMS_COUNT, views=6)


@pytest.fixture(scope="module")
def fresh(release: Path) -> np.ndarray:
    """Embeddings of pictures of the catalogue's items as nobody has seen them."""
    return embed_fresh(release, QUERIES, ITEMS_COUNT)


@pytest.fixture
def write_samples(release: Path, fresh: np.ndarray):
    def write(folder: Path, **more) -> None:
        write_query_samples(folder, release, fresh, **more)

    return write


def write_events(folder: Path) -> Path:
    events = make_events(users=40, days=1)
    moved = [at - START + NOW - datetime.timedelta(days=2) for at in events["at"].to_pylist()]
    column = pa.array(moved, EVENTS.schema.field("at").type)
    write_table(folder / "events.parquet", events.set_column(events.schema.get_field_index("at"), "at", column), EVENTS)
    return folder / "events.parquet"


def test_alarm_by_both_command_lines(
    write_samples, release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    publish_release(home / "served", release)
    write_samples(home / "query-samples", moved=True)
    events = write_events(tmp_path)
    assert main(["monitor", "run", "--home", str(home), "--events", str(events), "--json"]) == 4
    told = json.loads(capsys.readouterr().out)
    assert told["state"] == "alarm"
    assert told["action"] is None
    record = RecordStore(home / "monitoring" / "champion").latest()
    assert told["record"] == record.model_dump(mode="json")
    assert {row.label for row in record.online["arm"]} == {"champion", "challenger"}
    champion = next(row for row in record.online["arm"] if row.label == "champion")
    assert champion.zero_result_rate == pytest.approx(0.1)
    folder = tmp_path / "monitoring"
    words = ["run", "--release", str(release), "--samples", str(home / "query-samples"), "--folder", str(folder)]
    assert monitoring(words) == 4
    printed = capsys.readouterr().out
    assert "✘ mean_difference" in printed
    assert "(--events)" in RecordStore(folder / "champion").latest().online_note
    again = RecordStore(folder / "champion").latest().report
    assert [(c.name, c.state) for c in again.concerns] == [(c.name, c.state) for c in record.report.concerns]


def test_zero_results_are_those_that_the_servers_counted(write_samples, release: Path, tmp_path: Path) -> None:
    write_samples(tmp_path / "samples")
    counts = [
        {"at": NOW - datetime.timedelta(minutes=10), "arm": "champion", "requests": 400.0, "errors": 0.0, "slow": 0.0,
         "zero_results": 100.0},
        {"at": NOW - datetime.timedelta(days=30), "arm": "champion", "requests": 400.0, "errors": 0.0, "slow": 0.0,
         "zero_results": 400.0},
    ]  # fmt: skip
    (tmp_path / "counts").mkdir()
    pq.write_table(pa.Table.from_pylist(counts, SERVICE_SCHEMA), tmp_path / "counts" / "a.parquet")
    words = ["--release", str(release), "--samples", str(tmp_path / "samples"), "--folder", str(tmp_path / "m")]
    words += ["--events", str(write_events(tmp_path)), "--service-counts", str(tmp_path / "counts")]
    assert monitoring(["run", *words]) == 0
    online = RecordStore(tmp_path / "m" / "champion").latest().online
    rates = {row.label: row.zero_result_rate for row in online["arm"]}
    assert rates["champion"] == pytest.approx(0.25)  # of the samples it would be 0.1


def test_evidentlys_workspace(write_samples, release: Path, tmp_path: Path) -> None:
    write_samples(tmp_path / "samples", moved=True)
    words = ["run", "--release", str(release), "--samples", str(tmp_path / "samples"), "--folder", str(tmp_path / "m")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Evidently's own
        assert monitoring([*words, "--evidently", str(tmp_path / "pages")]) == 4
        assert monitoring([*words, "--evidently", str(tmp_path / "pages")]) == 4
        from evidently.ui.workspace import Workspace

        workspace = Workspace.create(str(tmp_path / "pages"))
        (project,) = workspace.list_projects()
        first, second = (workspace.get_run(project.id, run) for run in workspace.list_runs(project.id))
    assert project.name == "visual-search champion"
    manifest = read_manifest(release)
    for snapshot in (first, second):
        assert snapshot.metadata["release_id"] == manifest.release_id
        counters = snapshot.tests_widgets[0].params["counters"]
        assert {counter["label"]: counter["value"] for counter in counters}["FAIL"] == "5"  # all of the embeddings'


def test_report_and_the_copy_of_the_page(
    write_samples, release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    assert main(["monitor", "report", "--home", str(home)]) == 1
    assert "monitor run" in capsys.readouterr().err
    write_samples(tmp_path)
    words = ["--release", str(release), "--samples", str(tmp_path), "--home", str(home)]
    assert main(["monitor", "run", *words]) == 0
    capsys.readouterr()
    assert main(["monitor", "report", "--home", str(home), "--output", str(tmp_path / "page.html")]) == 0
    assert "✔ mean_difference" in capsys.readouterr().out
    page = (tmp_path / "page.html").read_text()
    assert page == (home / "monitoring" / "champion" / "status.html").read_text()
    assert main(["monitor", "report", "--home", str(home), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "ok"


def test_without_queries_nothing_is_said(
    write_samples, release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_samples(tmp_path / "samples", hours=30)
    words = ["run", "--release", str(release), "--samples", str(tmp_path / "samples"), "--folder", str(tmp_path / "m")]
    assert monitoring(words) == 5
    record = RecordStore(tmp_path / "m" / "champion").latest()
    assert record.report.window == 0
    assert all(c.state == "unknown" for c in record.report.concerns if c.topic == "drift")
    assert monitoring([*words, "--hours", "48"]) == 0
    assert RecordStore(tmp_path / "m" / "champion").latest().report.window == QUERIES


def test_only_the_arms_own_queries_count(write_samples, release: Path, tmp_path: Path) -> None:
    write_samples(tmp_path / "samples")
    write_samples(tmp_path / "samples", arm="challenger", moved=True)
    words = ["run", "--release", str(release), "--samples", str(tmp_path / "samples"), "--folder", str(tmp_path / "m")]
    assert monitoring(words) == 0
    assert monitoring([*words, "--arm", "challenger"]) == 4


def test_what_cannot_be_used_is_an_error_and_leaves_the_record(
    write_samples, release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_samples(tmp_path / "samples")
    words = ["run", "--samples", str(tmp_path / "samples"), "--folder", str(tmp_path / "m"), "--release"]
    assert monitoring([*words, str(release)]) == 0
    before = (tmp_path / "m" / "champion" / "latest.json").read_bytes()
    assert monitoring([*words, str(tmp_path / "nowhere")]) == 1
    (tmp_path / "samples" / "broken.parquet").write_bytes(b"PAR1 and no more")
    assert monitoring([*words, str(release)]) == 1
    assert "broken.parquet" in capsys.readouterr().err
    assert (tmp_path / "m" / "champion" / "latest.json").read_bytes() == before
    (tmp_path / "samples" / "broken.parquet").unlink()
    assert monitoring([*words, str(release), "--events", str(tmp_path / "none.parquet")]) == 0  # drift is seen without
    assert "cannot be read" in RecordStore(tmp_path / "m" / "champion").latest().online_note
    with pytest.raises(SystemExit):
        monitoring(["run"])


def test_a_served_root_is_opened_with_its_generations(write_samples, release: Path, tmp_path: Path) -> None:
    manifest = read_manifest(release)
    vectors = make_vectors(2, manifest.encoder.dimension)
    gone = open_in_force(release).items["image_id"][0].as_py()
    write_generation(
        tmp_path / "generation", release_id=manifest.release_id, space_id=manifest.space_id, number=1, parent=None,
        items=make_items(["new-1", "new-2"]), vectors=vectors, removed=[gone],
    )  # fmt: skip
    publish_release(tmp_path / "served", release)
    publish_generation(tmp_path / "served", tmp_path / "generation")
    served = open_in_force(tmp_path / "served")
    ids = set(served.items["image_id"].to_pylist())
    assert {"new-1", "new-2"} <= ids
    assert gone not in ids
    assert served.release_items.num_rows == 210
    assert len(ids) == 211
    write_samples(tmp_path / "samples")
    folder = tmp_path / "m"
    words = [
        "run",
        "--samples",
        str(tmp_path / "samples"),
        "--folder",
        str(folder),
        "--release",
        str(tmp_path / "served"),
    ]
    assert monitoring(words) == 0
    facts = RecordStore(folder / "champion").latest().release
    assert (facts.images, facts.generations) == (211, 1)


def test_serve_shows_what_is_written_later(write_samples, release: Path, tmp_path: Path) -> None:
    words = [
        sys.executable,
        "-m",
        "monitoring",
        "serve",
        "--folder",
        str(tmp_path / "m"),
        "--port",
        "0",
        "--seconds",
        "60",
    ]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().split()[1]
            write_samples(tmp_path / "samples")
            run = [
                "run",
                "--release",
                str(release),
                "--samples",
                str(tmp_path / "samples"),
                "--folder",
                str(tmp_path / "m"),
            ]
            assert b"There is no record yet" in urllib.request.urlopen(url, timeout=20).read()
            assert monitoring(run) == 0
            assert b"Search is healthy" in urllib.request.urlopen(url, timeout=20).read()
            gauges = urllib.request.urlopen(url + "metrics", timeout=20).read()
            assert b'visual_search_monitoring_state{arm="champion"' in gauges
        finally:
            process.terminate()
