"""A release: everything that one answer depends on, in one immutable directory.

Encoder, preprocessing, index and id map are useless apart: an embedding of one encoder, searched in the index of another,
gives confident nonsense. So they travel together, each file with its digest, and are checked together on loading.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.shared.artifacts import ARTIFACT_FILE, FileEntry, check_files, list_files
from components.shared.decoder import decode_image
from components.shared.embeddings import read_embeddings
from components.shared.encoder import ENCODER_FILE, EncoderSpec, OnnxEncoder, space_id_of
from components.shared.errors import ContractError, DamagedArtifactError, SpaceMismatchError, UnfinishedArtifactError
from components.shared.files import digest_of, write_json
from components.shared.preprocessing import preprocess
from components.shared.search import CatalogueIndex, IndexSpec
from components.shared.tables import ITEMS, read_table

MANIFEST_FILE = "manifest.json"
INDEX_FILE = "index.faiss"
VECTORS_FILE = "vectors.f16"
ITEMS_FILE = "items.parquet"
REFERENCE_FILE = "reference_embeddings.parquet"
GOLDEN_FILE = "golden.parquet"

GOLDEN_MIN_COSINE = 0.9995  # decoders and arithmetic differ a little between CPUs; another encoder is far below
GOLDEN_MIN_OVERLAP = 0.8  # share of the expected ids; ties and rounding may move the last ones

_OUTSIDE_DIGEST = frozenset({MANIFEST_FILE, ARTIFACT_FILE, "registered_model_meta"})  # MLflow adds the last on loading


class CatalogueFacts(BaseModel):
    """What the release can find.

    Attributes:
        images: number of images in the index.
        items: number of items that they show.
        generation: 0 for a new encoder; +1 with every re-indexing in the same space.
        parent: release_id that this generation was made from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: int
    items: int
    generation: int = 0
    parent: str | None = None


class Manifest(BaseModel):
    """The manifest of a release. `release_id` is the digest of everything else in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    release_id: str
    space_id: str
    encoder: EncoderSpec
    index: IndexSpec
    catalogue: CatalogueFacts
    metrics: dict[str, Any] = Field(default_factory=dict)
    gate: dict[str, Any] = Field(default_factory=dict)
    files: dict[str, FileEntry]

    def digest(self) -> str:
        """Return the release_id that the contents give."""
        return "r-" + digest_of(self.model_dump(mode="json", exclude={"release_id"}))[:16]


@dataclass(frozen=True)
class Release:
    """A loaded, verified release.

    Attributes:
        directory: where its files lie.
        manifest: what it is.
        encoder: pictures → embeddings.
        index: embeddings → neighbours.
        items: table ITEMS; row i describes Faiss id i.
    """

    directory: Path
    manifest: Manifest
    encoder: OnnxEncoder
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
    """Write the manifest over the files that lie in `directory`; nothing may be changed afterwards."""
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
    # Through JSON once, so that the digest is of exactly what a reader will parse.
    settled = Manifest.model_validate(json.loads(json.dumps(draft.model_dump(mode="json"), allow_nan=False)))
    manifest = settled.model_copy(update={"release_id": settled.digest()})
    write_json(directory / MANIFEST_FILE, manifest.model_dump(mode="json"))
    return manifest


def is_release(directory: Path) -> bool:
    """Whether a directory holds a release (its manifest is written last)."""
    return (directory / MANIFEST_FILE).is_file()


def read_manifest(directory: Path) -> Manifest:
    """Read the manifest alone and check that it is true to itself.

    Raises:
        UnfinishedArtifactError: there is none (MLflow gives an empty folder for a version whose files were deleted).
        ContractError: unreadable, of a newer version, or altered.
        SpaceMismatchError: its space is not that of its encoder.
    """
    path = directory / MANIFEST_FILE
    if not path.is_file():
        raise UnfinishedArtifactError(f"{directory} holds no {MANIFEST_FILE}, so it is no release; register it again")
    try:
        manifest = Manifest.model_validate(json.loads(path.read_text()))
    except (ValueError, ValidationError) as error:
        raise ContractError(f"{path} is not a release manifest of version 1: {error}") from error
    if manifest.digest() != manifest.release_id:
        raise ContractError(f"{path} was altered: its contents do not give {manifest.release_id}; fetch the release again")
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
        ContractError: or one of its kinds, naming the file.
    """
    manifest = read_manifest(directory)
    check_files(directory, manifest.files, digests=True)
    present = {p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file()}
    foreign = sorted(present - set(manifest.files) - _OUTSIDE_DIGEST)
    if foreign:
        raise DamagedArtifactError(f"{directory / foreign[0]} is not in the manifest; fetch the release again", file=foreign[0])
    if manifest.files.get(ENCODER_FILE, None) is None or manifest.files[ENCODER_FILE].sha256 != manifest.encoder.onnx_sha256:
        raise ContractError(f"{directory}: the manifest describes another encoder than {ENCODER_FILE}")
    return manifest


