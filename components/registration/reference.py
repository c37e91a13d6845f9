"""The reference sample: embeddings and pictures of the catalogue with which monitoring compares the queries."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from components.shared.errors import BadImageError, DataError, SourceError
from components.shared.files.progress import progress
from components.shared.files.storage import read_bytes
from components.shared.pictures.decoder import DEFAULT_LIMITS, decode_picture, decoding_side
from components.shared.pictures.preprocessing import PreprocessingSpec
from components.shared.pictures.statistics import picture_statistics
from components.shared.release.reference import PICTURES_SCHEMA, write_reference_file
from components.shared.vectors.embeddings import read_embeddings_spec, read_shards


def write_reference(
    path: Path,
    embeddings: Path,
    items: pa.Table,
    *,
    space_id: str,
    preprocessing: PreprocessingSpec,
    rows: int,
    seed: int,
    threads: int = 0,
) -> int:
    """Write a seeded sample of the embeddings, reading one shard at a time.

    Each row includes statistics of its picture, measured as the transformer measures a query's; if a picture is no longer
    readable, its statistics are null.

    Args:
        path: file to write.
        embeddings: output of the embedding step.
        items: table ITEMS, with the addresses of the pictures.
        space_id: required space of the embeddings.
        preprocessing: preprocessing of the encoder; decides at which scale a large JPEG file is decoded.
        rows: largest number of rows.
        seed: seed of the sample.
        threads: number of threads that read pictures; 0: four.

    Returns:
        Number of all embeddings; at most `rows` of them were written.

    Raises:
        DataError: there are no embeddings.
        ContractError: the shards differ from `embeddings.json`, or are of another space.
    """
    total = read_embeddings_spec(embeddings, space_id=space_id).rows
    if not total:
        raise DataError(
            f"{embeddings} holds no embedding, so there is nothing to release; its failed.parquet gives the reasons"
        )
    sample = np.sort(np.random.default_rng(seed).choice(total, min(rows, total), replace=False))
    ids: list[str] = []
    parts, start = [], 0
    for shard_ids, vectors in read_shards(embeddings, space_id=space_id):
        wanted = sample[(sample >= start) & (sample < start + len(shard_ids))] - start
        ids += [shard_ids[int(row)] for row in wanted]
        parts.append(vectors[wanted])
        start += len(shard_ids)
    by_id = dict(zip(items.column("image_id").to_pylist(), items.column("uri").to_pylist(), strict=True))
    uris = [by_id.get(image_id) for image_id in ids]
    side = decoding_side(preprocessing)
    with ThreadPoolExecutor(threads or 4) as pool:
        measured = list(
            progress(pool.map(lambda uri: _measure(uri, side), uris), "reference", total=len(uris), unit="picture")
        )
    pictures = pa.Table.from_pylist(measured, PICTURES_SCHEMA)
    write_reference_file(path, ids, np.concatenate(parts), pictures, space_id=space_id)
    return total


def _measure(uri: str | None, side: int) -> dict[str, Any]:
    if uri is None:
        return {}
    try:
        data = read_bytes(uri, limit_bytes=DEFAULT_LIMITS.max_bytes)
        picture = decode_picture(data, minimum_side=side)
    except (SourceError, BadImageError):
        return {}
    size = {"width": picture.width, "height": picture.height, "bytes": len(data), "format": picture.format}
    return size | asdict(picture_statistics(picture.pixels))
