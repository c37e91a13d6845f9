"""Seeded makers of everything that the evaluation reads: small, but real in every part."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
import onnx
import pyarrow as pa
from onnx import TensorProto, helper, numpy_helper

from components.shared.files.artifacts import seal_artifact
from components.shared.files.atomic import write_json
from components.shared.files.tables import CATALOGUE, ITEMS, JUDGEMENTS, PAIRS, QUARANTINE, read_table, write_table
from components.shared.pictures.decoder import load_image
from components.shared.pictures.preprocessing import PreprocessingSpec
from components.shared.release.manifest import CatalogueFacts, seal_release
from components.shared.truth.labels import LabelsSpec, write_labels_spec
from components.shared.truth.relevance import RelevanceRule
from components.shared.vectors.embeddings import (
    EmbeddingsSpec,
    read_all_embeddings,
    write_embeddings,
    write_embeddings_spec,
)
from components.shared.vectors.encoder import OnnxEncoder, read_encoder_spec, write_encoder_spec
from components.shared.vectors.index_spec import (
    Forecast,
    IndexSpec,
    OperatingPoint,
    RecallFacts,
    SearchSettings,
    read_index_spec,
    write_index_spec,
)
from support.factories.basics import EPOCH, make_catalogue


@dataclass(frozen=True)
class EvaluationInputs:
    """The directories that `components.evaluation.step.run` takes."""

    catalogue: Path
    labels: Path
    encoder: Path
    embeddings: Path
    index: Path
    champion: Path

    def arguments(self) -> dict[str, Path]:
        return dict(vars(self))


def make_encoder_onnx(path: Path, *, cells: int = 8, dimension: int = 16, seed: int = 0) -> Path:
    """Write an encoder.onnx: average colours of cells × cells areas, projected at random, scaled to unit norm."""
    rng = np.random.default_rng(seed)
    size = 224 // cells
    weight = rng.normal(size=(3 * cells * cells, dimension)).astype(np.float32) / 100
    bias = rng.normal(size=dimension).astype(np.float32) / 10 - 127.5 * weight.sum(axis=0)
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["nchw"], ["pooled"], kernel_shape=[size, size], strides=[size, size]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight", "bias"], ["raw"]),
        helper.make_node("LpNormalization", ["raw"], ["embeddings"], axis=1, p=2),
    ]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["b", 224, 224, 3])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["b", dimension])],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    return path


def make_labels(
    root: Path, *, rule: RelevanceRule | None = None, judgements: list[tuple[str, str, int]] = (), clicks: bool = True
) -> Path:
    """Write the labelling step's sealed output: no pairs, the given judgements (query, image, grade)."""
    write_table(root / "pairs.parquet", pa.Table.from_pylist([], PAIRS.schema), PAIRS)
    rows = [{"query_image_id": q, "image_id": i, "grade": g, "judge": "ann", "at": EPOCH} for q, i, g in judgements]
    write_table(root / "judgements.parquet", pa.Table.from_pylist(rows, JUDGEMENTS.schema), JUDGEMENTS)
    facts = {
        "events": 5000,
        "impressions": 4200,
        "clicks": 700,
        "propensities": {
            "positions": list(range(1, 11)),
            "estimated": [round(1 / (1 + 0.32 * i), 3) for i in range(10)],
            "true": [round(1 / (1 + 0.3 * i), 3) for i in range(9)] + [None],
            "mean_relative_error": 0.034,
        },
        "precision": {
            "mined": 0.91,
            "naive_ctr": 0.42,
            "naive_ctr_supported": 0.62,
            "pairs": 80,
            "by_signal": {"attraction": {"pairs": 50, "precision": 0.93}, "together": {"pairs": 30, "precision": None}},
        },
        "bots": {"bots": 12, "true": 13, "precision": 1.0},
        "mined": {"pairs": 80},
        "warnings": [],
    }
    spec = LabelsSpec(
        rule=rule or RelevanceRule(),
        pairs={"item": 120, "click": 80, "human": 40, "augmentation": 300},
        judgements={"kept": len(rows), "dropped": {}},
        clicks=facts if clicks else None,
    )
    write_labels_spec(root, spec)
    seal_artifact(root, "labelling")
    return root


def make_encoder(root: Path, *, cells: int = 8, dimension: int = 16) -> Path:
    """Write the training step's sealed output: a real encoder, a worse one as the untrained one, a history."""
    make_encoder_onnx(root / "encoder.onnx", cells=cells, dimension=dimension, seed=1)
    make_encoder_onnx(root / "untrained.onnx", cells=1, dimension=dimension, seed=2)
    write_encoder_spec(
        root, architecture="colours", dimension=dimension, preprocessing=PreprocessingSpec(), training={"epochs": 8}
    )
    history = [
        {
            "epoch": e,
            "loss": 4 / (1 + e),
            "validation_hit_rate_at_1": 1 - 0.7 / (1 + e),
            "learning_rate": 1e-3 / (1 + e),
        }
        for e in range(8)
    ]
    write_json(root / "history.json", history)
    seal_artifact(root, "training")
    return root


