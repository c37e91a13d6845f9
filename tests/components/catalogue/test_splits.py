"""Splits: nothing leaks, nothing moves without need, shares are kept."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from components.catalogue.parameters import CatalogueParameters
from components.catalogue.splits import SplitImage, split_images

PARAMETERS = CatalogueParameters()
IMAGES = st.lists(
    st.builds(
        SplitImage,
        item_id=st.sampled_from([f"item-{i}" for i in range(12)]),
        duplicate_group=st.sampled_from([f"photo-{i}" for i in range(30)]),
        age=st.tuples(st.floats(0, 9), st.sampled_from("abc")),
        given=st.sampled_from([None, None, None, "train", "validation", "test"]),
    ),
    min_size=2,
    max_size=40,
)


def single(count: int, *, start: int = 0, given: str | None = None) -> list[SplitImage]:
    names = [f"item-{start + i}" for i in range(count)]
    return [SplitImage(name, name, (float(start + i), name), given) for i, name in enumerate(names)]


@given(IMAGES)
@settings(max_examples=200)
def test_no_item_and_no_near_duplicate_stands_on_two_sides(images):
    names = split_images(images, PARAMETERS).names
    for field in ("item_id", "duplicate_group"):
        sides: dict[str, set[str]] = {}
        for image, name in zip(images, names, strict=True):
            sides.setdefault(getattr(image, field), set()).add(name)
        assert all(len(found) == 1 for found in sides.values())


@given(IMAGES, st.randoms(use_true_random=False))
def test_order_does_not_matter(images, dice):
    order = list(range(len(images)))
    dice.shuffle(order)
    ages = [SplitImage(i.item_id, i.duplicate_group, (float(n), ""), i.given) for n, i in enumerate(images)]
    names = split_images(ages, PARAMETERS).names
    assert split_images([ages[i] for i in order], PARAMETERS).names == [names[i] for i in order]


@given(IMAGES)
def test_what_was_moved_is_counted(images):
    splits = split_images(images, PARAMETERS)
    moved = [f"{i.given} to {n}" for i, n in zip(images, splits.names, strict=True) if i.given not in {None, n}]
    assert splits.moved == {key: moved.count(key) for key in set(moved)}


def test_shares_are_kept():
    names = split_images(single(20_000), CatalogueParameters(validation_share=0.1, test_share=0.25)).names
    for name, share in (("test", 0.25), ("validation", 0.1), ("train", 0.65)):
        assert abs(np.mean(np.array(names) == name) - share) < 4 * np.sqrt(share * (1 - share) / 20_000)


def test_adding_images_moves_none():
    before = split_images(single(3_000), PARAMETERS).names
    new_items = single(2_000, start=3_000)
    new_views = [SplitImage(f"item-{i}", f"view-{i}", (9e9, f"view-{i}"), None) for i in range(0, 3_000, 3)]
    new_copies = [SplitImage(f"copy-{i}", f"item-{i}", (9e9, f"copy-{i}"), None) for i in range(1, 3_000, 3)]
    after = split_images([*single(3_000), *new_items, *new_views, *new_copies], PARAMETERS).names
    assert after[:3_000] == before


def test_another_seed_gives_another_split():
    one, other = (split_images(single(500), CatalogueParameters(seed=seed)).names for seed in (0, 1))
    assert 0.2 < np.mean(np.array(one) != np.array(other)) < 0.7


def test_given_splits_are_honoured_and_the_missing_one_is_taken_from_train():
    images = [*single(1_000, given="train"), *single(50, start=1_000, given="test")]
    splits = split_images(images, PARAMETERS)
    assert splits.names[1_000:] == ["test"] * 50
    assert set(splits.names[:1_000]) == {"train", "validation"}
    assert 100 < splits.names.count("validation") < 200
    assert splits.moved == {"train to validation": splits.names.count("validation")}
    whole = [*images, *single(20, start=2_000, given="validation")]
    assert split_images(whole, PARAMETERS).names == [image.given for image in whole]
    none = CatalogueParameters(validation_share=0)
    assert "validation" not in split_images(images, none).names


def test_a_picture_that_was_learnt_from_cannot_measure():
    images = [
        *single(30, given="train"),
        *single(30, start=30, given="test"),
        *single(30, start=60, given="validation"),
    ]
    images[30] = SplitImage("item-30", "item-3", (30.0, ""), "test")  # a near-duplicate of a training picture
    images[61] = SplitImage("item-61", "item-33", (61.0, ""), "validation")  # of a test picture
    splits = split_images(images, PARAMETERS)
    assert splits.names[30] == "train"
    assert splits.names[33] == splits.names[61] == "validation"
    assert splits.moved == {"test to train": 1, "test to validation": 1}


def test_few_images_still_give_something_to_measure():
    for count in range(2, 30):
        for seed in range(10):
            names = split_images(single(count), CatalogueParameters(seed=seed)).names
            assert "train" in names
            assert "test" in names
            assert count == 2 or "validation" in names


def test_one_group_stays_in_training():
    images = [SplitImage(f"item-{i}", "photo", (0.0, ""), None) for i in range(5)]
    assert len(set(split_images(images, PARAMETERS).names)) == 1
