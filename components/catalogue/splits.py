"""Which images are for training, validation and test: decided by group, so that nothing leaks."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.catalogue.duplicates import connected
from components.catalogue.parameters import CatalogueParameters

# The splits from which an empty one is filled, in order of importance.
_DONORS = {"train": ("validation", "test"), "test": ("train", "validation"), "validation": ("train",)}


@dataclass(frozen=True)
class SplitImage:
    """The facts on which the split of an image depends.

    Attributes:
        item_id: item; its images stay together.
        duplicate_group: near-duplicates; they stay together.
        age: orders images by when they joined the catalogue; any comparable value.
        given: the split given by the source, or None.
    """

    item_id: str
    duplicate_group: str
    age: tuple[float, str]
    given: str | None


@dataclass(frozen=True)
class Splits:
    """The result of splitting.

    Attributes:
        names: train, validation or test per image.
        moved: number of images whose split differs from the given one, per "from to".
        groups: number of groups that had to stay together.
    """

    names: list[str]
    moved: dict[str, int]
    groups: int


def split_images(images: Sequence[SplitImage], parameters: CatalogueParameters) -> Splits:
    """Assign every image to train, validation or test.

    Images that share an item or a near-duplicate, directly or through others, form a group and get one split: the one
    given to any of them, and among several train before validation before test (training images must not be used to
    measure); otherwise the one chosen by the hash of the group's oldest item. So adding images moves no group, unless a new
    image joins two. If a split is then empty, though its share is not zero, it is filled from train by the same hash (and
    an empty training split from held-out groups whose split was not given).

    Returns:
        One name per image, independent of the order of the inputs.
    """
    group_of = _groups_of(images)
    oldest: dict[int, SplitImage] = {}
    given: dict[int, set[str]] = {}
    for image, group in zip(images, group_of, strict=True):
        if group not in oldest or image.age < oldest[group].age:
            oldest[group] = image
        if image.given is not None:
            given.setdefault(group, set()).add(image.given)
    place = {group: _place_of(image.item_id, parameters.seed) for group, image in oldest.items()}
    chosen = {
        group: next((name for name in ("train", "validation", "test") if name in given.get(group, ())), None)
        or _name_at(place[group], parameters)
        for group in oldest
    }
    _fill_empty(chosen, place, given, parameters)
    names = [chosen[group] for group in group_of]
    moved = Counter(f"{i.given} to {n}" for i, n in zip(images, names, strict=True) if i.given not in {None, n})
    return Splits(names, dict(sorted(moved.items())), len(oldest))


def _groups_of(images: Sequence[SplitImage]) -> list[int]:
    first: dict[tuple[str, str], int] = {}
    keys = [(("item", image.item_id), ("duplicate", image.duplicate_group)) for image in images]
    joined = [[first.setdefault(key, position) for key in pair] for position, pair in enumerate(keys)]
    positions = [position for position in range(len(images)) for _ in range(2)]
    return [int(group) for group in connected(len(images), np.array(joined, np.int64).ravel(), positions)]


def _place_of(item_id: str, seed: int) -> float:
    """Hash an item to [0, 1): the same in every catalogue, on every machine."""
    digest = hashlib.sha256(f"{seed}\0{item_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2.0**64


def _name_at(place: float, parameters: CatalogueParameters) -> str:
    if place < parameters.test_share:
        return "test"
    return "validation" if place < parameters.test_share + parameters.validation_share else "train"


def _fill_empty(
    chosen: dict[int, str], place: dict[int, float], given: dict[int, set[str]], parameters: CatalogueParameters
) -> None:
    """Take groups for an empty split from others: from train also groups with a given split, from the others only without."""
    shares = {"train": 1.0, "test": parameters.test_share, "validation": parameters.validation_share}
    for name, donors in _DONORS.items():
        for donor in donors:
            if shares[name] == 0 or name in chosen.values():
                break
            groups = sorted(
                (g for g, split in chosen.items() if split == donor and (donor == "train" or g not in given)),
                key=lambda group: place[group],
                reverse=name == "train",
            )
            by_hash = [group for group in groups if _name_at(place[group], parameters) == name] or groups[:1]
            spare = len(groups) - (donor != "validation")  # only validation can be left empty
            chosen.update(dict.fromkeys(by_hash[: max(0, spare)], name))
