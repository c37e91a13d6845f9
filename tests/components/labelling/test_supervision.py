from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from components.labelling.supervision import codes, image_pairs


@given(
    st.lists(st.tuples(st.integers(-1, 4), st.integers(0, 30)), max_size=40),
    st.integers(0, 6),
    st.integers(0, 5),
)
def test_pairs_are_of_one_group_and_never_forbidden(images: list[tuple[int, int]], per_image: int, seed: int) -> None:
    groups, forbidden = (np.array(column, np.int64) for column in (zip(*images, strict=True) if images else ([], [])))
    query, positive = image_pairs(groups, forbidden, per_image=per_image, seed=seed)
    pairs = list(zip(query.tolist(), positive.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    assert pairs == sorted(pairs)
    for one, other in pairs:
        assert one != other
        assert groups[one] == groups[other] >= 0
        assert forbidden[one] != forbidden[other]
    assert all(np.bincount(query, minlength=1) <= per_image)


@given(st.integers(1, 12), st.integers(1, 5))
def test_without_forbidden_ones_every_image_gets_its_share(size: int, per_image: int) -> None:
    groups = np.repeat([0, 1], size)
    query, positive = image_pairs(groups, np.arange(2 * size), per_image=per_image, seed=1)
    share = min(per_image, size - 1)
    assert np.bincount(query, minlength=2 * size).tolist() == [share] * 2 * size
    assert np.bincount(positive, minlength=2 * size).tolist() == [share] * 2 * size  # a ring: nobody is favoured


def test_seed_decides() -> None:
    groups, near = np.zeros(30, np.int64), np.arange(30)
    first, again, other = (image_pairs(groups, near, per_image=2, seed=seed) for seed in (1, 1, 2))
    assert (first[1] == again[1]).all()
    assert (first[1] != other[1]).any()


def test_nothing_known_gives_no_group() -> None:
    assert codes(pa.chunked_array([["x", None, "y", "x"]])).tolist() == [0, -1, 1, 0]
