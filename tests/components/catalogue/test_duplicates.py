"""Groups of duplicates against comparing every pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.catalogue import duplicates
from components.catalogue.duplicates import connected, group_duplicates
from components.catalogue.fingerprints import FINGERPRINT_BYTES, fingerprint_of
from support.inputs.photographs import copies_of, make_photograph


def codes_with_copies(originals: int, copies: int, flips: list[int], seed: int = 0) -> list[bytes]:
    """Random hashes with a grey thumbnail, and copies with so many bits flipped."""
    rng = np.random.default_rng(seed)
    codes = np.full((originals + copies, FINGERPRINT_BYTES), 128, np.uint8)
    codes[:originals, :32] = rng.integers(0, 256, (originals, 32))
    for copy in range(copies):
        bits = np.unpackbits(codes[rng.integers(originals), :32])
        bits[rng.choice(256, flips[copy % len(flips)], replace=False)] ^= 1
        codes[originals + copy, :32] = np.packbits(bits)
    return [code.tobytes() for code in codes]


def group_by_loops(hashes: list[bytes], distance: int) -> list[int]:
    """Connected components by comparing all pairs and spreading labels until nothing changes."""
    bits = np.unpackbits(np.frombuffer(b"".join(hashes), np.uint8).reshape(len(hashes), -1)[:, :32], axis=1).astype(int)
    close = (bits[:, None] != bits[None]).sum(axis=2) <= distance
    labels = list(range(len(hashes)))
    changed = True
    while changed:
        changed = False
        for i in range(len(hashes)):
            for j in np.flatnonzero(close[i]):
                low = min(labels[i], labels[j])
                changed |= labels[i] != low or labels[j] != low
                labels[i] = labels[j] = low
    return labels


@pytest.mark.parametrize("few", [10**6, 0])
@pytest.mark.parametrize("distance", [0, 12, 23])
def test_groups_are_those_of_all_pairs(monkeypatch, few, distance):
    """With many pictures the index takes over: up to 23 bits it must find every pair."""
    monkeypatch.setattr(duplicates, "_FEW", few)
    codes = codes_with_copies(100, 100, [0, 1, 5, 12, 13, 23, 24, 40])
    digests = [f"{i}" for i in range(len(codes))]
    assert group_duplicates(digests, codes, distance=distance) == group_by_loops(codes, distance)


def test_the_index_finds_most_pairs_beyond_its_guarantee(monkeypatch):
    monkeypatch.setattr(duplicates, "_FEW", 0)
    codes = codes_with_copies(400, 400, [40])
    digests = [f"{i}" for i in range(len(codes))]
    found = group_duplicates(digests, codes, distance=40)
    assert np.mean([found[i] != i for i in range(400, 800)]) > 0.85


def test_equal_bytes_are_duplicates_whatever_the_fingerprint():
    assert group_duplicates(["a", "b", "a", "c", "b"], [None] * 5, distance=40) == [0, 1, 0, 3, 1]
    assert group_duplicates([], [], distance=40) == []
    assert group_duplicates(["a"], [None], distance=40) == [0]


def test_flat_pictures_are_not_duplicates_of_each_other():
    assert group_duplicates(["a", "b", "c"], [None] * 3, distance=64) == [0, 1, 2]


def test_a_hundred_thousand_equal_pictures_are_one_group():
    """Placeholders: their number must not be squared."""
    code = codes_with_copies(1, 0, [0]) * 100_000
    assert set(group_duplicates([f"{i}" for i in range(100_000)], code, distance=40)) == {0}


def test_real_copies_are_found_among_other_pictures():
    prints, truth = [], []
    for seed in range(12):
        picture = make_photograph(seed)
        first = len(prints)
        for copy in (picture, *copies_of(picture).values()):
            prints.append(fingerprint_of(copy))
            truth.append(first)
    assert group_duplicates([f"{i}" for i in range(len(prints))], prints, distance=40) == truth


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30))
def test_sets_are_the_connected_components(pairs):
    sets = [{i} for i in range(20)]
    for one, other in pairs:
        joined = sets[one] | sets[other]
        for member in joined:
            sets[member] = joined
    one, other = zip(*pairs, strict=True) if pairs else ((), ())
    assert connected(20, one, other).tolist() == [min(members) for members in sets]
