"""All embeddings in one matrix, checked, with the table that says which row is which image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.shared.embeddings import Vectors, read_embeddings_spec, read_shards
from components.shared.errors import ContractError, DataError, PoisonedVectorError
from components.shared.tables import ITEMS

_IN_MEMORY_BYTES = 1 << 30


def gather(embeddings: Path, scratch: Path) -> tuple[list[str], Vectors]:
    """Bring all shards together: (n ids, (n, d) float32), in memory up to 1 GiB, else as a memory map in `scratch`.

    Raises:
        PoisonedVectorError: naming shard or row and image of a vector that must not be published.
        DataError: there is nothing to index.
        ContractError: the shards hold more or fewer vectors than they say.
    """
    spec = read_embeddings_spec(embeddings)
    if not spec.rows:
        raise DataError(f"{embeddings} holds no embeddings, so there is nothing to index; its failed.parquet says why")
    shape = (spec.rows, spec.dimension)
    vectors: Vectors
    if 4 * spec.rows * spec.dimension <= _IN_MEMORY_BYTES:
        vectors = np.empty(shape, np.float32)
    else:
        vectors = np.memmap(scratch / "vectors.f32", np.float32, "w+", shape=shape)
    image_ids: list[str] = []
    for ids, values in read_shards(embeddings):
        if len(image_ids) + len(ids) > spec.rows:
            raise ContractError(
                f"{embeddings} holds more embeddings than it says ({spec.rows}); embed the images again"
            )
        vectors[len(image_ids) : len(image_ids) + len(ids)] = values
        image_ids += ids
    check_distinct(image_ids, source=str(embeddings))
    return image_ids, vectors


def check_distinct(image_ids: list[str], *, source: str) -> None:
    """Check that each image has one vector, over all shards.

    Raises:
        PoisonedVectorError: naming the first row that repeats an image.
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


def items_of(images: pa.Table, image_ids: list[str], source: str) -> tuple[pa.Table, list[str]]:
    """Return the ITEMS table, one row by embedding in their order, and the split of each.

    Args:
        images: table CATALOGUE.
        image_ids: ids of the embeddings, in the order of the index's rows.
        source: where the embeddings came from, for the message.

    Raises:
        ContractError: an embedding's image is not in the catalogue.
    """
    wanted = pa.array(image_ids, pa.string())
    places = pc.index_in(wanted, value_set=images.column("image_id").combine_chunks())
    if places.null_count:
        missing = image_ids[np.flatnonzero(places.is_null().to_numpy(zero_copy_only=False))[0]]
        raise ContractError(
            f"{source} holds an embedding of image {missing}, which is not in the catalogue; "
            "embed this catalogue, or index with the catalogue that was embedded"
        )
    rows = images.take(places)
    columns = [name for name in ITEMS.schema.names if name != "row"]
    items = rows.select(columns).add_column(0, "row", pa.array(np.arange(len(image_ids), dtype=np.int64)))
    return items, rows.column("split").to_pylist()
