from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.labelling.judgements import agreement, fetch_judgements, krippendorff_alpha, read_judgements
from components.shared.errors import DataError, SourceError

KNOWN = {"a", "b", "c", "d"}


def test_each_reason_is_counted_and_the_last_word_holds() -> None:
    csv = """query_image_id,image_id,grade,judge,at
a,b,3,ann,2026-01-02T00:00:00Z
a,b,1,ann,2026-01-01T00:00:00Z
a,b,2,bob,
a,c,4,ann,
a,c,,ann,
a,c,1.5,ann,
a,zzz,2,ann,
a,a,3,ann,
c,d,0.0,ann,2026-01-01 10:00:00+02:00
"""
    judgements = read_judgements("j.csv", csv.encode(), KNOWN)
    rows = judgements.table.to_pylist()
    assert [(r["query_image_id"], r["image_id"], r["grade"], r["judge"]) for r in rows] == [
        ("a", "b", 3, "ann"),
        ("a", "b", 2, "bob"),
        ("c", "d", 0, "ann"),
    ]
    assert rows[2]["at"].isoformat() == "2026-01-01T08:00:00+00:00"
    assert judgements.spec["dropped"] == {
        "grade_not_0_to_3": 3,
        "image_against_itself": 1,
        "said_before": 1,
        "unknown_image": 1,
    }
    assert judgements.spec["kept"] == 3
    assert judgements.spec["judges"] == 2
    assert judgements.spec["pairs_with_several_judges"] == 1


def test_a_csv_as_spreadsheets_write_it() -> None:
    csv = '\ufeff"image_id","grade","query_image_id"\r\n"b","2","a"\r\n'
    (row,) = read_judgements("j.csv", csv.encode(), KNOWN).table.to_pylist()
    assert (row["query_image_id"], row["image_id"], row["grade"], row["judge"], row["at"]) == ("a", "b", 2, "", None)


def test_no_judgements_at_all() -> None:
    assert fetch_judgements("") is None
    judgements = read_judgements("", None, KNOWN)
    assert judgements.table.num_rows == 0
    assert judgements.spec == {}


def test_only_unknown_images_say_what_to_do() -> None:
    with pytest.raises(DataError, match=r"none of the 2 judgements of j\.csv .*2 × unknown_image.*catalogue\.parquet"):
        read_judgements("j.csv", b"query_image_id,image_id,grade\nx,y,1\ny,x,2\n", KNOWN)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"query,image,grade\na,b,1\n", r"lacks the columns query_image_id, image_id \(it has query, image, grade\)"),
        (b"query_image_id,image_id,grade\na,b\n", r"row 1 \(header not counted\) has 2 cells, but the header has 3"),
        (b"query_image_id,image_id,grade\n", "holds no judgement"),
        (b"\xff\xfe\x00", "not text in UTF-8"),
        (b'[{"data": {"query_image_id": "a"', "not whole JSON"),
        (b'[{"query_image_id": "a", "grade": "2"}]', 'not "JSON-MIN"'),
        (b"[]", "holds no judgement"),
    ],
)
def test_unusable_files_are_named(data: bytes, message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        read_judgements("folder/judged", data, KNOWN)
    assert "folder/judged" in str(caught.value)


def _task(query: str, image: str, *annotations: dict, drafts: tuple[dict, ...] = ()) -> dict:
    return {
        "id": 1,
        "data": {"query_image_id": query, "image_id": image, "query": "https://x/a.jpg", "image": "https://x/b.jpg"},
        "annotations": list(annotations),
        "drafts": list(drafts),
        "predictions": [{"result": [{"type": "rating", "value": {"rating": 1}}]}],
    }


def _annotation(number: int, judge: object, result: list[dict], *, cancelled: bool = False) -> dict:
    return {
        "id": number,
        "completed_by": judge,
        "was_cancelled": cancelled,
        "result": result,
        "created_at": "2026-02-01T10:00:00.000000Z",
        "updated_at": "2026-02-01T10:05:00.123456Z",
    }


def _choice(value: str) -> list[dict]:
    return [{"from_name": "grade", "to_name": "image", "type": "choices", "value": {"choices": [value]}}]


def _stars(value: int) -> list[dict]:
    return [{"from_name": "grade", "to_name": "image", "type": "rating", "value": {"rating": value}}]


def test_label_studio_export_and_csv_say_the_same() -> None:
    export = [
        _task(
            "a", "b", _annotation(1, 7, _choice("3")), _annotation(2, {"id": 8, "email": "bo@x"}, _choice("2 similar"))
        ),
        _task("a", "c", _annotation(3, 7, _stars(1)), _annotation(4, 9, _stars(4), cancelled=True)),
        _task("b", "c", drafts=({"id": 1, "annotation": None, "result": _stars(2)},)),
        _task("b", "d", _annotation(5, 7, []), drafts=({"id": 2, "annotation": 5, "result": _stars(2)},)),
        _task("c", "d", _annotation(6, 7, _choice("great"))),
        {"id": 9, "data": {"image": "https://x/b.jpg"}, "annotations": [_annotation(7, 7, _stars(2))]},
    ]
    judged = read_judgements("export.json", json.dumps(export).encode(), KNOWN)
    assert judged.spec["dropped"] == {
        "annotation_without_grade": 1,
        "draft": 1,
        "grade_not_0_to_3": 1,
        "skipped": 1,
        "task_without_image_ids": 1,
    }
    at = "2026-02-01T10:05:00.123456Z"
    csv = f"query_image_id,image_id,grade,judge,at\na,b,3,7,{at}\na,b,2,bo@x,{at}\na,c,0,7,{at}\n"
    assert judged.table.equals(read_judgements("same.csv", csv.encode(), KNOWN).table)


def test_an_export_with_only_drafts_is_no_silent_nothing() -> None:
    export = [_task("a", "b", drafts=({"id": 1, "result": _stars(2)},))]
    with pytest.raises(DataError, match="1 × draft"):
        read_judgements("export.json", json.dumps(export).encode(), KNOWN)


def _alpha_by_loops(units: list[list[int]]) -> float | None:
    """Coincidence matrix, then interval differences: the textbook's way."""
    matrix = dict.fromkeys(itertools.product(range(4), repeat=2), 0.0)
    for unit in units:
        if len(unit) > 1:
            for one, other in itertools.permutations(unit, 2):
                matrix[one, other] += 1 / (len(unit) - 1)
    totals = [sum(matrix[value, other] for other in range(4)) for value in range(4)]
    n = sum(totals)
    observed = sum(weight * (one - other) ** 2 for (one, other), weight in matrix.items())
    expected = sum(totals[c] * totals[k] * (c - k) ** 2 for c in range(4) for k in range(4))
    return None if expected == 0 else 1 - (n - 1) * observed / expected


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5), max_size=8))
def test_krippendorff_alpha_against_the_coincidence_matrix(units: list[list[int]]) -> None:
    expected = _alpha_by_loops(units)
    assert krippendorff_alpha(units) == (None if expected is None else pytest.approx(expected, abs=1e-9))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=8))
def test_agreement_is_a_share_and_whole_only_for_one_opinion(grades: list[int]) -> None:
    value = agreement(grades)
    assert 0 <= value <= 1
    assert (value == 1) == (len(set(grades)) == 1)
    assert agreement([0, 3]) == 0
