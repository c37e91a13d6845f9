"""A generation on top of a release: images added and removed since, in the same space, without rebuilding the index.

Generations form a chain: each names its parent. Number k first removes, then adds, relative to the release and the
generations below it; a changed image is removed and added in the same generation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from components.shared.errors import (
    ContractError,
    DamagedArtifactError,
    ResourceError,
    SpaceMismatchError,
    VisualSearchError,
)
from components.shared.files.artifacts import FileEntry, check_files, list_files
from components.shared.files.atomic import write_json
from components.shared.files.layout import ITEMS_FILE
from components.shared.files.sealed import SealedManifest
from components.shared.files.tables import ITEMS, TableFormat, read_table, write_table
from components.shared.release.manifest import read_items
from components.shared.vectors.embeddings import Vectors, read_embeddings, write_embeddings

GENERATION_FILE = "generation.json"
EMBEDDINGS_FILE = "embeddings.parquet"
REMOVED_FILE = "removed.parquet"

REMOVED = TableFormat("removed", 1, pa.schema([pa.field("image_id", pa.string(), nullable=False)]), key=("image_id",))

_FILES = (ITEMS_FILE, EMBEDDINGS_FILE, REMOVED_FILE)


class GenerationManifest(SealedManifest):
    """The manifest of a generation, `generation.json`. `generation_id` is the digest of everything else in it.

    Attributes:
        release_id: the release at the bottom of the chain.
        number: 1 for the first generation on a release.
        parent: generation_id of the generation below; None if that is the release itself.
        added: number of images in `items.parquet` and `embeddings.parquet`.
        removed: number of images in `removed.parquet`.
    """

    kind = "generation"
    name_field = "generation_id"
    prefix = "g-"
    most_bytes = 1 << 20
    remedy = "extend the served release again"

    schema_version: Literal[1] = 1
    generation_id: str
    release_id: str
    space_id: str
    number: int = Field(ge=1)
    parent: str | None
    added: int = Field(ge=0)
    removed: int = Field(ge=0)
    files: dict[str, FileEntry]


@dataclass(frozen=True)
class Generation:
    """A loaded, verified generation.

    Attributes:
        items: table ITEMS of the added images; rows from 0.
        vectors: (a, d) float32 unit vectors, in the order of the items.
        removed: image ids that searches no longer return.
    """

    manifest: GenerationManifest
    items: pa.Table
    vectors: Vectors
    removed: tuple[str, ...]


def write_generation(
    directory: Path,
    *,
    release_id: str,
    space_id: str,
    number: int,
    parent: str | None,
    items: pa.Table,
    vectors: Vectors,
    removed: list[str],
) -> GenerationManifest:
    """Write a generation into an empty directory, its manifest last; it must not be changed afterwards.

    Args:
        directory: created if needed.
        release_id: the release at the bottom of the chain.
        space_id: space of the release, and so of the vectors.
        number: 1 + the number of the generation below.
        parent: generation_id of the generation below, None for the release itself.
        items: table ITEMS of the added images, rows from 0.
        vectors: (a, d) float32 unit vectors of the added images.
        removed: ids of images below that searches must no longer return.

    Raises:
        PoisonedVectorError: a vector is not finite or not of unit norm.
        ContractError: items and vectors do not belong together, or an id occurs twice.
        ResourceError: the disk is full.
    """
    ids = items.column("image_id").to_pylist()
    if vectors.ndim != 2 or len(ids) != len(vectors):
        raise ContractError(f"{directory}: expected one vector for each of {len(ids)} items, got {vectors.shape}")
    write_table(directory / ITEMS_FILE, items, ITEMS)
    write_embeddings(directory / EMBEDDINGS_FILE, ids, vectors, space_id=space_id)
    write_table(directory / REMOVED_FILE, pa.table({"image_id": pa.array(sorted(removed), pa.string())}), REMOVED)
    draft = GenerationManifest(
        generation_id="",
        release_id=release_id,
        space_id=space_id,
        number=number,
        parent=parent,
        added=len(ids),
        removed=len(removed),
        files=list_files(directory, leave_out=frozenset({GENERATION_FILE})),
    )
    if set(draft.files) != set(_FILES):
        raise ContractError(
            f"{directory} holds foreign files ({', '.join(sorted(draft.files))}); write into an empty one"
        )
    manifest = draft.model_copy(update={"generation_id": draft.digest()})
    write_json(directory / GENERATION_FILE, manifest.model_dump())
    return manifest


def read_generation_manifest(directory: Path) -> GenerationManifest:
    """Read only the manifest and check that its id is the digest of its contents.

    Raises:
        UnfinishedArtifactError: the file is missing.
        ContractError: the manifest is unreadable, of a newer version, or altered.
    """
    return GenerationManifest.read(directory / GENERATION_FILE)


def verify_generation(directory: Path) -> GenerationManifest:
    """Check every file of a generation against its manifest: names, sizes, SHA-256; foreign files are refused.

    Raises:
        ContractError: a file does not match (or a subclass); the message names it.
    """
    manifest = read_generation_manifest(directory)
    if set(manifest.files) != set(_FILES):
        raise ContractError(f"{directory} must list {', '.join(_FILES)} and nothing else; extend the release again")
    check_files(directory, manifest.files, digests=True)
    foreign = sorted({path.name for path in directory.iterdir()} - {*_FILES, GENERATION_FILE})
    if foreign:
        raise DamagedArtifactError(f"{directory / foreign[0]} is not in the manifest; remove it", file=foreign[0])
    return manifest


def open_generation(directory: Path, *, release_id: str, space_id: str, dimension: int) -> Generation:
    """Verify and load a generation.

    Args:
        directory: output of `write_generation`.
        release_id: the release that it must extend.
        space_id: space of that release.
        dimension: dimension d of that release.

    Raises:
        ContractError: a check failed (or a subclass); nothing of a failed generation is used.
    """
    manifest = verify_generation(directory)
    if manifest.release_id != release_id:
        raise ContractError(
            f"{directory} extends release {manifest.release_id}, {release_id} is served; extend the served release again"
        )
    if manifest.space_id != space_id:
        raise SpaceMismatchError(
            f"{directory} is of space {manifest.space_id}, the release of {space_id}; extend the served release again",
            expected=space_id,
            received=manifest.space_id,
        )
    try:
        return _load(directory, manifest, dimension)
    except (ContractError, ResourceError):
        raise
    except Exception as error:  # on foreign files any library can raise any error
        text = str(error) if isinstance(error, VisualSearchError) else f"{type(error).__name__}: {error}"
        raise ContractError(f"{directory} cannot be used as a generation ({text}); extend the release again") from error


def _load(directory: Path, manifest: GenerationManifest, dimension: int) -> Generation:
    items = read_items(directory / ITEMS_FILE, manifest.added)
    ids, vectors = read_embeddings(directory / EMBEDDINGS_FILE, space_id=manifest.space_id)
    removed = read_table(directory / REMOVED_FILE, REMOVED).column("image_id").to_pylist()

    def require(holds: bool, what: str) -> None:
        if not holds:
            raise ContractError(f"{directory}: {what}; extend the served release again")

    require(len(removed) == manifest.removed, "removes another number of images than its manifest says")
    require(items.column("image_id").to_pylist() == ids, "has items and vectors of different images")
    require(vectors.shape[1] == dimension, f"has {vectors.shape[1]} dimensions, the release {dimension}")
    require(len(set(removed)) == len(removed), "removes an image twice")
    return Generation(manifest, items, vectors, tuple(removed))


def stack_items(base: pa.Table, generations: Sequence[Generation]) -> tuple[pa.Table, NDArray[np.bool_]]:
    """Stack the items of a release and of its generations, and mark those that are still there.

    Args:
        base: table ITEMS of the release.
        generations: generations on the release, lowest first.

    Returns:
        Table ITEMS of all n rows ever added, in that order, and (n,) whether no later generation removed them.

    Raises:
        ContractError: a generation removes an image that is not there, or adds one that is.
    """
    table = pa.concat_tables([base, *(each.items for each in generations)], promote_options="permissive")
    image_ids = table.column("image_id")
    present = np.arange(table.num_rows) < base.num_rows
    start = base.num_rows
    for generation in generations:
        stop, name = start + generation.items.num_rows, generation.manifest.generation_id
        here = np.flatnonzero(present)
        below = image_ids.take(pa.array(here))
        gone = pc.is_in(below, value_set=pa.array(generation.removed, pa.string())).to_numpy().astype(np.bool_)
        if int(gone.sum()) != len(generation.removed):
            raise ContractError(
                f"{name} removes an image that the generations before it lack; extend the served release again"
            )
        present[here[gone]] = False
        kept = below.filter(pa.array(~gone))
        added = generation.items.column("image_id")
        if pc.any(pc.is_in(added, value_set=kept.combine_chunks())).as_py():
            raise ContractError(
                f"{name} adds an image that the generations before it have; extend the served release again"
            )
        present[start:stop] = True
        start = stop
    return table, present
