from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from components.labelling.truth import Truth, truth_digest
from components.shared.errors import SourceError
from components.shared.files.tables import JUDGEMENTS, write_table


def _write(folder: Path, **values: Any) -> None:
    rows = [
        {"query_image_id": "a1", "image_id": "b1", "grade": 1, "judge": "truth", "at": None},
        {"query_image_id": "b1", "image_id": "a1", "grade": 2, "judge": "truth", "at": None},
        {"query_image_id": "a1", "image_id": "a2", "grade": 0, "judge": "truth", "at": None},
    ]
    write_table(folder / "truth_relevance.parquet", pa.Table.from_pylist(rows, JUDGEMENTS.schema), JUDGEMENTS)
    (folder / "truth.json").write_text(json.dumps({"propensities": [1, 0.5], "bots": ["u1"]} | values))


@pytest.fixture
def images() -> pa.Table:
    return pa.table({"image_id": ["a1", "a2", "a3", "b1", "c1"], "item_id": ["A", "A", "A", "B", "C"]})


def test_grades_come_from_the_table_then_from_item_and_family(tmp_path: Path, images: pa.Table) -> None:
    families = {"A": {"family": 7}, "B": {"family": 8}, "C": {"family": 7}}
    _write(tmp_path, items=families)
    truth = Truth(str(tmp_path), images)
    assert truth.propensities == [1, 0.5]
    assert truth.bots == {"u1"}
    assert truth.grade("a1", "b1") == truth.grade("b1", "a1") == 2  # the better of the two directions
    assert truth.grade("a1", "a2") == 0  # said, so the item does not count
    assert truth.grade("a2", "a3") == 3
    assert truth.grade("a3", "c1") == 2
    assert truth.grade("b1", "c1") == 0
    assert truth.grade("a1", "nowhere") == truth.grade("nowhere", "a1") == 0
    assert truth.precision([("a2", "a3"), ("b1", "c1"), ("b1", "a1"), ("a1", "a2")]) == 0.5
    assert truth.precision([]) is None


def test_a_truth_without_items_knows_no_families(tmp_path: Path, images: pa.Table) -> None:
    _write(tmp_path)
    assert Truth(str(tmp_path), images).grade("a3", "c1") == 0


def test_an_unreadable_truth_is_named(tmp_path: Path, images: pa.Table) -> None:
    _write(tmp_path)
    before = truth_digest(str(tmp_path))
    (tmp_path / "truth.json").write_text('{"propensities": [1]}')
    assert truth_digest(str(tmp_path)) != before
    with pytest.raises(SourceError, match=r'truth\.json does not hold "propensities" and "bots"'):
        Truth(str(tmp_path), images)
    with pytest.raises(SourceError, match=r"lacks truth\.json"):
        truth_digest(str(tmp_path / "nowhere"))
    assert truth_digest("") == ""
