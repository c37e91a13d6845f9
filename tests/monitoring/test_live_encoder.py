"""A real encoder process and judged queries: whether what runs is the release's, and whether it got worse."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pyarrow as pa
import pytest

from components.shared.defaults import MODEL_NAME
from components.shared.files.layout import ITEMS_FILE
from components.shared.files.tables import ITEMS, JUDGEMENTS, read_table, write_table
from monitoring.__main__ import main as monitoring
from monitoring.diagnosis.judged import right_answers
from monitoring.findings import Report
from monitoring.status.record import RecordStore
from pipelines.__main__ import main
from pipelines.commands.serving_processes import ServingProcesses
from support.servers.serving_processes import make_local_release, settings_for

ITEMS_COUNT, VIEWS = 12, 5
PROMISED = {"hit_rate_at_10": 0.95, "hit_rate_at_10_low": 0.93, "hit_rate_at_10_high": 0.97}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("release")
    return make_local_release(root, items=ITEMS_COUNT, views=VIEWS, metrics=PROMISED)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of another encoder, hence of another space."""
    return make_local_release(tmp_path_factory.mktemp("other"), items=4, views=3, seed=1)


@contextmanager
def live_encoder(release: Path, folder: Path) -> Iterator[str]:
    """Run the encoder's own process on a release; the address of its HTTP port."""
    processes = ServingProcesses(release, folder / "logs", settings_for(folder))
    processes.logs.mkdir(parents=True)
    processes.start_one("encoder")
    url = f"http://127.0.0.1:{processes.encoder_http_port}"
    try:
        deadline = time.monotonic() + 240
        while not _is_ready(url):
            processes.check()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield url
    finally:
        processes.stop(60)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v2/models/{MODEL_NAME}/ready", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def judgements(release: Path, *, shift: int = 0) -> pa.Table:
    """Say of every image that the views of its item (or of one `shift` items on) are right."""
    items = read_table(release / ITEMS_FILE, ITEMS).to_pylist()
    names = sorted({row["item_id"] for row in items})
    following = {name: names[(place + shift) % len(names)] for place, name in enumerate(names)}
    rows = [
        {"query_image_id": query["image_id"], "image_id": row["image_id"], "grade": 3, "judge": "j", "at": None}
        for query in items
        for row in items
        if row["item_id"] == following[query["item_id"]] and row["image_id"] != query["image_id"]
    ]
    return pa.Table.from_pylist(rows, JUDGEMENTS.schema)


def look(release: Path, folder: Path, judged: pa.Table, *words: str) -> Report:
    write_table(folder / "judgements.parquet", judged, JUDGEMENTS)
    told = ["--samples", str(folder / "none"), "--judgements", str(folder / "judgements.parquet")]
    monitoring(["run", "--release", str(release), "--folder", str(folder / "m"), *told, *words])
    return RecordStore(folder / "m" / "champion").latest().report


def states(report: Report) -> dict[str, str]:
    return {c.name: c.state for c in report.concerns if c.topic in {"encoder", "serving"}}


def causes(report: Report) -> list[tuple[str, str]]:
    return [(found.cause, found.remedy) for found in report.diagnoses]


def test_the_releases_own_encoder_is_live(release: Path, tmp_path: Path) -> None:
    with live_encoder(release, tmp_path / "encoder") as url:
        healthy = look(release, tmp_path, judgements(release), "--encoder-url", url, "--previous", str(release))
        assert states(healthy) == {"golden_vectors": "ok", "judged_hit_rate": "ok", "judged_against_previous": "ok"}
        assert "The live encoder" in healthy.concern("golden_vectors").sentence
        assert healthy.concern("judged_hit_rate").window == ITEMS_COUNT * VIEWS
        worse = look(release, tmp_path, judgements(release, shift=1), "--encoder-url", url)
        assert causes(worse) == [("encoder_worse", "retrain")]
    away = look(release, tmp_path, judgements(release), "--encoder-url", url)
    assert states(away) == {"golden_vectors": "unknown", "judged_hit_rate": "unknown"}
    assert url in away.concern("judged_hit_rate").sentence


def test_another_encoder_is_live(release: Path, other: Path, tmp_path: Path) -> None:
    with live_encoder(other, tmp_path / "encoder") as url:
        words = ["--encoder-url", url, "--previous", str(release)]
        found = look(release, tmp_path, judgements(release), *words)
    assert causes(found) == [("preprocessing_differs", "roll_back"), ("encoder_worse", "roll_back")]
    assert states(found)["judged_against_previous"] == "alarm"


def test_judgements_as_people_write_them(release: Path, tmp_path: Path) -> None:
    lines = ["query_image_id,image_id,grade"]
    lines += [f"{row['query_image_id']},{row['image_id']},3" for row in judgements(release, shift=1).to_pylist()]
    (tmp_path / "judgements.csv").write_text("\n".join(lines))
    home = tmp_path / "home"
    words = ["--release", str(release), "--judgements", str(tmp_path / "judgements.csv"), "--home", str(home)]
    assert main(["monitor", "run", *words, "--previous", str(release)]) == 4
    report = RecordStore(home / "monitoring" / "champion").latest().report
    assert causes(report) == [("encoder_worse", "retrain")]


def test_right_answers_are_those_of_the_mean_grade() -> None:
    rows = [("q", "a", 3), ("q", "a", 1), ("q", "b", 2), ("q", "b", 1), ("q", "q", 3), ("p", "a", 0)]
    table = pa.Table.from_pylist(
        [
            {"query_image_id": q, "image_id": i, "grade": g, "judge": str(n), "at": None}
            for n, (q, i, g) in enumerate(rows)
        ],
        JUDGEMENTS.schema,
    )
    assert right_answers(table) == {"q": frozenset({"a"})}
