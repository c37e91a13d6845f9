"""Golden pictures: a few pictures of the catalogue with the embedding and the neighbours that they must always give."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from components.registration.parameters import RegistrationParameters
from components.shared.errors import BadImageError, DataError, SourceError
from components.shared.files.storage import read_bytes
from components.shared.pictures.decoder import DEFAULT_LIMITS, decode_image
from components.shared.pictures.preprocessing import resize
from components.shared.release.golden import embed_pictures, write_golden
from components.shared.vectors.embeddings import Vectors
from components.shared.vectors.encoder import EncoderSpec, OnnxEncoder
from components.shared.vectors.search import CatalogueIndex

_TRIED = 200  # most pictures read before larger ones are shrunk
_SHRUNK_SIDE = 448  # pixels; twice the side of the encoder's input


def write_chosen(
    path: Path,
    items: pa.Table,
    *,
    encoder: OnnxEncoder,
    spec: EncoderSpec,
    index: CatalogueIndex,
    parameters: RegistrationParameters,
) -> list[str]:
    """Choose pictures, embed and search them, and write `golden.parquet`.

    Args:
        path: file to write.
        items: table ITEMS.
        encoder: the release's encoder.
        spec: description of the encoder.
        index: the release's index.
        parameters: number and size of the pictures, and number of neighbours.

    Returns:
        The ids of the pictures.

    Raises:
        DataError: no public, appropriate picture is readable.
    """
    pictures = _pictures(items, parameters)
    ids = list(pictures)
    vectors: Vectors = embed_pictures(list(pictures.values()), encoder, spec.preprocessing)
    rows = index.search(vectors, min(parameters.golden_neighbours, items.num_rows)).rows
    all_ids = items.column("image_id").to_pylist()
    expected = [[all_ids[int(row)] for row in found if row >= 0] for found in rows]
    write_golden(
        path,
        image_ids=ids,
        pictures=list(pictures.values()),
        embeddings=vectors,
        expected=expected,
        space_id=spec.space_id,
    )
    return ids


def _pictures(items: pa.Table, parameters: RegistrationParameters) -> dict[str, bytes]:
    """Return image_id → bytes: original bytes if they are small, else shrunk copies; at first one picture per item."""
    chosen: dict[str, bytes] = {}
    large: dict[str, bytes] = {}
    for tried, row in enumerate(_candidates(items, parameters.seed)):
        if len(chosen) == parameters.golden_pictures or tried == _TRIED:
            break
        data = _readable(row)
        if data is None:
            continue
        if len(data) <= parameters.golden_max_bytes:
            chosen[row["image_id"]] = data
        elif len(large) < parameters.golden_pictures:
            large[row["image_id"]] = data
    for image_id, data in large.items():
        if len(chosen) < parameters.golden_pictures and len(small := _shrunk(data)) <= parameters.golden_max_bytes:
            chosen[image_id] = small
    if not chosen:
        raise DataError(
            "no picture of the index can serve as a golden one: at least one must be public, appropriate, unchanged since "
            "it was indexed, and readable; restore the pictures or mark some as public"
        )
    return chosen


def _candidates(items: pa.Table, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the public, appropriate rows in an order chosen by the seed: first one per item, then the others."""
    columns = items.select(["image_id", "item_id", "uri", "sha256", "is_public", "is_appropriate"])
    shown = [row for row in columns.to_pylist() if row["is_public"] and row["is_appropriate"]]
    shown.sort(key=lambda row: hashlib.sha256(f"{seed}:{row['image_id']}".encode()).digest())
    seen: set[str] = set()
    later = []
    for row in shown:
        if row["item_id"] in seen:
            later.append(row)
        else:
            seen.add(row["item_id"])
            yield row
    yield from later


def _readable(row: dict[str, Any]) -> bytes | None:
    """Return a picture's bytes if they are still those that were indexed and are decodable."""
    try:
        data = read_bytes(row["uri"], limit_bytes=DEFAULT_LIMITS.max_bytes)
        decode_image(data, minimum_side=_SHRUNK_SIDE)
    except (SourceError, BadImageError):
        return None
    return data if hashlib.sha256(data).hexdigest() == row["sha256"] else None


def _shrunk(data: bytes) -> bytes:
    pixels = decode_image(data, minimum_side=_SHRUNK_SIDE)
    height, width = pixels.shape[:2]
    scale = min(1.0, _SHRUNK_SIDE / min(height, width))
    buffer = io.BytesIO()
    small = resize(pixels, (max(1, round(width * scale)), max(1, round(height * scale))))
    Image.fromarray(small).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
