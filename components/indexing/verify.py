"""Checks that the files on disk hold the indexed vectors and give the same answers as the index that was built."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.shared.errors import ContractError, PoisonedVectorError
from components.shared.vectors.embeddings import Vectors, check_vectors
from components.shared.vectors.neighbours import BLOCK_ROWS
from components.shared.vectors.search import CatalogueIndex, IndexSpec, Neighbours

_FLOAT16_ERROR = 1e-3  # per component of a unit vector: half a unit in the 11th binary place
SAMPLED_ROWS = 256


def check_blocks(vectors: Vectors) -> None:
    """Check all rows, without copying a memory map into memory.

    Raises:
        PoisonedVectorError: a row is not a finite unit vector; the message names the first one.
    """
    for start in range(0, len(vectors), BLOCK_ROWS):
        try:
            check_vectors(vectors[start : start + BLOCK_ROWS], source="index")
        except PoisonedVectorError as error:
            row = start + error.row
            raise PoisonedVectorError(
                f"row {row} of the vectors to index is not a finite unit vector; embed its image again or remove it",
                row=row,
            ) from error


def verify_index(directory: Path, spec: IndexSpec, vectors: Vectors, built: CatalogueIndex, *, seed: int) -> None:
    """Read the index back from disk, and compare its rows with the input and its answers with those of the built index.

    `vectors` are the input, `built` is the index in memory; `seed` chooses the sampled rows.

    Raises:
        ContractError: a row differs; the message names the first one.
        PoisonedVectorError: a stored row is not a unit vector.
    """
    index = CatalogueIndex.open(directory, spec)
    rows = sampled_rows(len(vectors), SAMPLED_ROWS, seed)
    wanted = np.asarray(vectors[rows], np.float32)
    stored = index.stored(rows)
    differs = ~(np.abs(stored - wanted).max(axis=1) <= _FLOAT16_ERROR)
    if differs.any():
        row = int(rows[np.flatnonzero(differs)[0]])
        raise ContractError(
            f"{directory}: row {row} of the index is not the vector that went in; build the index again"
        )
    k = min(10, spec.rows)
    found, expected = index.search(wanted, k), built.search(wanted, k)
    check_equal_answers(found, expected, rows, directory)
    itself = (found.rows == rows[:, None]).any(axis=1) | (found.scores[:, -1] >= np.einsum("rd,rd->r", stored, wanted))
    if itself.mean() < spec.recall.ann_recall_at_10 - 0.1:
        row = int(rows[np.flatnonzero(~itself)[0]])
        raise ContractError(
            f"{directory}: only {itself.mean():.0%} of the sampled rows find themselves (row {row} does not); "
            "build the index again"
        )


def check_equal_answers(found: Neighbours, expected: Neighbours, rows: NDArray[np.int64], directory: Path) -> None:
    """Check that two answers are equal, number by number.

    Raises:
        ContractError: a query differs; the message names the first one.
    """
    same = (found.rows == expected.rows).all(axis=1) & (found.scores == expected.scores).all(axis=1)
    if not same.all():
        row = int(rows[np.flatnonzero(~same)[0]])
        raise ContractError(
            f"{directory}: read back from disk, the index answers row {row} differently from the one that was built; "
            "build it again, on another disk if that fails too"
        )


def sampled_rows(n: int, most: int, seed: int) -> NDArray[np.int64]:
    """Return at most `most` of n row numbers, ascending."""
    if n <= most:
        return np.arange(n, dtype=np.int64)
    return np.sort(np.random.default_rng(seed).choice(n, most, replace=False)).astype(np.int64)
