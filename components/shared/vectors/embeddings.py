"""Embeddings: unit vectors with the ids of their images and their space, in Parquet shards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from components.shared.errors import ContractError, PoisonedVectorError, SpaceMismatchError, UnfinishedArtifactError
from components.shared.files.atomic import whole_file
from components.shared.files.specs import read_spec, write_spec

Vectors = NDArray[np.float32]

UNIT_TOLERANCE = 1e-3
EMBEDDINGS_SPEC_FILE = "embeddings.json"
FAILED_FILE = "failed.parquet"  # table QUARANTINE: images that could not be embedded
_SPACE_KEY = b"visual_search.space_id"


def normalise(vectors: NDArray[np.floating]) -> Vectors:
    """Scale every row to unit L2 norm.

    Raises:
        PoisonedVectorError: a row is zero or not finite.

    Example:
        >>> normalise(np.array([[3.0, 4.0]])).round(2).tolist()
        [[0.6000000238418579, 0.800000011920929]]
    """
    values = np.asarray(vectors, np.float32)
    norms = np.linalg.norm(values, axis=-1, keepdims=True)
    bad = ~(np.isfinite(norms) & (norms > 0))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise PoisonedVectorError(f"row {row} cannot be scaled to unit norm: its norm is {norms.flat[row]}", row=row)
    scaled: Vectors = values / norms
    return scaled


def check_vectors(vectors: NDArray[np.floating], image_ids: list[str] | None = None, *, source: str) -> None:
    """Check that every row is finite and of unit L2 norm (±1e-3), and that no id occurs twice.

    One row of norm 10,000 takes a scalar-quantised index from recall 0.99 to 0.02, silently. So this check runs wherever
    embeddings are written or read.

    Args:
        vectors: (n, d) float.
        image_ids: n ids; None: ids are not checked.
        source: origin of the rows, for messages.

    Raises:
        PoisonedVectorError: a row is bad; the message names the first one and its image.
    """
    values = np.asarray(vectors)
    squares = np.einsum("nd,nd->n", values, values, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        bad = ~(np.abs(np.sqrt(squares) - 1.0) <= UNIT_TOLERANCE)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        image_id = image_ids[row] if image_ids is not None else None
        norm = float(np.sqrt(squares[row]))
        kind = (
            "is not finite"
            if not np.isfinite(norm)
            else "is zero"
            if norm == 0
            else f"has norm {norm:.6g} instead of 1"
        )
        raise PoisonedVectorError(
            f"{source}: row {row}{f' (image {image_id})' if image_id else ''} {kind}; embed this image again or remove it",
            row=row,
            image_id=image_id,
        )
    if image_ids is not None and len(set(image_ids)) != len(image_ids):
        seen: set[str] = set()
        for row, image_id in enumerate(image_ids):
            if image_id in seen:
                raise PoisonedVectorError(
                    f"{source}: row {row} repeats image {image_id}; each image may have one vector",
                    row=row,
                    image_id=image_id,
                )
            seen.add(image_id)


def write_embeddings(path: Path, image_ids: list[str], vectors: Vectors, *, space_id: str) -> None:
    """Write one shard: image_id and embedding (fixed-size list of float32), all or nothing, with its space.

    Raises:
        PoisonedVectorError: a row is not finite or not of unit norm, or an id occurs twice.
    """
    check_vectors(vectors, image_ids, source=str(path))
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    table = pa.table(
        {
            "image_id": pa.array(image_ids, pa.string()),
            "embedding": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
        }
    ).replace_schema_metadata({_SPACE_KEY: space_id.encode()})
    with whole_file(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_embeddings(path: Path, *, space_id: str | None = None) -> tuple[list[str], Vectors]:
    """Read one shard: (ids, (n, d) float32 vectors).

    Raises:
        SpaceMismatchError: the shard is of another space than `space_id`.
        PoisonedVectorError: a row is not a unit vector.
        UnfinishedArtifactError: the file does not exist.
    """
    if not path.exists():
        raise UnfinishedArtifactError(
            f"{path} is missing: the step that embeds the images did not finish; run it again"
        )
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise ContractError(f"{path} is not a readable Parquet file ({error}); embed the shard again") from error
    found = (table.schema.metadata or {}).get(_SPACE_KEY, b"none").decode()
    if space_id is not None and found != space_id:
        raise SpaceMismatchError(
            f"{path} holds embeddings of space {found}, expected {space_id}; embed the catalogue with this encoder",
            expected=space_id,
            received=found,
        )
    column = table.column("embedding").combine_chunks()
    vectors = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), column.type.list_size)
    ids: list[str] = table.column("image_id").to_pylist()
    check_vectors(vectors, ids, source=str(path))
    return ids, vectors


class EmbeddingsSpec(BaseModel):
    """Contents of a directory of embeddings: `embeddings.json`.

    Attributes:
        dimension: length d of the vectors.
        rows: number n of vectors over all shards.
        shards: file names, in the order of the rows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    space_id: str
    dimension: int = Field(ge=1)
    rows: int = Field(ge=0)
    shards: list[str]


