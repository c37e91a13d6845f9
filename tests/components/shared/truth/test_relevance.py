"""Relevance against explicit loops over all pairs."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from components.shared.files.tables import JUDGEMENTS
from components.shared.truth.relevance import Relevance, RelevanceRule


def make_images(items: list[str], categories: list[str | None]) -> pa.Table:
    return pa.table(
        {
            "image_id": [f"i{k}" for k in range(len(items))],
            "item_id": items,
            "category": pa.array(categories, pa.string()),
        }
    )


def make_judgements(rows: list[tuple[str, str, int]]) -> pa.Table:
    values = [
        {"query_image_id": q, "image_id": i, "grade": g, "judge": f"j{k}", "at": None}
        for k, (q, i, g) in enumerate(rows)
    ]
    return pa.Table.from_pylist(values, JUDGEMENTS.schema)


def by_loops(items, categories, judged, rule, queries, gallery) -> list[list[int]]:
    result = []
    for q in queries:
        row = []
        for g in gallery:
            given_grades = [grade for query, image, grade in judged if (query, image) == (f"i{q}", f"i{g}")]
            if q == g:
                row.append(0)
            elif given_grades:
                row.append(int(sum(given_grades) / len(given_grades) + 0.5))
            elif items[q] == items[g]:
                row.append(rule.same_item)
            elif categories[q] is not None and categories[q] == categories[g]:
                row.append(rule.same_category)
            else:
                row.append(0)
        result.append(row)
    return result


@settings(deadline=None)
@given(st.data())
def test_grades_equal_explicit_loops(data):
    n = data.draw(st.integers(2, 8))
    items = data.draw(st.lists(st.sampled_from("abc"), min_size=n, max_size=n))
    categories = data.draw(st.lists(st.sampled_from(["x", "y", None]), min_size=n, max_size=n))
    ids = st.sampled_from([f"i{k}" for k in range(n)] + ["stranger"])
    judged = data.draw(st.lists(st.tuples(ids, ids, st.integers(0, 3)), max_size=8))
    rule = RelevanceRule(same_item=data.draw(st.integers(0, 3)), same_category=data.draw(st.integers(0, 3)))
    rows = st.lists(st.integers(0, n - 1), min_size=1, max_size=n, unique=True)
    queries, gallery = data.draw(rows), data.draw(rows)
    relevance = Relevance.of(make_images(items, categories), make_judgements(judged), rule)
    found = relevance.grades(np.array(queries), np.array(gallery))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, by_loops(items, categories, judged, rule, queries, gallery))


def test_people_overrule_the_rule_in_both_directions():
    images = make_images(["a", "a", "b"], ["x", "x", "x"])
    judged = make_judgements([("i0", "i1", 0), ("i0", "i2", 3)])
    relevance = Relevance.of(images, judged, RelevanceRule())
    np.testing.assert_array_equal(relevance.grades(np.array([0, 1]), np.arange(3)), [[0, 0, 3], [3, 0, 0]])


def test_several_judges_are_averaged_and_halves_go_up():
    images = make_images(["a", "b", "c"], [None] * 3)
    judged = make_judgements([("i0", "i1", 1), ("i0", "i1", 2), ("i0", "i2", 0), ("i0", "i2", 1), ("i0", "i2", 0)])
    relevance = Relevance.of(images, judged, RelevanceRule())
    np.testing.assert_array_equal(relevance.grades(np.array([0]), np.arange(3)), [[0, 2, 0]])


def test_unknown_categories_are_not_alike():
    relevance = Relevance.of(make_images(["a", "b"], [None, None]), None, RelevanceRule(same_category=2))
    assert not relevance.grades(np.array([0]), np.arange(2)).any()


@pytest.mark.parametrize("values", [{"same_item": 4}, {"same_category": -1}, {"same_colour": 1}])
def test_impossible_rules_are_refused(values):
    with pytest.raises(ValidationError):
        RelevanceRule(**values)
