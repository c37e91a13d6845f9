"""Small labelled catalogues and relations for the tests of training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from components.shared.files.artifacts import seal_artifact
from components.shared.files.tables import CATALOGUE, JUDGEMENTS, PAIRS, read_table, write_table
from components.shared.truth.labels import JUDGEMENTS_FILE, PAIRS_FILE, LabelsSpec, write_labels_spec
from components.shared.truth.relevance import Relevance, RelevanceRule
from components.training.dataset import Dataset, ImageSet
from components.training.parameters import TrainingParameters
from components.training.relations import Pairs
from support.factories.basics import make_picture

SMALL = TrainingParameters(
    architecture="resnet10",
    training_side=32,
    dimension=16,
    epochs=2,
    batch_pairs=8,
    threads=1,
    device="cpu",
    optimiser="adamw",
    learning_rate=1e-3,
    weight_decay=0.05,
)


def make_labels(root: Path, catalogue: Path, *, judgements: list[dict[str, object]] | None = None) -> Path:
    """Pair all views of each training item, and write the labelling step's sealed output in root/labels."""
    images = read_table(catalogue / "catalogue.parquet", CATALOGUE).to_pylist()
    views: dict[str, list[str]] = {}
    for image in images:
        if image["split"] == "train":
            views.setdefault(image["item_id"], []).append(image["image_id"])
    pairs = [
        {"query_image_id": a, "positive_image_id": b, "source": "item", "weight": 1.0}
        for ids in views.values()
        for a in ids
        for b in ids
        if a != b
    ]
    output = root / "labels"
    write_table(output / PAIRS_FILE, pa.Table.from_pylist(pairs, PAIRS.schema), PAIRS)
    write_table(output / JUDGEMENTS_FILE, pa.Table.from_pylist(judgements or [], JUDGEMENTS.schema), JUDGEMENTS)
    write_labels_spec(output, LabelsSpec(rule=RelevanceRule(), pairs={"item": len(pairs)}))
    seal_artifact(output, "labelling", {"pairs": len(pairs)})
    return output


def make_relevance(
    n: int,
    *,
    seed: int,
    rule: RelevanceRule | None = None,
    items: int = 5,
    categories: int = 3,
    judged: dict[tuple[int, int], int] | None = None,
) -> Relevance:
    """Return random items and categories (some unknown, −1) of n images; `judged` maps (query, image) to a grade."""
    rng = np.random.default_rng(seed)
    by_query: dict[int, list[tuple[int, int]]] = {}
    for (query, image), grade in (judged or {}).items():
        by_query.setdefault(query, []).append((image, grade))
    return Relevance(
        rng.integers(0, items, n),
        rng.integers(-1, categories, n),
        {
            query: (np.array([r for r, _ in found], np.int64), np.array([g for _, g in found], np.uint8))
            for query, found in by_query.items()
        },
        rule or RelevanceRule(),
    )


def make_pairs(*triples: tuple[int, int, float]) -> Pairs:
    """Return pairs from (query, positive, weight)."""
    query, positive, weight = zip(*triples, strict=True) if triples else ((), (), ())
    return Pairs(np.array(query, np.int64), np.array(positive, np.int64), np.array(weight, np.float32))


def unit(n: int, d: int, seed: int) -> torch.Tensor:
    """Return (n, d) float32 random unit vectors."""
    values = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(values, dim=1)


def make_dataset(*, items: int = 6, views: int = 4, seed: int = 0, pairs: Pairs | None = None) -> Dataset:
    """Return a dataset of small pictures in memory; the validation images are the training images of another seed."""

    def images(first: int) -> ImageSet:
        rows = [(item, first + 100 * item + view) for item in range(items) for view in range(views)]
        pixels = np.stack([make_picture(s, item=item, size=(224, 224)) for item, s in rows])
        codes = np.array([item for item, _ in rows], np.int64)
        relevance = Relevance(codes, np.full(len(rows), -1), {}, RelevanceRule())
        return ImageSet(pixels, np.arange(len(rows)), relevance)

    every = [(i * views + a, i * views + b, 1.0) for i in range(items) for a in range(views) for b in range(views)]
    return Dataset(images(seed), pairs or make_pairs(*(p for p in every if p[0] != p[1])), images(seed + 50_000), 0)
