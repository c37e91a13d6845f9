"""Makes query samples as the transformer writes them."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from components.shared.files.tables import QUERY_SAMPLES, write_table
from components.shared.release.golden import embed_pictures
from components.shared.release.manifest import read_manifest
from components.shared.vectors.encoder import ENCODER_FILE, OnnxEncoder
from support.factories.basics import encode_picture, make_picture


def embed_fresh(release: Path, count: int, items: int, *, first: int = 0) -> np.ndarray:
    """Embed pictures of a release's items as nobody has seen them."""
    encoder = OnnxEncoder(release / ENCODER_FILE, threads=1)
    shown = [first + i % items for i in range(count)]
    pictures = [
        encode_picture(make_picture(100_000 * (item + 1) + 5_000 + i, item=item), quality=92)
        for i, item in enumerate(shown)
    ]
    return embed_pictures(pictures, encoder, read_manifest(release).encoder.preprocessing)


def write_query_samples(
    folder: Path, release: Path, fresh: np.ndarray, *, moved: bool = False, arm: str = "champion", hours: float = 1.0
) -> None:
    """Write queries that lie as the reference does, or all beside it."""
    manifest, now = read_manifest(release), datetime.datetime.now(datetime.UTC)
    vectors = fresh + (2 * np.eye(fresh.shape[1])[0] if moved else 0)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    rows = [
        {"query_id": f"q-{arm}-{i}", "release_id": manifest.release_id, "space_id": manifest.space_id, "arm": arm,
         "at": now - datetime.timedelta(hours=hours, seconds=i), "country": "DE", "embedding": vector.tolist(), "top_score": 0.9,
         "results": 0 if i < 21 else 5, "width": 96, "height": 80, "bytes": 4000, "format": "jpeg", "brightness": 0.5,
         "contrast": 0.4, "sharpness": 0.01, "saturation": 0.5}
        for i, vector in enumerate(vectors)
    ]  # fmt: skip
    write_table(
        folder / f"query-samples-{arm}.parquet", pa.Table.from_pylist(rows, QUERY_SAMPLES.schema), QUERY_SAMPLES
    )
