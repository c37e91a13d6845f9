"""Pairs that need no human label: an image and its altered copy, images of one item, images of one category."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Codes = NDArray[np.int64]


def image_pairs(groups: Codes, forbidden: Codes, *, per_image: int, seed: int) -> tuple[Codes, Codes]:
    """Choose for each image, as the query, up to `per_image` others of its group.

    The images of a group are shuffled and arranged in a ring; each takes those that follow it, skipping forbidden ones,
    so that every image is chosen about equally often.

    Args:
        groups: (n,) group of each image; −1: none, no pairs.
        forbidden: (n,) images with an equal code make no pair (for example near-duplicates).
        per_image: largest number of others per image.
        seed: seed of the shuffle.

    Returns:
        Rows of queries and of positives, (pairs,) each, sorted by query.
    """
    n = len(groups)
    order = np.random.default_rng(seed).permutation(n)
    order = order[np.argsort(groups[order], kind="stable")]
    order = order[groups[order] >= 0]
    sorted_groups = groups[order]
    start = np.searchsorted(sorted_groups, sorted_groups, "left")
    size = np.searchsorted(sorted_groups, sorted_groups, "right") - start
    place = np.arange(len(order)) - start
    taken = np.zeros(len(order), np.int64)
    queries, positives = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    furthest = min(int(size.max(initial=1)) - 1, 4 * per_image)  # number of tries, in case many are forbidden
    for step in range(1, furthest + 1):
        other = start + (place + step) % np.maximum(size, 1)
        good = (step < size) & (taken < per_image) & (forbidden[order] != forbidden[order[other]])
        taken += good
        queries.append(order[good])
        positives.append(order[other[good]])
    query, positive = np.concatenate(queries), np.concatenate(positives)
    by_query = np.lexsort((positive, query))
    return query[by_query], positive[by_query]


def codes(column: pa.ChunkedArray) -> Codes:
    """Number the distinct values of a column; −1 for null."""
    encoded = column.combine_chunks().dictionary_encode()
    return np.asarray(encoded.indices.fill_null(-1), np.int64)
