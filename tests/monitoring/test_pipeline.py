"""The recurring pipeline under kfp.local: every task a process of its own, as on a cluster."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from components.registration.registry import Registry
from components.shared.files.atomic import write_json
from monitoring.remedies.ledger import Ledger
from monitoring.status.record import RecordStore
from pipelines.runs.parameters import encode_parameters, merge_assignments
from support.factories.sample_factory import embed_fresh, write_query_samples
from support.inputs.small_run import SMALL
from support.servers.serving_processes import make_local_release

ITEMS, VIEWS, QUERIES, NEW = 10, 22, 240, 36


@pytest.mark.long
@pytest.mark.timeout(900)
def test_it_looks_and_mends(tmp_path: Path) -> None:
    release = make_local_release(tmp_path / "made", items=ITEMS, views=VIEWS)
    tracking = f"sqlite:///{tmp_path / 'mlflow.db'}"
    registry = Registry(tracking)
    registry.register(release)
    workspace = tmp_path / "workspace"
    store = RecordStore(workspace / "monitoring" / "champion")
    arguments = {
        "images": str(tmp_path / "made" / "parts" / "images"), "samples": str(tmp_path / "samples"),
        "workspace": str(workspace), "tracking_uri": tracking,
        "parameters": encode_parameters(merge_assignments([*SMALL, "labelling.categories_as_judgements=true"], {})),
    }  # fmt: skip

    def run(name: str, fresh: np.ndarray, *, moved: bool = False) -> set[str]:
        """Run the pipeline on these queries; the tasks that ran."""
        write_query_samples(tmp_path / "samples", release, fresh, moved=moved)
        write_json(tmp_path / name / "request.json", {"pipeline": "monitoring", "arguments": arguments})
        command = [sys.executable, "-m", "pipelines.runs.process", str(tmp_path / name / "request.json")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return {path.name for path in (tmp_path / name).glob("*/*") if path.is_dir()}

    known = embed_fresh(release, QUERIES, ITEMS)
    assert run("healthy", known) == {"champion", "monitoring"}
    assert not store.latest().report.diagnoses
    (page,) = (tmp_path / "healthy").rglob("monitoring/page*")
    assert "Search is healthy" in page.read_text()

    assert run("moved", known, moved=True) == {"champion", "monitoring"}  # no pipeline mends a client
    assert [found.remedy for found in store.latest().report.diagnoses] == ["fix_client"]
    assert not Ledger(workspace / "monitoring").entries()

    strange = embed_fresh(release, NEW, 1, first=777)
    assert {"training", "registration"} < run("new", np.concatenate([strange, known[:-NEW]]))
    assert [found.cause for found in store.latest().report.diagnoses] == ["new_items"]
    (entry,) = Ledger(workspace / "monitoring").entries()
    assert (entry.remedy, entry.pipeline) == ("retrain", "training")
    assert registry.get("challenger").release_id != registry.get("champion").release_id
    (record,) = (tmp_path / "new").rglob("monitoring/record*")
    assert json.loads(record.read_text())["report"]["arm"] == "champion"