def write_embeddings_spec(directory: Path, spec: EmbeddingsSpec) -> None:
    """Write `embeddings.json`."""
    write_spec(directory / EMBEDDINGS_SPEC_FILE, spec)


def read_embeddings_spec(directory: Path, *, space_id: str | None = None) -> EmbeddingsSpec:
    """Read `embeddings.json`.

    Raises:
        SpaceMismatchError: the embeddings are of another space than `space_id`.
        UnfinishedArtifactError: the file does not exist.
        ContractError: it is unreadable.
    """
    path = directory / EMBEDDINGS_SPEC_FILE
    spec = read_spec(path, EmbeddingsSpec, subject="embeddings", step="embedding")
    if space_id is not None and spec.space_id != space_id:
        raise SpaceMismatchError(
            f"{path} describes embeddings of space {spec.space_id}, expected {space_id}; embed the catalogue with this encoder",
            expected=space_id,
            received=spec.space_id,
        )
    return spec


def read_shards(directory: Path, *, space_id: str | None = None) -> Iterator[tuple[list[str], Vectors]]:
    """Read and check the shards of an embedding artifact one after the other; see `read_all_embeddings`."""
    spec = read_embeddings_spec(directory, space_id=space_id)
    rows = 0
    for name in spec.shards:
        ids, vectors = read_embeddings(directory / name, space_id=spec.space_id)
        if vectors.shape[1] != spec.dimension:
            raise ContractError(
                f"{directory / name} holds {vectors.shape[1]} dimensions, {EMBEDDINGS_SPEC_FILE} says {spec.dimension}; "
                "run the embedding step again"
            )
        rows += len(ids)
        yield ids, vectors
    if rows != spec.rows:
        raise ContractError(
            f"{directory} holds {rows} embeddings, {EMBEDDINGS_SPEC_FILE} says {spec.rows}; embed them again"
        )


def read_all_embeddings(directory: Path, space_id: str | None = None) -> tuple[list[str], Vectors]:
    """Read an embedding artifact whole: (n ids, (n, d) float32 vectors), in the order of the rows.

    Raises:
        SpaceMismatchError: the embeddings are of another space than `space_id`.
        PoisonedVectorError: a row is not a unit vector, or an image occurs twice.
        ContractError: shards and `embeddings.json` disagree.
    """
    spec = read_embeddings_spec(directory, space_id=space_id)
    image_ids: list[str] = []
    vectors = np.empty((spec.rows, spec.dimension), np.float32)
    for ids, values in read_shards(directory, space_id=spec.space_id):
        if len(image_ids) + len(ids) > spec.rows:
            raise ContractError(f"{directory} holds more embeddings than {EMBEDDINGS_SPEC_FILE} says; embed them again")
        vectors[len(image_ids) : len(image_ids) + len(ids)] = values
        image_ids += ids
    if len(set(image_ids)) != len(image_ids):
        check_vectors(vectors, image_ids, source=str(directory))  # names the row
    return image_ids, vectors
