from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.indexing.clustering import apportion, spherical_kmeans, two_level_kmeans
from support.factories.basics import make_vectors

VECTORS = make_vectors(8000, 12, clusters=300, spread=0.3)


def similarity(vectors, centroids):
    """Mean cosine to the nearest centroid, by an explicit product."""
    return float((vectors @ centroids.T).max(axis=1).mean())


@pytest.mark.parametrize("k", [1, 7, 64, 65, 200, 401])
def test_gives_k_distinct_unit_centroids(k):
    centroids = two_level_kmeans(VECTORS, k, seed=0)
    assert centroids.shape == (k, 12)
    np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1, atol=1e-5)
    assert len(np.unique(centroids.round(6), axis=0)) == k


def test_two_levels_lose_little_against_one():
    two = similarity(VECTORS, two_level_kmeans(VECTORS, 256, seed=0))
    one = similarity(VECTORS, spherical_kmeans(VECTORS, 256, seed=0, iterations=10))
    chance = similarity(VECTORS, VECTORS[:256])
    assert two - chance > 0.85 * (one - chance)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others():
    assert two_level_kmeans(VECTORS, 128, seed=3).tobytes() == two_level_kmeans(VECTORS, 128, seed=3).tobytes()
    assert two_level_kmeans(VECTORS, 128, seed=3).tobytes() != two_level_kmeans(VECTORS, 128, seed=4).tobytes()


def test_as_many_centroids_as_vectors_are_the_vectors():
    few = VECTORS[:100]
    centroids = two_level_kmeans(few, 100, seed=0)
    assert sorted(map(tuple, centroids.round(5).tolist())) == sorted(map(tuple, few.round(5).tolist()))


def test_copies_do_not_stop_it():
    centroids = two_level_kmeans(np.repeat(VECTORS[:10], 100, axis=0), 100, seed=0)
    assert centroids.shape == (100, 12)
    assert np.isfinite(centroids).all()


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30).filter(sum), st.data())
def test_seats_add_up_and_no_region_gets_more_than_it_has(sizes, data):
    total = data.draw(st.integers(1, sum(sizes)))
    sizes = np.array(sizes, np.int64)
    seats = apportion(sizes, total)
    assert seats.sum() == total
    assert (seats <= sizes).all()
    assert (seats >= np.floor(sizes * total / sizes.sum() - 1e-9)).all()
