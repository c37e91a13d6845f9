"""Serve, search, monitor, mend: real servers, real samples and events, a real training run, by the command line.

The service is first asked for what it knows, which must stay quiet, then also for a kind of item that it has never seen.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from components.registration.registry import Registry
from components.shared.release.served import publish_release, read_current
from monitoring.remedies.ledger import Ledger
from monitoring.status.record import Record, RecordStore
from pipelines.__main__ import main
from support.factories.basics import encode_picture, make_picture
from support.inputs.small_run import SMALL
from support.servers.kubeflow_server import kubeflow_server
from support.servers.serving_processes import make_local_release, serving

ITEMS, VIEWS, NEW, QUERIES, SHARE = 10, 22, 777, 240, 0.2


def picture(item: int, view: int) -> bytes:
    return encode_picture(make_picture(100_000 * (item + 1) + view, item=item), quality=92)


def queries(share_of_new: float, count: int = QUERIES) -> Iterator[bytes]:
    """Return pictures of the catalogue's items as nobody has seen them, and of an item that it does not have."""
    new = round(count * share_of_new)
    yield from (picture(NEW, 5_000 + i) for i in range(new))
    yield from (picture(i % ITEMS, 5_000 + i) for i in range(count - new))


class Shop:
    """A home folder, with a registry, what is served, and a catalogue that grows."""

    def __init__(self, root: Path) -> None:
        self.home, self.images = root / "home", root / "images"
        self.registry = Registry(f"sqlite:///{self.home / 'mlflow.db'}")
        self._root, self._services = root, 0

    def offer(self, items: list[int], views: int = VIEWS) -> None:
        """Put items into the catalogue's folder."""
        for item in items:
            folder = self.images / f"kind-{item % 5}"
            folder.mkdir(parents=True, exist_ok=True)
            for view in range(views):
                (folder / f"{item:03d}-{view}.jpg").write_bytes(picture(item, view))

    def serve_and_ask(self, release: Path, share_of_new: float) -> None:
        """Serve a release for a while, to people who click the first result; its samples are on the disk afterwards."""
        publish_release(self.home / "served", release)
        self._services += 1
        settings = {
            "samples": str(self.home / "query-samples"),
            "events_url": f"sqlite:///{self.home / 'events.db'}",
            "access_log_share": "0",
        }
        with serving(self.home / "served", self._root / f"service-{self._services}", **settings) as processes:
            address = f"{processes.url}/v1/models/visual-search:predict?k=3"
            with httpx.Client(timeout=60) as client:
                for i, data in enumerate(queries(share_of_new)):
                    headers = {"Content-Type": "image/jpeg", "X-Visual-Search-User": f"user-{i % 50}"}
                    answer = client.post(address, content=data, headers=headers).raise_for_status()
                    first = answer.json()["predictions"][0]["results"][0]
                    if i % 10 == 0:
                        click = {"events": [{"token": first["token"], "type": "click"}]}
                        client.post(f"{processes.url}/v1/events", json=click).raise_for_status()

    def forget_samples(self) -> None:
        """Make room for another window."""
        for path in (self.home / "query-samples").glob("*.parquet"):
            path.unlink()

    def monitor(self, *words: str) -> int:
        """Call `visual-search monitor run`."""
        return main(["monitor", "run", "--home", str(self.home), *words])

    def served(self) -> Path:
        """Return the directory of what is served."""
        root = self.home / "served"
        return root / read_current(root).release

    def record(self) -> Record:
        return RecordStore(self.home / "monitoring" / "champion").latest()

    def page(self) -> str:
        return (self.home / "monitoring" / "champion" / "status.html").read_text()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop whose champion knows ITEMS items; its people look for these."""
    root = tmp_path_factory.mktemp("shop")
    shop = Shop(root)
    shop.registry.register(make_local_release(root / "first", items=ITEMS, views=VIEWS))
    shop.serve_and_ask(root / "first" / "release", 0.0)
    return shop


@pytest.mark.filterwarnings("ignore")  # kfp's own
def test_alarm_and_submission(shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert shop.monitor() == 0
    healthy = shop.record()
    assert not healthy.report.diagnoses
    assert healthy.report.window == QUERIES
    (row,) = healthy.online["arm"]
    assert (row.label, row.searches, row.clicks, row.zero_result_rate) == ("champion", QUERIES, QUERIES // 10, 0.0)
    assert "Search is healthy" in shop.page()

    shop.forget_samples()
    shop.serve_and_ask(shop.served(), 0.15)
    assert shop.monitor() == 4
    (diagnosis,) = shop.record().report.diagnoses
    assert (diagnosis.cause, diagnosis.remedy) == ("new_items", "retrain")
    assert shop.page().count('src="data:image/jpeg') >= 4  # the nearest of what is known, as pictures

    with kubeflow_server() as server:
        monkeypatch.setenv("VISUAL_SEARCH_KFP_HOST", server.url)
        images = ["--images", "s3://bucket/photos.parquet"]
        monkeypatch.setattr("pipelines.commands.monitor._listing", lambda *_: None)  # nothing of a bucket is here
        assert shop.monitor("--act", *images, "--set", "training.epochs=7", "--argument", "cpu=2") == 4
        (run,) = server.runs.values()
        spec = run["pipeline_spec"]
        assert spec.get("pipeline_spec", spec)["pipelineInfo"]["name"] == "visual-search-training"
        given = run["runtime_config"]["parameters"]
        assert (given["images"], given["cpu"]) == ("s3://bucket/photos.parquet", "2")
        assert json.loads(given["parameters"]) == {"training": {"epochs": 7}}
        assert shop.monitor("--act", *images) == 4
        assert len(server.runs) == 1  # one at a time
        assert "still running" in capsys.readouterr().out
    (entry,) = Ledger(shop.home / "monitoring").entries()
    assert (entry.remedy, entry.state, entry.reference) == ("retrain", "running", "run-1")
    assert "Train again" in shop.page().partition("Remedies that were started")[2]


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_the_remedy_is_run_and_the_alarm_clears(tmp_path: Path) -> None:
    """A real champion; its people look for what its catalogue has had for a while and its index has not."""
    shop = Shop(tmp_path)
    shop.offer(list(range(ITEMS)))
    settings = [
        word for assignment in [*SMALL, "labelling.categories_as_judgements=true"] for word in ("--set", assignment)
    ]
    assert main(["run", "--images", str(shop.images), "--home", str(shop.home), *settings]) == 0
    (first,) = shop.registry.releases()
    shop.serve_and_ask(shop.registry.fetch("champion", shop.home / "releases"), 0.0)
    assert shop.monitor("--images", str(shop.images)) == 0

    # As large a part of the catalogue as of what people look for, so that nothing is out of proportion afterwards.
    shop.offer([NEW], views=round(ITEMS * VIEWS * SHARE / (1 - SHARE)))
    shop.forget_samples()
    shop.serve_and_ask(shop.served(), SHARE)
    assert shop.monitor("--act", "--images", str(shop.images)) == 4
    first_diagnosis, *others = shop.record().report.diagnoses
    assert (first_diagnosis.cause, first_diagnosis.remedy) == ("catalogue_lags", "reindex")
    assert {found.remedy for found in others} <= {"reindex", "nothing"}
    (entry,) = Ledger(shop.home / "monitoring").entries()
    assert (entry.remedy, entry.pipeline, entry.state) == ("reindex", "reindexing", "succeeded")
    second = shop.registry.get("challenger")
    assert (second.space_id, second.parent) == (first.space_id, first.release_id)
    assert second.release_id in entry.detail

    shop.registry.promote(second.version, "champion", who="test", why="it knows what people look for")
    shop.forget_samples()
    shop.serve_and_ask(shop.registry.fetch("champion", shop.home / "releases"), SHARE)
    assert shop.monitor("--act", "--images", str(shop.images)) == 0
    assert shop.record().report.release_id == second.release_id
    assert len(Ledger(shop.home / "monitoring").entries()) == 1
    assert "Search is healthy" in shop.page()
