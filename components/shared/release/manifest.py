"""A release: everything that one answer depends on, in one immutable directory.

Encoder, preprocessing, index and id map are useless apart: an embedding of one encoder, searched in the index of another,
returns confident nonsense. So they are stored together, each file with its digest, and are verified together on loading.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, field_validator

from components.shared.errors import (
    ContractError,
    DamagedArtifactError,
    ResourceError,
    SpaceMismatchError,
    VisualSearchError,
)
from components.shared.files.artifacts import ARTIFACT_FILE, FileEntry, check_files, list_files
from components.shared.files.atomic import canonical_json, write_json
from components.shared.files.layout import ITEMS_FILE, MANIFEST_FILE
from components.shared.files.sealed import SealedManifest
from components.shared.files.tables import ITEMS, read_table
from components.shared.release.golden import check_golden_embeddings, check_golden_neighbours
from components.shared.vectors.encoder import ENCODER_FILE, ENCODER_INT8_FILE, EncoderSpec, OnnxEncoder, space_id_of
from components.shared.vectors.search import INDEX_FILE, VECTORS_FILE, CatalogueIndex, IndexSpec

REFERENCE_FILE = "reference_embeddings.parquet"
GOLDEN_FILE = "golden.parquet"

_OUTSIDE_DIGEST = frozenset({MANIFEST_FILE, ARTIFACT_FILE, "registered_model_meta"})  # MLflow adds the last on loading
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


class CatalogueFacts(BaseModel):
    """Facts about the catalogue of a release.

    Attributes:
        images: number of images in the index.
        items: number of distinct items on these images.
        generation: 0 for a new encoder; +1 with every re-indexing in the same space.
        parent: release_id of the release that was re-indexed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: int
    items: int
    generation: int = 0
    parent: str | None = None


class Manifest(SealedManifest):
    """The manifest of a release. `release_id` is the digest of everything else in it."""

    kind = "release"
    name_field = "release_id"
    prefix = "r-"
    most_bytes = 16 << 20
    remedy = "fetch or register the release again"

    schema_version: Literal[1] = 1
    release_id: str
    space_id: str
    encoder: EncoderSpec
    index: IndexSpec
    catalogue: CatalogueFacts
    metrics: dict[str, Any] = Field(default_factory=dict)
    gate: dict[str, Any] = Field(default_factory=dict)
    files: dict[str, FileEntry]

    @field_validator("files")
    @classmethod
    def _names_stay_inside(cls, files: dict[str, FileEntry]) -> dict[str, FileEntry]:
        """Refuse names that lead out of the directory, since a foreign manifest decides which files are copied where."""
        for name in files:
            if not _FILE_NAME.fullmatch(name) or name in _OUTSIDE_DIGEST:
                raise ValueError(f"{name!r} is not a valid file name in a release")
        return files

    def required_files(self) -> tuple[str, ...]:
        """Return the file names that a release must have."""
        vectors = () if self.index.vectors_file is None else (VECTORS_FILE,)
        return (ENCODER_FILE, INDEX_FILE, *vectors, ITEMS_FILE, REFERENCE_FILE, GOLDEN_FILE)


@dataclass(frozen=True)
class Release:
    """A loaded, verified release.

    Attributes:
        items: table ITEMS; row i describes Faiss id i.
    """

    directory: Path
    manifest: Manifest
    encoder: OnnxEncoder
    index: CatalogueIndex
    items: pa.Table


@dataclass(frozen=True)
class Searchable:
    """The part of a release that searching needs, verified; row i of the table ITEMS describes Faiss id i."""

    manifest: Manifest
    index: CatalogueIndex
    items: pa.Table


