"""Seeded makers of small real things: pictures, folders of pictures, catalogues, unit vectors."""

from __future__ import annotations

import datetime
import hashlib
import io
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
from PIL import Image

from components.shared.files.artifacts import seal_artifact
from components.shared.files.tables import CATALOGUE, write_table

EPOCH = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def make_picture(seed: int, *, item: int | None = None, size: tuple[int, int] = (96, 80)) -> np.ndarray:
    """Return an (h, w, 3) uint8 picture: one shape on a ground. Equal `item`, equal shape and colours; `seed` moves it."""
    look, view = np.random.default_rng(seed if item is None else 10_000 + item), np.random.default_rng(seed)
    ground, colour, second = (tuple(int(v) for v in look.integers(0, 256, 3)) for _ in range(3))
    width, height = size
    picture = np.full((height, width, 3), ground, np.uint8)
    centre = (int(width * view.uniform(0.35, 0.65)), int(height * view.uniform(0.35, 0.65)))
    radius = int(min(size) * view.uniform(0.2, 0.35))
    if look.integers(2):
        cv2.circle(picture, centre, radius, colour, -1)
    else:
        corner = (centre[0] - radius, centre[1] - radius)
        cv2.rectangle(picture, corner, (centre[0] + radius, centre[1] + radius), colour, -1)
    cv2.line(picture, (0, centre[1]), (width, centre[1]), second, int(look.integers(1, 6)))
    noise = view.normal(0, 4, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def encode_picture(picture: np.ndarray, kind: str = "JPEG", **options: object) -> bytes:
    """Encode a picture with Pillow."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind, **options)
    return buffer.getvalue()


def make_folder(root: Path, *, items: int = 6, views: int = 3, seed: int = 0) -> Path:
    """Write root/<category>/<item>-<view>.jpg and return root; even items are "cups", odd ones "shoes"."""
    for item in range(items):
        folder = root / ("cups" if item % 2 == 0 else "shoes")
        folder.mkdir(parents=True, exist_ok=True)
        for view in range(views):
            data = encode_picture(make_picture(seed + 1000 * item + view, item=item), quality=92)
            (folder / f"{item:03d}-{view}.jpg").write_bytes(data)
    return root


def make_catalogue(root: Path, *, items: int = 12, views: int = 4, seed: int = 0) -> Path:
    """Write pictures below root/images and the catalogue step's sealed output in root/catalogue; return the latter.

    Image ids are "<item>-<view>"; half of the items are train, a quarter each validation and test.
    """
    make_folder(root / "images", items=items, views=views, seed=seed)
    rows = []
    for item in range(items):
        category = "cups" if item % 2 == 0 else "shoes"
        split = "train" if item < items // 2 else "validation" if item < items * 3 // 4 else "test"
        for view in range(views):
            path = root / "images" / category / f"{item:03d}-{view}.jpg"
            rows.append(
                {
                    "image_id": f"{item:03d}-{view}",
                    "item_id": f"item-{item:03d}",
                    "uri": str(path),
                    "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                    "width": 96,
                    "height": 80,
                    "category": category,
                    "is_public": item % 7 != 3,
                    "is_appropriate": item % 11 != 5,
                    "added_at": EPOCH + datetime.timedelta(minutes=len(rows)),
                    "split": split,
                    "duplicate_group": f"{item:03d}-{view}",
                }
            )
    output = root / "catalogue"
    write_table(output / "catalogue.parquet", pa.Table.from_pylist(rows, CATALOGUE.schema), CATALOGUE)
    seal_artifact(output, "catalogue", {"images": len(rows), "items": items})
    return output


def make_vectors(n: int, d: int, *, seed: int = 0, clusters: int = 20, spread: float = 0.5) -> np.ndarray:
    """Return (n, d) float32 unit vectors around `clusters` centres."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(clusters, d))
    values = centres[rng.integers(0, clusters, n)] + spread * rng.normal(size=(n, d))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)
