"""Small logs, simulated ones with their truth, and engines to mine them with."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.labelling.engine import Engine, open_engine
from components.labelling.parameters import LabellingParameters
from components.rendering.clicks import SimulatedClicks
from components.shared.files.artifacts import seal_artifact
from components.shared.files.tables import CATALOGUE, EVENTS, JUDGEMENTS, write_table
from support.factories.basics import EPOCH

VIEWS, CATEGORIES, LOOKS = 4, 4, 3


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Open DuckDB, with its tables in a fresh folder."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with open_engine(LabellingParameters(threads=1), scratch) as opened:
        yield opened


@pytest.fixture(scope="session")
def event() -> Callable[..., dict[str, Any]]:
    """Make one event of a log, as a row."""

    def make(query: str, image: str, kind: str = "impression", **fields: Any) -> dict[str, Any]:
        row = {
            "event_id": f"{query}-{image}-{kind}",
            "query_id": query,
            "user_id": "u1",
            "query_image_id": "000",
            "returned_image_id": image,
            "position": 1,
            "type": kind,
            "dwell_ms": None,
            "release_id": "r1",
            "arm": "champion",
            "at": EPOCH,
            "country": None,
        }
        return row | fields

    return make


@pytest.fixture(scope="session")
def random_log() -> Callable[..., list[dict[str, Any]]]:
    """Make a small messy log: moving results, duplicated, orphaned and broken events, bots, in no order."""

    def make(
        seed: int, *, searches: int = 60, images: int = 8, results: int = 5, users: int = 7
    ) -> list[dict[str, Any]]:
        rng = np.random.default_rng(seed)
        rows: list[dict[str, Any]] = []
        for search in range(searches):
            user, query = int(rng.integers(users)), int(rng.integers(images))
            shown = rng.permutation(images + 1)[:results]  # the last one is in no catalogue
            at = EPOCH + datetime.timedelta(seconds=int(rng.integers(5000)))
            common = {
                "query_id": f"q{search}",
                "user_id": f"u{user}",
                "query_image_id": None if rng.random() < 0.1 else f"i{query}",
                "release_id": "r1",
                "arm": "champion",
                "country": None,
            }
            for position, image in enumerate(shown, start=1):
                look = common | {"returned_image_id": f"i{image}", "position": position, "dwell_ms": None, "at": at}
                if rng.random() > 0.03:
                    rows.append(look | {"type": "impression"})
                clicked = rng.random() < (
                    0.9 if user == 0 else 0.7 / position * (1.0 if image % 2 == query % 2 else 0.3)
                )
                for _ in range(int(clicked) * int(rng.integers(1, 3))):
                    rows.append(look | {"type": "click", "at": at + datetime.timedelta(seconds=3)})
                if clicked and rng.random() < 0.6:
                    rows.append(look | {"type": "dwell", "dwell_ms": int(rng.integers(100, 9000))})
        for number, row in enumerate(rows):
            row["event_id"] = f"e{number}"
        return [rows[i] for i in rng.permutation(len(rows))]

    return make


@pytest.fixture(scope="session")
def write_log() -> Callable[[Path, list[dict[str, Any]]], Path]:
    """Write rows as one Parquet file."""

    def write(path: Path, rows: list[dict[str, Any]]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, EVENTS.schema), path)
        return path

    return write


@pytest.fixture(scope="session")
def make_images() -> Callable[..., None]:
    """Seal a catalogue without pictures, from ids, items and categories."""
    return write_catalogue


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with catalogue/, events.parquet and truth/: 48 items, 3,000 searches, everything known."""
    root = tmp_path_factory.mktemp("shop")
    rng = np.random.default_rng(5)
    items = 48
    n = items * VIEWS
    item = np.arange(n) // VIEWS
    category = item % CATEGORIES
    look = rng.integers(0, LOOKS, items)[item]
    ids = [f"{number:04d}" for number in range(n)]
    write_catalogue(root / "catalogue", ids, item, category)
    grades = np.where(
        item[:, None] == item, 3, np.where(category[:, None] != category, 0, 1 + (look[:, None] == look[None, :]))
    )
    queries = rng.permutation(n)[:60]
    candidates = np.stack(
        [
            rng.permutation(
                np.concatenate(
                    [
                        np.setdiff1d(np.flatnonzero(item == item[query]), [query]),
                        rng.permutation(np.flatnonzero((category == category[query]) & (item != item[query])))[:9],
                        rng.permutation(np.flatnonzero(category != category[query]))[:6],
                    ]
                )
            )
            for query in queries
        ]
    )
    log, truth = SimulatedClicks(
        [ids[query] for query in queries], ids, candidates, grades[queries[:, None], candidates], searches=3000, seed=5
    ).whole()
    write_table(root / "events.parquet", log, EVENTS)
    one, other = np.nonzero(grades * (1 - np.eye(n, dtype=int)))
    columns = {
        "query_image_id": [ids[i] for i in one],
        "image_id": [ids[i] for i in other],
        "grade": pa.array(grades[one, other], pa.int8()),
        "judge": ["truth"] * len(one),
        "at": pa.nulls(len(one), pa.timestamp("us", tz="UTC")),
    }
    write_table(root / "truth" / "truth_relevance.parquet", pa.table(columns), JUDGEMENTS)
    (root / "truth" / "truth.json").write_text(json.dumps(truth))
    return root


def write_catalogue(folder: Path, ids: list[str], item: np.ndarray, category: np.ndarray) -> None:
    """Seal a catalogue without pictures; half of the items are train, a quarter each validation and test."""
    n = len(ids)
    split = np.array(["train", "train", "validation", "test"])[item // CATEGORIES % 4]
    columns = {
        "image_id": ids,
        "item_id": [f"item-{value}" for value in item],
        "uri": ids,
        "sha256": ids,
        "width": [1] * n,
        "height": [1] * n,
        "category": [f"category-{value}" for value in category],
        "is_public": [True] * n,
        "is_appropriate": [True] * n,
        "added_at": [EPOCH] * n,
        "split": split.tolist(),
        "duplicate_group": ids,
    }
    write_table(folder / "catalogue.parquet", pa.table(columns), CATALOGUE)
    seal_artifact(folder, "catalogue", {"images": n})
