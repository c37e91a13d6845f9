"""Groups of near-duplicate pictures, with far fewer than n² comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import faiss
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from components.catalogue.fingerprints import BITS, FINGERPRINT_BYTES, Fingerprints, hashes_of, look_alike

_FEW = 20_000  # up to this number every pair is compared
_PARTS, _PART_BITS, _FLIPS = 12, 20, 1
_QUERIES = 1024
_PAIRS = 4_000_000

Rows = NDArray[np.int64]


def connected(count: int, one: Sequence[int] | Rows, other: Sequence[int] | Rows) -> Rows:
    """Return for each of 0 … count − 1 the smallest member of its group; pairs (one, other) belong to one group."""
    graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(count, count))
    _, label = connected_components(graph, directed=False)
    _, first = np.unique(label, return_index=True)
    return np.asarray(first[label])


def group_duplicates(sha256: Sequence[str], fingerprints: Sequence[bytes | None], *, distance: int) -> list[int]:
    """Group pictures with equal bytes or close fingerprints; groups that share a member are merged.

    Args:
        sha256: n digests of the files.
        fingerprints: n fingerprints; None for a flat picture, whose only duplicates are equal files.
        distance: largest number of bits by which the hashes of near-duplicates differ.

    Returns:
        Per picture the smallest position in its group.
    """
    first: dict[str | bytes, int] = {}
    distinct: list[int] = []
    edges: list[tuple[int, int]] = []
    for position, keys in enumerate(zip(sha256, fingerprints, strict=True)):
        fresh = keys[1] is not None and keys[1] not in first
        edges += [(first.setdefault(key, position), position) for key in keys if key is not None]
        if fresh:
            distinct.append(position)
    groups = connected(len(sha256), *np.array(edges, np.int64).reshape(-1, 2).T)
    codes = np.frombuffer(b"".join(fingerprints[i] or b"" for i in distinct), np.uint8).reshape(-1, FINGERPRINT_BYTES)
    rows, everything = np.array(distinct, np.int64), np.arange(len(sha256))
    for one, other in _batched(_close_pairs(codes, distance)):
        pairs = np.concatenate([everything, rows[one]]), np.concatenate([groups, rows[other]])
        groups = connected(len(sha256), *pairs)
    return [int(group) for group in groups]


def _batched(pairs: Iterable[tuple[Rows, Rows]]) -> Iterator[tuple[Rows, Rows]]:
    """Join small batches of pairs, for one search of components per few million pairs, without holding all in memory."""
    gathered: list[tuple[Rows, Rows]] = []
    for found in pairs:
        gathered.append(found)
        if sum(len(one) for one, _ in gathered) >= _PAIRS:
            yield np.concatenate([one for one, _ in gathered]), np.concatenate([other for _, other in gathered])
            gathered = []
    if gathered:
        yield np.concatenate([one for one, _ in gathered]), np.concatenate([other for _, other in gathered])


def _close_pairs(codes: Fingerprints, distance: int) -> Iterator[tuple[Rows, Rows]]:
    """Yield rows (i, j), i < j, of fingerprints that are close in bits and in light and colour."""
    hashes = hashes_of(codes)
    if len(hashes) < 2:
        return
    index = _index_of(hashes)
    for start in range(0, len(hashes), _QUERIES):
        limits, _, found = index.range_search(hashes[start : start + _QUERIES], distance + 1)  # strictly below
        queries = np.repeat(np.arange(start, start + len(limits) - 1), np.diff(limits.astype(np.int64)))
        later = found > queries
        one, other = queries[later], found[later].astype(np.int64)
        alike = look_alike(codes[one], codes[other])
        yield one[alike], other[alike]


def _index_of(hashes: Fingerprints) -> faiss.IndexBinary:
    """Index hashes for a search by radius.

    Many hashes are stored in 12 tables keyed by 20 bits each; a key matches with up to one differing bit. By the pigeonhole
    principle every pair up to 23 bits apart is found; of pairs 40 bits apart, about 93 in 100 (measured). Whether a pair is
    found depends on its two hashes alone. A million hashes take about two minutes of one core.
    Source: Norouzi, Punjani and Fleet, "Fast search in Hamming space with multi-index hashing", CVPR 2012.
    """
    if len(hashes) <= _FEW:
        index = faiss.IndexBinaryFlat(BITS)
    else:
        index = faiss.IndexBinaryMultiHash(BITS, _PARTS, _PART_BITS)
        index.nflip = _FLIPS
    index.add(hashes)
    return index
