"""Inputs of the benchmark of serving: rendered photographs, and a release of real size made from them and a network."""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
from reference import decoded

from components.indexing.parameters import IndexingParameters
from components.indexing.step import build_index
from components.rendering.designs import design_items
from components.rendering.photographs import build_mesh, take_photograph
from components.rendering.views import plan_view
from components.shared.files.atomic import sha256_of
from components.shared.files.layout import ITEMS_FILE
from components.shared.files.tables import ITEMS, write_table
from components.shared.pictures.preprocessing import PreprocessingSpec
from components.shared.release.golden import write_golden
from components.shared.release.manifest import GOLDEN_FILE, REFERENCE_FILE, CatalogueFacts, seal_release
from components.shared.vectors.embeddings import normalise, write_embeddings
from components.shared.vectors.encoder import (
    ENCODER_FILE,
    ENCODER_INT8_FILE,
    ENCODER_SPEC_FILE,
    OnnxEncoder,
    RuntimeChoice,
    RuntimeFigures,
    write_encoder_spec,
)
from components.shared.vectors.search import CatalogueIndex, read_index_spec
from components.training.encoder import Encoder
from components.training.export import export_encoder
from components.training.quantisation import quantise_encoder

_SIDE, _QUALITY = 640, 90
VIEWS = 8  # photographs per product
_HIDDEN = 0.05  # share of images that must not be shown
_RECALL = 0.99
IMAGES = 4  # per item of the catalogue
_WITHIN = 0.2  # share of the variance between the images of one item
_GATE = {"passed": True, "checks": []}
_METRICS = {"hit_rate_at_1": 0.0, "queries": 0}


def render_pictures(folder: Path, count: int) -> list[Path]:
    """Render `count` photographs of 640 × 480 pixels into `folder`, unless they exist."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:05d}.jpg" for number in range(count)]
    if all(path.is_file() for path in paths):
        return paths
    for item_number, item in enumerate(design_items(-(-count // VIEWS), 0)):
        mesh = build_mesh(item)
        for view, path in enumerate(paths[item_number * VIEWS : (item_number + 1) * VIEWS]):
            plan = replace(plan_view(item, view + 1, seed=0, side=_SIDE), aspect=4 / 3)
            picture = take_photograph(item, mesh, plan)
            path.write_bytes(
                cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
            )
    return paths


def make_release(directory: Path, network: Encoder, architecture: str, pictures: list[bytes], rows: int) -> None:
    """Write a release of `rows` vectors in `directory`, with the project's own export, quantisation and indexing.

    Its vectors are distributed as the encoder's embeddings (`spread`), and are also stored beside it, in `vectors.npy`.
    """
    directory.mkdir(parents=True)
    squares = np.stack([decoded(picture) for picture in pictures])
    export_encoder(network, directory / ENCODER_FILE)
    quantise_encoder(directory / ENCODER_FILE, directory / ENCODER_INT8_FILE, squares)
    # Admitted without a gate: the effect of bf16 and int8 is measured end to end.
    figures = tuple(
        RuntimeFigures(engine=engine, precision=precision, minimum_cosine=0.9, passed=True, reason="for a benchmark.")
        for engine, precision in (("onnxruntime", "int8"), ("openvino", "int8"), ("openvino", "bf16"))
    )
    int8_sha256 = sha256_of(directory / ENCODER_INT8_FILE)
    spec = write_encoder_spec(
        directory, architecture=architecture, dimension=network.dimension, preprocessing=PreprocessingSpec(), training={},
        runtime=RuntimeChoice(engine="onnxruntime", precision="fp32", figures=figures, int8_sha256=int8_sha256),
    )  # fmt: skip
    (directory / ENCODER_SPEC_FILE).unlink()
    encoder = OnnxEncoder(directory / ENCODER_FILE)
    own = np.concatenate([encoder.encode(squares[start : start + 16]) for start in range(0, len(squares), 16)])
    vectors = spread(own, rows)
    build_index(directory, vectors, min(1_000, rows // 10), IndexingParameters(recall_target=_RECALL))
    np.save(directory.parent / "vectors.npy", vectors)
    index = read_index_spec(directory)
    (directory / "index.json").unlink()
    items = make_items(rows)
    write_table(directory / ITEMS_FILE, items, ITEMS)
    ids = items.column("image_id").to_pylist()
    write_embeddings(directory / REFERENCE_FILE, ids[:1000], vectors[:1000], space_id=spec.space_id)
    found = CatalogueIndex.open(directory, index).search(own[:4], 10).rows
    write_golden(
        directory / GOLDEN_FILE, image_ids=ids[:4], pictures=pictures[:4], embeddings=own[:4], space_id=spec.space_id,
        expected=[[ids[row] for row in neighbours] for neighbours in found],
    )  # fmt: skip
    facts = CatalogueFacts(images=rows, items=rows // IMAGES)
    seal_release(directory, encoder=spec, index=index, catalogue=facts, metrics=_METRICS, gate=_GATE)


def spread(own: np.ndarray, rows: int) -> np.ndarray:
    """Return (rows, d) float32 unit vectors of items with four images each, distributed as the pictures' own vectors are.

    Drawn from the normal distribution with their mean and covariance; an image is near to the others of its item.
    """
    rng = np.random.default_rng(0)
    deviations = ((own - own.mean(axis=0)) / np.sqrt(len(own) - 1)).astype(np.float32)
    vectors = np.empty((rows, own.shape[1]), np.float32)
    for start in range(0, rows, 10_000):
        size = min(10_000, rows - start)
        items = rng.normal(size=(-(-size // IMAGES), len(own))).repeat(IMAGES, axis=0)[:size]
        images = rng.normal(size=(size, len(own)))
        weights = np.sqrt(1 - _WITHIN) * items + np.sqrt(_WITHIN) * images
        vectors[start : start + size] = normalise(own.mean(axis=0) + weights.astype(np.float32) @ deviations)
    return vectors


def make_items(rows: int) -> pa.Table:
    """Return a table of items with some images each, one image in twenty hidden."""
    ids = [f"image-{row:08d}" for row in range(rows)]
    columns = {
        "row": range(rows),
        "image_id": ids,
        "item_id": [f"item-{row // IMAGES:08d}" for row in range(rows)],
        "uri": [f"s3://bucket/catalogue/{image_id}.jpg" for image_id in ids],
        "sha256": [f"{row:064x}" for row in range(rows)],
        "category": ["shoes"] * rows,
        "is_public": np.random.default_rng(0).random(rows) >= _HIDDEN,
        "is_appropriate": [True] * rows,
        "duplicate_group": ids,
        "added_at": [datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)] * rows,
    }
    return pa.table(columns, ITEMS.schema)