def seal_release(
    directory: Path,
    *,
    encoder: EncoderSpec,
    index: IndexSpec,
    catalogue: CatalogueFacts,
    metrics: Mapping[str, Any],
    gate: Mapping[str, Any],
) -> Manifest:
    """Write the manifest of the files in `directory`; they must not be changed afterwards.

    Raises:
        ContractError: a file is missing or has a name that a release must not have, or a figure is not finite.
    """
    try:
        draft = Manifest(
            release_id="",
            space_id=encoder.space_id,
            encoder=encoder,
            index=index,
            catalogue=catalogue,
            metrics=dict(metrics),
            gate=dict(gate),
            files=list_files(directory, leave_out=_OUTSIDE_DIGEST),
        )
        # Round trip through JSON, so that the digest covers exactly the values that a reader will parse.
        settled = Manifest.model_validate(json.loads(canonical_json(draft.model_dump())))
    except (ValueError, TypeError) as error:
        raise ContractError(f"{directory} cannot be sealed as a release: {error}") from error
    check_complete(directory, settled)
    manifest = settled.model_copy(update={"release_id": settled.digest()})
    write_json(directory / MANIFEST_FILE, manifest.model_dump())
    return manifest


def is_release(directory: Path) -> bool:
    """Whether a directory holds a release (its manifest is written last)."""
    return (directory / MANIFEST_FILE).is_file()


def read_manifest(directory: Path) -> Manifest:
    """Read only the manifest and check that its id is the digest of its contents.

    Raises:
        UnfinishedArtifactError: it is missing (MLflow gives an empty folder for a version whose files were deleted).
        ContractError: the manifest is unreadable, of a newer version, or altered.
        SpaceMismatchError: its space is not that of its encoder.
    """
    path = directory / MANIFEST_FILE
    manifest = Manifest.read(path)
    encoder = manifest.encoder
    if not manifest.space_id == encoder.space_id == space_id_of(encoder.onnx_sha256, encoder.preprocessing):
        raise SpaceMismatchError(
            f"{path} says space {manifest.space_id}, its encoder spans another; fetch the release again",
            expected=manifest.space_id,
            received=encoder.space_id,
        )
    return manifest


def verify_release(directory: Path) -> Manifest:
    """Check every file of a release against its manifest: names, sizes, SHA-256; foreign files are refused.

    Raises:
        ContractError: a file does not match (or a subclass); the message names it.
    """
    manifest = read_manifest(directory)
    check_complete(directory, manifest)
    check_files(directory, manifest.files, digests=True)
    present = {p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file()}
    foreign = sorted(present - set(manifest.files) - _OUTSIDE_DIGEST)
    if foreign:
        raise DamagedArtifactError(
            f"{directory / foreign[0]} is not in the manifest; fetch the release again", file=foreign[0]
        )
    return manifest


def is_intact(directory: Path, release_id: str) -> bool:
    """Whether a directory holds exactly this release, with every byte intact."""
    try:
        return verify_release(directory).release_id == release_id
    except ContractError:
        return False


def check_complete(directory: Path, manifest: Manifest) -> None:
    """Check that a manifest lists the required files and the encoder that it describes; reads no file.

    Raises:
        ContractError: something is missing or differs; the message names it.
    """
    for name in manifest.required_files():
        if name not in manifest.files:
            raise ContractError(f"{directory} lacks {name}, which every release has; build the release again")
    if manifest.files[ENCODER_FILE].sha256 != manifest.encoder.onnx_sha256:
        raise ContractError(
            f"{directory}: the manifest describes another encoder than {ENCODER_FILE}; build the release again"
        )
    quantised = None if manifest.encoder.runtime is None else manifest.encoder.runtime.int8_sha256
    listed = manifest.files.get(ENCODER_INT8_FILE)
    if quantised != (None if listed is None else listed.sha256):
        raise ContractError(
            f"{directory}: the manifest describes another {ENCODER_INT8_FILE} than it lists; build the release again"
        )


