"""The reference sample: embeddings of the catalogue that monitoring compares with what people ask."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from components.shared.embeddings import read_embeddings_spec, read_shards, write_embeddings
from components.shared.errors import DataError


def write_reference(path: Path, embeddings: Path, *, space_id: str, rows: int, seed: int) -> int:
    """Write a seeded sample of the embeddings; they are read shard by shard, never all at once.

    Args:
        path: file to write.
        embeddings: output of the embedding step.
        space_id: the space that they must be of.
        rows: at most so many.
        seed: decides which.

    Returns:
        Number of all embeddings, of which at most `rows` were written.

    Raises:
        DataError: there are none.
        ContractError: the shards do not hold what `embeddings.json` says, or are of another space.
    """
    total = read_embeddings_spec(embeddings, space_id=space_id).rows
    if not total:
        raise DataError(f"{embeddings} holds no embedding, so there is nothing to release; look at its failed.parquet")
    sample = np.sort(np.random.default_rng(seed).choice(total, min(rows, total), replace=False))
    ids: list[str] = []
    parts, start = [], 0
    for shard_ids, vectors in read_shards(embeddings, space_id=space_id):
        wanted = sample[(sample >= start) & (sample < start + len(shard_ids))] - start
        ids += [shard_ids[int(row)] for row in wanted]
        parts.append(vectors[wanted])
        start += len(shard_ids)
    write_embeddings(path, ids, np.concatenate(parts), space_id=space_id)
    return total
