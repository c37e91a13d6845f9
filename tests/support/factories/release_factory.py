"""Makes small real releases: a tiny encoder in ONNX, a real index, golden pictures that hold."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import onnx
import pyarrow as pa
from onnx import TensorProto, helper, numpy_helper

from components.shared.files.artifacts import seal_artifact
from components.shared.files.layout import ITEMS_FILE
from components.shared.files.tables import CATALOGUE, ITEMS, read_table, write_table
from components.shared.pictures.preprocessing import PreprocessingSpec
from components.shared.release.golden import embed_pictures, write_golden
from components.shared.release.manifest import GOLDEN_FILE, REFERENCE_FILE, CatalogueFacts, seal_release
from components.shared.vectors.embeddings import EmbeddingsSpec, write_embeddings, write_embeddings_spec
from components.shared.vectors.encoder import (
    ENCODER_FILE,
    EncoderSpec,
    OnnxEncoder,
    read_encoder_spec,
    write_encoder_spec,
)
from components.shared.vectors.search import (
    INDEX_FILE,
    CatalogueIndex,
    Forecast,
    IndexSpec,
    RecallFacts,
    SearchSettings,
    read_index_spec,
    write_index_spec,
)
from support.factories.basics import make_catalogue

GATE = {"passed": True, "checks": []}
METRICS = {"hit_rate_at_1": 0.75, "hit_rate_at_1_low": 0.7, "hit_rate_at_1_high": 0.8, "queries": 100}


def make_encoder(directory: Path, *, dimension: int = 16, seed: int = 0) -> EncoderSpec:
    """Write an `encoder.onnx` and its `encoder.json`: 16 × 16 means of the picture, a random projection, unit norm."""
    rng = np.random.default_rng(seed)
    constants = {
        "axes": np.array([1], np.int64),
        "offset": np.array(120, np.float32),
        "projection": rng.normal(size=(3 * 14 * 14, dimension)).astype(np.float32),
        "bias": rng.normal(size=dimension).astype(np.float32),  # a grey picture must not give a zero vector
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["floats", "offset"], ["centred"]),
        helper.make_node("Transpose", ["centred"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["means"], kernel_shape=[16, 16], strides=[16, 16]),
        helper.make_node("Flatten", ["means"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "projection"], ["projected"]),
        helper.make_node("Add", ["projected", "bias"], ["shifted"]),
        helper.make_node("ReduceL2", ["shifted", "axes"], ["norms"], keepdims=1),
        helper.make_node("Div", ["shifted", "norms"], ["embeddings"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["b", 224, 224, 3])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["b", dimension])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / ENCODER_FILE).write_bytes(model.SerializeToString(deterministic=True))
    return write_encoder_spec(
        directory, architecture="tiny", dimension=dimension, preprocessing=PreprocessingSpec(), training={"seed": seed}
    )


def make_index(directory: Path, catalogue: pa.Table, vectors: np.ndarray) -> IndexSpec:
    """Write an exact `index.faiss`, its `index.json`, and the id map of the catalogue's rows."""
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors, np.float32))
    directory.mkdir(parents=True, exist_ok=True)
    faiss.write_index(index, str(directory / INDEX_FILE))
    size = (directory / INDEX_FILE).stat().st_size
    spec = IndexSpec(
        kind="exact",
        factory="Flat",
        dimension=vectors.shape[1],
        rows=len(vectors),
        search=SearchSettings(),
        recall=RecallFacts(target=0.95, reached=True, ann_recall_at_10=1.0, standard_error=0.0, queries=0),
        forecast=Forecast(
            ram_bytes=size,
            disk_bytes=size,
            bytes_per_vector=4.0 * vectors.shape[1],
            build_cpu_seconds=0.0,
            build_ram_bytes=size,
            expected_recall=1.0,
        ),
        index_bytes=size,
    )
    write_index_spec(directory, spec)
    items = catalogue.append_column("row", pa.array(range(len(vectors)), pa.int64()))
    write_table(directory / ITEMS_FILE, items, ITEMS)
    return spec


def make_parts(root: Path, *, items: int = 12, views: int = 4, seed: int = 0) -> dict[str, Path]:
    """Write what the steps before registration hand on, sealed, below `root`: name → directory.

    The names are those of the registration step's arguments; there is no champion.
    """
    parts = {name: root / name for name in ("encoder", "embeddings", "index", "evaluation", "champion")}
    parts["catalogue"] = make_catalogue(root, items=items, views=views, seed=seed)
    catalogue = read_table(parts["catalogue"] / "catalogue.parquet", CATALOGUE)
    spec = make_encoder(parts["encoder"], seed=seed)
    seal_artifact(parts["encoder"], "training")
    vectors = _embed(catalogue, parts["encoder"], spec)
    ids = catalogue.column("image_id").to_pylist()
    half = len(ids) // 2
    write_embeddings(
        parts["embeddings"] / "embeddings-00000.parquet", ids[:half], vectors[:half], space_id=spec.space_id
    )
    write_embeddings(
        parts["embeddings"] / "embeddings-00001.parquet", ids[half:], vectors[half:], space_id=spec.space_id
    )
    shards = ["embeddings-00000.parquet", "embeddings-00001.parquet"]
    facts = EmbeddingsSpec(space_id=spec.space_id, dimension=spec.dimension, rows=len(ids), shards=shards)
    write_embeddings_spec(parts["embeddings"], facts)
    seal_artifact(parts["embeddings"], "embedding")
    make_index(parts["index"], catalogue, vectors)
    seal_artifact(parts["index"], "indexing")
    make_evaluation(parts["evaluation"])
    make_absent_champion(parts["champion"])
    return parts