def open_release(directory: Path, *, threads: int = 0) -> Release:
    """Verify and load a release, and check that its golden pictures give the recorded results.

    `threads` is the number per call of the encoder; 0 uses all cores.

    Raises:
        ContractError: a check failed (or a subclass); nothing of a failed release is used.
    """
    searchable = open_catalogue(directory)
    manifest = searchable.manifest
    with _unusable_named(directory):
        encoder = OnnxEncoder(directory / ENCODER_FILE, threads=threads)
        if encoder.dimension != manifest.encoder.dimension:
            raise ContractError(
                f"{directory}: the encoder gives {encoder.dimension} dimensions, the manifest says "
                f"{manifest.encoder.dimension}; fetch the release again"
            )
        check_golden_embeddings(
            directory / GOLDEN_FILE,
            space_id=manifest.space_id,
            encode=encoder.encode,
            preprocessing=manifest.encoder.preprocessing,
        )
    return Release(directory, manifest, encoder, searchable.index, searchable.items)


def open_catalogue(directory: Path) -> Searchable:
    """Verify a release and load what searching needs; the golden embeddings must find their neighbours.

    Raises:
        ContractError: a check failed (or a subclass); nothing of a failed release is used.
    """
    manifest = verify_release(directory)
    with _unusable_named(directory):
        if manifest.encoder.dimension != manifest.index.dimension:
            raise ContractError(
                f"{directory}: the manifest says {manifest.encoder.dimension} dimensions, the index has "
                f"{manifest.index.dimension}; fetch the release again"
            )
        items = read_items(directory / ITEMS_FILE, manifest.index.rows)
        if manifest.catalogue.images != items.num_rows:
            raise ContractError(
                f"{directory}: {items.num_rows} items, the manifest says {manifest.catalogue.images}; fetch the release again"
            )
        index = CatalogueIndex.open(directory, manifest.index)
        check_golden_neighbours(
            directory / GOLDEN_FILE,
            space_id=manifest.space_id,
            index=index,
            image_ids=items.column("image_id").to_pylist(),
        )
    return Searchable(manifest, index, items)


def read_items(path: Path, rows: int) -> pa.Table:
    """Read a table ITEMS and check that it describes rows 0 … `rows` − 1, each a different image, without gaps.

    Raises:
        ContractError: a check failed; the message names it.
    """
    items = read_table(path, ITEMS)
    if items.num_rows != rows:
        raise ContractError(f"{path}: {items.num_rows} items for {rows} vectors; fetch or build it again")
    if items.schema.names != ITEMS.schema.names or items.schema.types != ITEMS.schema.types:
        raise ContractError(f"{path} has other columns than a table of items; fetch or build it again")
    for field in ITEMS.schema:
        if not field.nullable and items.column(field.name).null_count:
            raise ContractError(f"{path} has an empty value in column {field.name}; fetch or build it again")
    if not np.array_equal(items.column("row").to_numpy(), np.arange(rows)):
        raise ContractError(f"{path}: rows are not numbered from 0 in order; fetch or build it again")
    if pc.count_distinct(items.column("image_id")).as_py() != rows:
        raise ContractError(f"{path} holds an image twice; fetch or build it again")
    return items


@contextmanager
def _unusable_named(directory: Path) -> Iterator[None]:
    """Turn any error of a library on foreign files into a ContractError."""
    try:
        yield
    except (ContractError, ResourceError):
        raise
    except Exception as error:
        text = str(error) if isinstance(error, VisualSearchError) else f"{type(error).__name__}: {error}"
        raise ContractError(f"{directory} cannot be used as a release ({text}); fetch it again") from error


def copy_release(source: Path, destination: Path) -> Manifest:
    """Copy a release's own files (no foreign ones) into a directory and verify the copy.

    Raises:
        ContractError: `source` is not an intact release, or `destination` held other files (or a subclass).
    """
    manifest = read_manifest(source)
    destination.mkdir(parents=True, exist_ok=True)
    for name in (*manifest.files, MANIFEST_FILE):
        try:
            shutil.copyfile(source / name, destination / name)
        except FileNotFoundError as error:
            raise DamagedArtifactError(f"{source / name} is missing; fetch the release again", file=name) from error
    return verify_release(destination)
