"""A release made from another, with an encoder of its own space and, if wanted, a catalogue that is partly mixed up."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.shared.files.atomic import sha256_of
from components.shared.files.layout import ITEMS_FILE, MANIFEST_FILE
from components.shared.files.tables import ITEMS, read_table, write_table
from components.shared.release.golden import write_golden
from components.shared.release.manifest import GOLDEN_FILE, REFERENCE_FILE, Manifest, seal_release, verify_release
from components.shared.vectors.embeddings import read_embeddings
from components.shared.vectors.encoder import ENCODER_FILE, space_id_of
from components.shared.vectors.search import CatalogueIndex

_DOC_STRING = 0x32  # field 6 of ONNX's ModelProto, which says nothing to a runtime
_SPACE_KEY = b"visual_search.space_id"


def make_variant(source: Path, destination: Path, *, mixed_up: float, seed: int = 0) -> Manifest:
    """Write a release that answers as `source` does, but for a share of its vectors, which belong to other images.

    Its encoder computes the same and has another digest, so it spans a space of its own, as a new encoder would.

    Args:
        source: a release.
        destination: directory to make.
        mixed_up: share of the images whose vectors are exchanged, 0 to 1.
        seed: seed of the random choice.
    """
    manifest = verify_release(source)
    shutil.copytree(source, destination)
    (destination / MANIFEST_FILE).unlink()
    note = f"variant {seed} {mixed_up}".encode()
    with (destination / ENCODER_FILE).open("ab") as file:
        file.write(bytes([_DOC_STRING, len(note)]) + note)
    digest = sha256_of(destination / ENCODER_FILE)
    space_id = space_id_of(digest, manifest.encoder.preprocessing)
    ids = _mix_up(destination / ITEMS_FILE, mixed_up, np.random.default_rng(seed))
    for name in (GOLDEN_FILE, REFERENCE_FILE):
        _set_space(destination / name, space_id)
    _renew_golden(destination, manifest, ids, space_id)
    return seal_release(
        destination,
        encoder=manifest.encoder.model_copy(update={"onnx_sha256": digest, "space_id": space_id}),
        index=manifest.index,
        catalogue=manifest.catalogue.model_copy(update={"generation": 0, "parent": None}),
        metrics=manifest.metrics,
        gate={**manifest.gate, "passed": True},
    )


def _mix_up(path: Path, share: float, rng: np.random.Generator) -> list[str]:
    """Exchange the items of a share of the rows; returns the image ids by row.

    Images stay among their like in visibility, so that what must not be shown has no more and no less vectors.
    """
    items = read_table(path, ITEMS)
    shown = np.logical_and(*(items[name].to_numpy(zero_copy_only=False) for name in ("is_public", "is_appropriate")))
    order = np.arange(items.num_rows)
    chosen = np.flatnonzero(shown)
    chosen = rng.choice(chosen, int(share * len(chosen)), replace=False)
    order[chosen] = rng.permutation(chosen)
    mixed = items.take(pa.array(order))
    place = mixed.schema.get_field_index("row")
    write_table(path, mixed.set_column(place, "row", pa.array(np.arange(items.num_rows))), ITEMS)
    return [str(image_id) for image_id in mixed.column("image_id").to_pylist()]


def _renew_golden(directory: Path, manifest: Manifest, ids: list[str], space_id: str) -> None:
    golden = pq.read_table(directory / GOLDEN_FILE)
    image_ids, embeddings = read_embeddings(directory / GOLDEN_FILE, space_id=space_id)
    numbers = [len(expected) for expected in golden.column("expected_image_ids").to_pylist()]
    rows = CatalogueIndex.open(directory, manifest.index).search(embeddings, max(numbers)).rows
    write_golden(
        directory / GOLDEN_FILE,
        image_ids=image_ids,
        pictures=golden.column("picture").to_pylist(),
        embeddings=embeddings,
        expected=[[ids[int(row)] for row in found[:n]] for found, n in zip(rows, numbers, strict=True)],
        space_id=space_id,
    )


def _set_space(path: Path, space_id: str) -> None:
    table = pq.read_table(path)
    metadata = {**(table.schema.metadata or {}), _SPACE_KEY: space_id.encode()}
    pq.write_table(table.replace_schema_metadata(metadata), path, compression="zstd")