def make_embeddings(root: Path, catalogue: Path, encoder: Path, *, leave_out: frozenset[str] = frozenset()) -> Path:
    """Write the embedding step's sealed output for every image of the catalogue that is not left out."""
    table = read_table(catalogue / "catalogue.parquet", CATALOGUE)
    ids = [i for i in table.column("image_id").to_pylist() if i not in leave_out]
    uris = dict(zip(table.column("image_id").to_pylist(), table.column("uri").to_pylist(), strict=True))
    spec = PreprocessingSpec()
    vectors = OnnxEncoder(encoder / "encoder.onnx").encode(np.stack([load_image(uris[i], spec) for i in ids]))
    space_id = read_encoder_spec(encoder).space_id
    half = len(ids) // 2
    shards = ["embeddings-00000.parquet", "embeddings-00001.parquet"]
    write_embeddings(root / shards[0], ids[:half], vectors[:half], space_id=space_id)
    write_embeddings(root / shards[1], ids[half:], vectors[half:], space_id=space_id)
    form = EmbeddingsSpec(space_id=space_id, dimension=vectors.shape[1], rows=len(ids), shards=shards)
    write_embeddings_spec(root, form)
    failed = [{"uri": f"missing/{i}.jpg", "reason": "truncated", "message": "cut off"} for i in sorted(leave_out)]
    write_table(root / "failed.parquet", pa.Table.from_pylist(failed, QUARANTINE.schema), QUARANTINE)
    seal_artifact(root, "embedding")
    return root


def make_index(root: Path, catalogue: Path, embeddings: Path) -> Path:
    """Write the indexing step's sealed output: an exact index, its rows in reversed order of the embeddings."""
    ids, vectors = read_all_embeddings(embeddings)
    ids, vectors = ids[::-1], np.ascontiguousarray(vectors[::-1])
    root.mkdir(parents=True)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    faiss.write_index(index, str(root / "index.faiss"))
    rows = {row["image_id"]: row for row in read_table(catalogue / "catalogue.parquet", CATALOGUE).to_pylist()}
    items = [{"row": r, **{k: rows[i][k] for k in ITEMS.schema.names if k != "row"}} for r, i in enumerate(ids)]
    write_table(root / "items.parquet", pa.Table.from_pylist(items, ITEMS.schema), ITEMS)
    size = (root / "index.faiss").stat().st_size
    spec = IndexSpec(
        kind="exact",
        factory="Flat",
        dimension=vectors.shape[1],
        rows=len(ids),
        search=SearchSettings(),
        recall=RecallFacts(target=0.95, reached=True, ann_recall_at_10=1.0, standard_error=0.0, queries=0),
        curve=[
            OperatingPoint(settings=SearchSettings(), ann_recall_at_10=r, rows_per_query=c, cost_microseconds=c / 10)
            for r, c in ((0.7, 50), (0.9, 120), (0.97, 300), (1.0, 900))
        ],
        forecast=Forecast(
            ram_bytes=size,
            disk_bytes=size,
            bytes_per_vector=4.0 * vectors.shape[1],
            build_cpu_seconds=0.1,
            build_ram_bytes=2 * size,
            expected_recall=1.0,
        ),
        index_bytes=size,
    )
    write_index_spec(root, spec)
    seal_artifact(root, "indexing")
    return root


def make_evaluation_inputs(
    root: Path,
    *,
    items: int = 24,
    views: int = 4,
    rule: RelevanceRule | None = None,
    judgements: list[tuple[str, str, int]] = (),
    leave_out: frozenset[str] = frozenset(),
    dimension: int = 16,
) -> EvaluationInputs:
    """Write all artifacts; a quarter of the items is held out."""
    catalogue = make_catalogue(root, items=items, views=views)
    quarantined = [
        {"uri": f"bad/{i}.jpg", "reason": "truncated", "message": f"bad/{i}.jpg is cut off"} for i in range(3)
    ]
    write_table(catalogue / "quarantine.parquet", pa.Table.from_pylist(quarantined, QUARANTINE.schema), QUARANTINE)
    seal_artifact(catalogue, "catalogue", {"images": items * views, "items": items, "duplicates": 0})
    labels = make_labels(root / "labels", rule=rule, judgements=judgements)
    encoder = make_encoder(root / "encoder", dimension=dimension)
    embeddings = make_embeddings(root / "embeddings", catalogue, encoder, leave_out=leave_out)
    index = make_index(root / "index", catalogue, embeddings)
    champion = root / "champion"
    champion.mkdir()
    write_json(champion / "absent.json", {})
    seal_artifact(champion, "champion")
    return EvaluationInputs(catalogue, labels, encoder, embeddings, index, champion)


def make_champion(inputs: EvaluationInputs, *, cells: int = 1, like_encoder: bool = False) -> None:
    """Replace the absent champion by a release directory; golden pictures and reference are stand-ins, not looked at."""
    directory = inputs.champion
    for path in directory.iterdir():
        path.unlink()
    if like_encoder:
        shutil.copyfile(inputs.encoder / "encoder.onnx", directory / "encoder.onnx")
        spec = read_encoder_spec(inputs.encoder)
    else:
        make_encoder_onnx(directory / "encoder.onnx", cells=cells, dimension=12, seed=7)
        preprocessing = PreprocessingSpec(fit="crop")
        spec = write_encoder_spec(
            directory, architecture="colours", dimension=12, preprocessing=preprocessing, training={}
        )
        (directory / "encoder.json").unlink()
    for name in ("index.faiss", "items.parquet"):
        shutil.copyfile(inputs.index / name, directory / name)
    for name in ("reference_embeddings.parquet", "golden.parquet"):
        shutil.copyfile(inputs.embeddings / "embeddings-00000.parquet", directory / name)
    seal_release(
        directory,
        encoder=spec,
        index=read_index_spec(inputs.index),
        catalogue=CatalogueFacts(images=96, items=24),
        metrics={},
        gate={},
    )
    seal_artifact(directory, "champion")
