"""Products: all different, families alike but for colour, grades as their definition says."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.rendering.categories import CATEGORIES
from components.rendering.designs import design_items, true_grades
from components.rendering.patterns import PATTERNS, draw_texture


def test_products_are_spread_evenly_over_the_categories():
    items = design_items(360, seed=0)
    assert set(Counter(item.kind.name for item in items).values()) == {45}
    assert len({item.item_id for item in items}) == 360
    assert len(CATEGORIES) >= 8


@given(seed=st.integers(0, 1000), count=st.integers(12, 80))
@settings(max_examples=15, deadline=None)
def test_no_two_products_are_identical_and_families_differ_in_colour_alone(seed, count):
    items = design_items(count, seed)
    assert len(items) == count
    assert len({(item.family, item.colours) for item in items}) == count
    families: dict[int, set[tuple]] = {}
    for item in items:
        look = (item.category, item.form, item.shape, item.pattern, item.seed, item.finish)
        families.setdefault(item.family, set()).add(look)
    assert all(len(looks) == 1 for looks in families.values())
    assert len({looks.pop() for looks in families.values()}) == len(families)


def test_grades_agree_with_their_definition_by_explicit_loops():
    items = design_items(120, seed=3)
    rows = np.arange(len(items))
    grades = true_grades(items, rows[:, None], rows[None, :])
    for i, one in enumerate(items):
        for j, other in enumerate(items):
            if one.item_id == other.item_id:
                expected = 3
            elif one.family == other.family:
                expected = 2
            elif one.kind.name == other.kind.name and one.form == other.form:
                expected = 1
            else:
                expected = 0
            assert grades[i, j] == expected
    assert set(np.unique(grades)) == {0, 1, 2, 3}


def test_equal_seeds_give_equal_products():
    assert design_items(50, 4) == design_items(50, 4)
    assert design_items(50, 4) != design_items(50, 5)


@pytest.mark.parametrize("kind", [kind for kind in PATTERNS if kind != "plain"])
def test_a_pattern_shows_two_colours_at_least_and_seeds_change_it(kind):
    colours = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
    differences = 0
    for seed in range(5):
        texture = draw_texture(kind, seed, colours)
        green = (texture[..., 1] > 0.5).mean()
        blue = (texture[..., 2] > 0.5).mean()
        assert 0.004 < green + blue < 0.97
        assert np.array_equal(texture, draw_texture(kind, seed, colours))
        differences += not np.allclose(texture, draw_texture(kind, seed + 1, colours), atol=0.2)
    assert differences >= 4
