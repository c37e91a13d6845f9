"""All embeddings in one matrix, checked, with the table that maps rows to images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.shared.errors import ContractError, DataError, PoisonedVectorError
from components.shared.files.tables import ITEMS
from components.shared.vectors.embeddings import Vectors, read_embeddings_spec, read_shards

_IN_MEMORY_BYTES = 1 << 30


def read_image_ids(embeddings: Path) -> list[str]:
    """Return the ids of all embedded images, in the order of the shards.

    Raises:
        PoisonedVectorError: an image occurs twice.
        DataError: there is nothing to index.
        ContractError: the shards hold more or fewer vectors than their description states.
    """
    spec = read_embeddings_spec(embeddings)
    image_ids: list[str] = []
    for name in spec.shards:
        image_ids += pq.read_table(embeddings / name, columns=["image_id"]).column("image_id").to_pylist()
    if len(image_ids) != spec.rows:
        raise ContractError(
            f"{embeddings} holds {len(image_ids)} embeddings and says {spec.rows}; embed the images again"
        )
    if not image_ids:
        raise DataError(f"{embeddings} holds no embeddings, so there is nothing to index; its failed.parquet says why")
    check_distinct(image_ids, source=str(embeddings))
    return image_ids


def gather(embeddings: Path, places: NDArray[np.int64], scratch: Path) -> Vectors:
    """Read all shards into one matrix, in memory up to 1 GiB, else as a memory map in `scratch`.

    Args:
        embeddings: output of the embedding step.
        places: (n,) the index's row of each embedding, in the order of the shards; a permutation.
        scratch: folder for the memory map.

    Returns:
        (n, d) float32; every row a finite unit vector.

    Raises:
        PoisonedVectorError: a vector is not finite or not of unit norm; the message names shard, row and image.
    """
    spec = read_embeddings_spec(embeddings)
    shape = (spec.rows, spec.dimension)
    vectors: Vectors
    if 4 * spec.rows * spec.dimension <= _IN_MEMORY_BYTES:
        vectors = np.empty(shape, np.float32)
    else:
        vectors = np.memmap(scratch / "vectors.f32", np.float32, "w+", shape=shape)
    start = 0
    for ids, values in read_shards(embeddings):
        vectors[places[start : start + len(ids)]] = values
        start += len(ids)
    return vectors


def check_distinct(image_ids: list[str], *, source: str) -> None:
    """Check that each image has only one vector in all shards.

    Raises:
        PoisonedVectorError: an image repeats; the message names the first such row.
    """
    if len(set(image_ids)) == len(image_ids):
        return
    seen: dict[str, int] = {}
    for row, image_id in enumerate(image_ids):
        if image_id in seen:
            raise PoisonedVectorError(
                f"{source}: row {row} repeats image {image_id} of row {seen[image_id]}; each image may have one vector, "
                "embed the catalogue again",
                row=row,
                image_id=image_id,
            )
        seen[image_id] = row


def locate(images: pa.Table, image_ids: list[str], source: str) -> NDArray[np.int64]:
    """Return the row in the catalogue of each embedding.

    `images` is the table CATALOGUE; `source`, the origin of the embeddings, is for messages.

    Raises:
        ContractError: an embedding's image is not in the catalogue.
    """
    rows = pc.index_in(pa.array(image_ids, pa.string()), value_set=images.column("image_id").combine_chunks())
    if rows.null_count:
        missing = image_ids[int(np.flatnonzero(rows.is_null().to_numpy(zero_copy_only=False))[0])]
        raise ContractError(
            f"{source} holds an embedding of image {missing}, which is not in the catalogue; "
            "embed this catalogue, or index with the catalogue that was embedded"
        )
    return np.asarray(rows.to_numpy(zero_copy_only=False), np.int64)


def items_table(images: pa.Table, rows: NDArray[np.int64]) -> pa.Table:
    """Return the table ITEMS: row i of the index is catalogue row `rows[i]`."""
    chosen = images.take(pa.array(rows)).select([name for name in ITEMS.schema.names if name != "row"])
    return chosen.add_column(0, "row", pa.array(np.arange(len(rows), dtype=np.int64)))