def make_evaluation(
    directory: Path, *, passed: bool = True, reasons: Iterable[str] = (), hit_rate: float = 0.75, **more: Any
) -> Path:
    """Write the evaluation step's sealed output, as far as registration reads it."""
    directory.mkdir(parents=True, exist_ok=True)
    interval = {"value": hit_rate, "low": hit_rate - 0.05, "high": hit_rate + 0.05, "queries": 100, "left_out": 0}
    metrics = {
        "schema_version": 1,
        "protocol": {"queries": 100},
        "flat": {"hit_rate_at_1": hit_rate, "chance_hit_rate_at_1": 0.1, "ann_recall_at_10": 1.0},
        "rankers": {"trained": {"hit_rate_at_1": interval}},
        "index": {"ann_recall_at_10": {**interval, "value": 1.0, "low": 1.0, "high": 1.0}},
    }
    check = {"name": "index_recall", "value": 1.0, "threshold": 0.95, "passed": True, "explanation": "reached."}
    gate = {"passed": passed, "reasons": list(reasons), "checks": [check]}
    (directory / "metrics.json").write_text(json.dumps(metrics | more.pop("metrics", {})))
    (directory / "gate.json").write_text(json.dumps(gate | more.pop("gate", {})))
    seal_artifact(directory, "evaluation")
    return directory


def make_absent_champion(directory: Path) -> Path:
    """Write what `fetch_champion` hands on where there is no champion."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "absent.json").write_text('{"reason": "none yet"}\n')
    seal_artifact(directory, "champion")
    return directory


def make_release(
    root: Path,
    *,
    items: int = 6,
    views: int = 3,
    seed: int = 0,
    generation: int = 0,
    parent: str | None = None,
    metrics: dict[str, Any] | None = None,
    gate: dict[str, Any] | None = None,
) -> Path:
    """Write a whole, verified-by-construction release in root/release and return it; equal arguments, equal release_id.

    Its pictures lie below root/images. `seed` changes the pictures and the encoder, hence the space.
    """
    parts = make_parts(root / "parts", items=items, views=views, seed=seed)
    directory = root / "release"
    directory.mkdir(parents=True)
    spec = read_encoder_spec(parts["encoder"])
    (directory / ENCODER_FILE).write_bytes((parts["encoder"] / ENCODER_FILE).read_bytes())
    catalogue = read_table(parts["catalogue"] / "catalogue.parquet", CATALOGUE)
    # Absolute paths differ from machine to machine; these do not.
    uris = [f"memory://{image_id}.jpg" for image_id in catalogue.column("image_id").to_pylist()]
    pictures = [Path(uri).read_bytes() for uri in catalogue.column("uri").to_pylist()]
    catalogue = catalogue.set_column(catalogue.schema.get_field_index("uri"), "uri", pa.array(uris))
    encoder = OnnxEncoder(directory / ENCODER_FILE, threads=1)
    vectors = embed_pictures(pictures, encoder, spec.preprocessing)
    index_spec = make_index(directory, catalogue, vectors)
    assert read_index_spec(directory) == index_spec
    (directory / "index.json").unlink()
    ids = catalogue.column("image_id").to_pylist()
    write_embeddings(directory / REFERENCE_FILE, ids, vectors, space_id=spec.space_id)
    golden = list(range(0, len(ids), max(1, len(ids) // 4)))[:4]
    found = CatalogueIndex.open(directory, index_spec).search(vectors[golden], min(5, len(ids))).rows
    write_golden(
        directory / GOLDEN_FILE,
        image_ids=[ids[row] for row in golden],
        pictures=[pictures[row] for row in golden],
        embeddings=vectors[golden],
        expected=[[ids[int(row)] for row in rows] for rows in found],
        space_id=spec.space_id,
    )
    seal_release(
        directory,
        encoder=spec,
        index=index_spec,
        catalogue=CatalogueFacts(images=len(ids), items=items, generation=generation, parent=parent),
        metrics=METRICS if metrics is None else metrics,
        gate=GATE if gate is None else gate,
    )
    return directory


def _embed(catalogue: pa.Table, directory: Path, spec: EncoderSpec) -> np.ndarray:
    encoder = OnnxEncoder(directory / ENCODER_FILE, threads=1)
    pictures = [Path(uri).read_bytes() for uri in catalogue.column("uri").to_pylist()]
    return embed_pictures(pictures, encoder, spec.preprocessing)
