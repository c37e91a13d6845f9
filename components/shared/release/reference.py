"""The reference of a release: embeddings of some of its images, and statistics of their pictures.

It is a file of embeddings (`write_embeddings`) with added columns: registration writes it, monitoring reads it. Older
releases hold the embeddings alone.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from components.shared.errors import ContractError
from components.shared.files.atomic import whole_file
from components.shared.files.tables import QUERY_SAMPLES
from components.shared.vectors.embeddings import Vectors, write_embeddings

# The same columns as for a sampled query.
PICTURE_COLUMNS = ("width", "height", "bytes", "format", "brightness", "contrast", "sharpness", "saturation")
PICTURES_SCHEMA = pa.schema([QUERY_SAMPLES.schema.field(name).with_nullable(True) for name in PICTURE_COLUMNS])


def write_reference_file(
    path: Path, image_ids: list[str], vectors: Vectors, pictures: pa.Table, *, space_id: str
) -> None:
    """Write embeddings and picture statistics, all or nothing.

    Args:
        path: file to write.
        image_ids: n ids.
        vectors: (n, d) float32 unit vectors.
        pictures: PICTURES_SCHEMA, n rows; all columns of a row are null if the picture could not be read.
        space_id: space of the vectors.

    Raises:
        PoisonedVectorError: a row is not finite or not of unit norm.
        ContractError: the numbers of pictures and vectors differ.
    """
    if pictures.num_rows != len(image_ids):
        raise ContractError(f"{path}: {pictures.num_rows} pictures for {len(image_ids)} embeddings; measure each once")
    write_embeddings(path, image_ids, vectors, space_id=space_id)
    table = pq.read_table(path)
    for field, column in zip(PICTURES_SCHEMA, pictures.select(list(PICTURE_COLUMNS)).columns, strict=True):
        table = table.append_column(field, column.cast(field.type))
    with whole_file(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_reference_pictures(path: Path) -> pa.Table | None:
    """Read the statistics of the pictures, PICTURES_SCHEMA, one row per embedding; None if the release has none.

    Raises:
        ContractError: the columns have other types.
    """
    schema = pq.read_schema(path)
    if any(name not in schema.names for name in PICTURE_COLUMNS):
        return None
    table = pq.read_table(path, columns=list(PICTURE_COLUMNS))
    if table.schema.types != PICTURES_SCHEMA.types:
        raise ContractError(f"{path} has picture statistics of other types; fetch the release again")
    return table
