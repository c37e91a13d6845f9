"""Makes a release of a real size, of made-up vectors."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa

from components.shared.files.tables import ITEMS
from components.shared.release.golden import embed_pictures, write_golden
from components.shared.release.manifest import GOLDEN_FILE, REFERENCE_FILE, CatalogueFacts, seal_release
from components.shared.vectors.embeddings import write_embeddings
from components.shared.vectors.encoder import ENCODER_FILE, ENCODER_SPEC_FILE, OnnxEncoder
from components.shared.vectors.search import CatalogueIndex
from support.factories.basics import EPOCH, encode_picture, make_picture, make_vectors
from support.factories.release_factory import GATE, METRICS, make_encoder, make_index


def make_large_release(directory: Path, *, rows: int, dimension: int, seed: int = 0) -> Path:
    """Make a release of so many made-up vectors, behind a real encoder; the first four rows are of real pictures.

    `seed` changes the vectors, not the encoder.
    """
    spec = make_encoder(directory, dimension=dimension)
    pictures = [encode_picture(make_picture(seed)) for seed in range(4)]
    encoder = OnnxEncoder(directory / ENCODER_FILE, threads=1)
    real = embed_pictures(pictures, encoder, spec.preprocessing)
    vectors = np.vstack([real, make_vectors(rows - 4, dimension, clusters=1000, seed=seed)])
    ids = [f"image-{row:06d}" for row in range(rows)]
    columns = {
        "image_id": ids,
        "item_id": [f"item-{row // 3:06d}" for row in range(rows)],
        "uri": [f"s3://bucket/catalogue/pictures/{name}.jpg" for name in ids],
        "sha256": [hashlib.sha256(name.encode()).hexdigest() for name in ids],
        "category": ["cups" if row % 2 else "shoes" for row in range(rows)],
        "is_public": [row % 50 != 7 for row in range(rows)],
        "is_appropriate": [True] * rows,
        "duplicate_group": ids,
        "added_at": [EPOCH] * rows,
    }
    schema = pa.schema([field for field in ITEMS.schema if field.name != "row"])
    index = make_index(directory, pa.table(columns, schema), vectors)
    (directory / "index.json").unlink()
    (directory / ENCODER_SPEC_FILE).unlink()
    write_embeddings(directory / REFERENCE_FILE, ids[:1000], vectors[:1000], space_id=spec.space_id)
    found = CatalogueIndex.open(directory, index).search(real, 5).rows
    write_golden(
        directory / GOLDEN_FILE,
        image_ids=ids[:4],
        pictures=pictures,
        embeddings=real,
        expected=[[ids[int(row)] for row in rows_] for rows_ in found],
        space_id=spec.space_id,
    )
    facts = CatalogueFacts(images=rows, items=rows // 3 + 1)
    seal_release(directory, encoder=spec, index=index, catalogue=facts, metrics=METRICS, gate=GATE)
    return directory
