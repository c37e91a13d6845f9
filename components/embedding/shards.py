"""Shards: the images of a catalogue in portions, each embedded whole or not at all, by any process, in any order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.embedding.images import Failure, ImageEmbedder
from components.embedding.source import EarlierVectors
from components.shared.files.tables import QUARANTINE, write_table
from components.shared.vectors.embeddings import Vectors, write_embeddings


@dataclass(frozen=True)
class Shard:
    """One portion of the catalogue.

    Attributes:
        number: from 0.
        start: first row of the catalogue.
        stop: row after the last.
    """

    number: int
    start: int
    stop: int

    @property
    def embeddings_file(self) -> str:
        """Name of the file of vectors; it is written last, so where it lies the shard is finished."""
        return f"embeddings-{self.number:05d}.parquet"

    @property
    def failures_file(self) -> str:
        """Name of the file of pictures that could not be embedded."""
        return f"failed-{self.number:05d}.parquet"


def plan_shards(images: int, shard_images: int) -> list[Shard]:
    """Cut `images` rows into shards; the same every time.

    Example:
        >>> [(shard.start, shard.stop) for shard in plan_shards(10, 4)]
        [(0, 4), (4, 8), (8, 10)]
    """
    return [
        Shard(number, start, min(start + shard_images, images))
        for number, start in enumerate(range(0, images, shard_images))
    ]


def is_finished(directory: Path, shard: Shard) -> bool:
    """Whether the shard's files lie in `directory`."""
    return (directory / shard.embeddings_file).exists() and (directory / shard.failures_file).exists()


def make_shard(
    directory: Path,
    shard: Shard,
    images: pa.Table,
    *,
    embedder: ImageEmbedder,
    earlier: EarlierVectors | None,
    space_id: str,
    dimension: int,
    advance: Callable[[int], object] = lambda images: None,
) -> None:
    """Embed one shard and write its two files; nothing to do where they lie already.

    Args:
        directory: for the files; may be shared by many processes.
        shard: which rows.
        images: the whole table CATALOGUE.
        embedder: pictures → vectors.
        earlier: vectors to take over for images that have not changed.
        space_id: of the encoder.
        dimension: of its vectors.
        advance: called with the number of images done, again and again.
    """
    if is_finished(directory, shard):
        advance(shard.stop - shard.start)
        return
    rows = images.slice(shard.start, shard.stop - shard.start)
    vectors = np.zeros((rows.num_rows, dimension), np.float32)
    present = np.zeros(rows.num_rows, np.bool_)
    if earlier is not None:
        known, taken = earlier.find(rows)
        vectors[known], present[known] = taken, True
        advance(len(known))
    wanted = np.flatnonzero(~present)
    uris = rows.column("uri").to_pylist()
    failures: list[Failure] = []
    for batch in embedder.embed([uris[row] for row in wanted]):
        vectors[wanted[batch.rows]], present[wanted[batch.rows]] = batch.vectors, True
        failures += batch.failures
        advance(len(batch.rows) + len(batch.failures))
    _write(directory, shard, rows, vectors, present, [(uris[wanted[f.row]], f) for f in failures], space_id)


def _write(
    directory: Path,
    shard: Shard,
    rows: pa.Table,
    vectors: Vectors,
    present: NDArray[np.bool_],
    failures: list[tuple[str, Failure]],
    space_id: str,
) -> None:
    table = pa.Table.from_pylist(
        [{"uri": uri, "reason": failure.reason, "message": failure.message} for uri, failure in failures],
        QUARANTINE.schema,
    )
    write_table(directory / shard.failures_file, table, QUARANTINE)
    ids = np.asarray(rows.column("image_id").to_pylist(), object)[present].tolist()
    write_embeddings(directory / shard.embeddings_file, ids, vectors[present], space_id=space_id)