def open_release(directory: Path, *, threads: int = 0) -> Release:
    """Verify and load a release, and check that its golden pictures still give what they must.

    Raises:
        ContractError: or one of its kinds; nothing of a release that fails is ever used.
    """
    manifest = verify_release(directory)
    encoder = OnnxEncoder(directory / ENCODER_FILE, threads=threads)
    index = CatalogueIndex.open(directory, manifest.index)
    items = read_table(directory / ITEMS_FILE, ITEMS)
    if encoder.dimension != manifest.encoder.dimension or manifest.index.dimension != encoder.dimension:
        raise ContractError(f"{directory}: encoder gives {encoder.dimension} dimensions, index has {manifest.index.dimension}")
    if items.num_rows != manifest.index.rows or manifest.catalogue.images != items.num_rows:
        raise ContractError(f"{directory}: {items.num_rows} items for an index of {manifest.index.rows} rows")
    release = Release(directory, manifest, encoder, index, items)
    check_golden(release)
    return release


def write_golden(
    path: Path, *, image_ids: list[str], pictures: list[bytes], embeddings: np.ndarray, expected: list[list[str]], space_id: str
) -> None:
    """Write golden pictures: encoded bytes, the embedding and the ids of the neighbours that they must give.

    Args:
        path: file to write.
        image_ids: g ids of public, appropriate images.
        pictures: their encoded bytes (the decoder is part of what is checked).
        embeddings: (g, d) float32.
        expected: ids in rank order, for each.
        space_id: space of the embeddings.
    """
    flat = pa.array(np.ascontiguousarray(embeddings, np.float32).reshape(-1))
    table = pa.table(
        {
            "image_id": pa.array(image_ids, pa.string()),
            "picture": pa.array(pictures, pa.binary()),
            "embedding": pa.FixedSizeListArray.from_arrays(flat, embeddings.shape[1]),
            "expected_image_ids": pa.array(expected, pa.list_(pa.string())),
        }
    ).replace_schema_metadata({b"visual_search.space_id": space_id.encode()})
    pq.write_table(table, path, compression="zstd")


def check_golden(release: Release) -> None:
    """Decode, embed and search every golden picture and compare with what was found when the release was made.

    Raises:
        ContractError: naming the picture and how far it is off.
    """
    path = release.directory / GOLDEN_FILE
    ids, expected_vectors = read_embeddings(path, space_id=release.manifest.space_id)
    table = pq.read_table(path, columns=["picture", "expected_image_ids"]).to_pylist()
    spec = release.manifest.encoder.preprocessing
    images = np.stack([preprocess(decode_image(row["picture"], minimum_side=spec.side), spec) for row in table])
    vectors = release.encoder.encode(images)
    cosines = np.einsum("gd,gd->g", vectors, expected_vectors)
    k = max(len(row["expected_image_ids"]) for row in table)
    found = release.index.search(vectors, min(k, release.items.num_rows)).rows
    all_ids = release.items.column("image_id")
    for index, (image_id, row) in enumerate(zip(ids, table, strict=True)):
        if cosines[index] < GOLDEN_MIN_COSINE:
            raise ContractError(
                f"{release.directory}: golden picture {image_id} gives an embedding of cosine {cosines[index]:.4f} to the "
                f"recorded one (at least {GOLDEN_MIN_COSINE}); decoder, preprocessing or encoder differ from the release's"
            )
        expected = row["expected_image_ids"]
        got = {all_ids[int(r)].as_py() for r in found[index] if r >= 0}
        if len(got & set(expected)) < GOLDEN_MIN_OVERLAP * len(expected):
            raise ContractError(
                f"{release.directory}: golden picture {image_id} finds {len(got & set(expected))} of the {len(expected)} "
                "expected images; the index is not the release's"
            )


def copy_release(source: Path, destination: Path) -> Manifest:
    """Copy a release's own files (nothing foreign) and verify the copy."""
    manifest = read_manifest(source)
    destination.mkdir(parents=True, exist_ok=True)
    for name in (*manifest.files, MANIFEST_FILE):
        (destination / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, destination / name)
    return verify_release(destination)
