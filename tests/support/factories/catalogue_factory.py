"""Makes catalogues of made-up vectors, with generations on them, and says by an explicit loop what a search must find."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from components.shared.files.tables import ITEMS, read_table
from components.shared.release.generation import Generation, GenerationManifest
from components.shared.release.manifest import Manifest, Searchable, read_manifest
from components.shared.vectors.search import CatalogueIndex
from support.factories.basics import EPOCH, make_vectors
from support.factories.release_factory import make_index, make_release

Row = dict[str, Any]


def make_rows(
    n: int, *, seed: int = 0, items: int | None = None, hidden: float = 0.2, prefix: str = "image"
) -> list[Row]:
    """Return n rows of table ITEMS: some items with several images, some near-duplicates, some images hidden."""
    rng = np.random.default_rng(seed)
    return [
        {
            "row": row,
            "image_id": f"{prefix}-{row:06d}",
            "item_id": f"item-{rng.integers(items or max(1, n // 3))}",
            "uri": f"memory://{prefix}-{row}.jpg",
            "sha256": f"{rng.integers(max(2, n // 2)):064x}",
            "category": "cups" if rng.random() < 0.5 else None,
            "is_public": bool(rng.random() >= hidden / 2),
            "is_appropriate": bool(rng.random() >= hidden / 2),
            "duplicate_group": f"group-{rng.integers(max(1, n // 2))}",
            "added_at": EPOCH,
        }
        for row in range(n)
    ]


def make_manifest(root: Path) -> Manifest:
    """Return the manifest of a small real release, to describe others after it."""
    return read_manifest(make_release(root / "pattern"))


def make_searchable(directory: Path, manifest: Manifest, rows: list[Row], vectors: np.ndarray) -> Searchable:
    """Return a release's searching part of these rows, with an exact index."""
    table = pa.Table.from_pylist([{**row, "row": i} for i, row in enumerate(rows)], ITEMS.schema)
    spec = make_index(directory, table.drop_columns(["row"]), vectors)
    facts = manifest.catalogue.model_copy(update={"images": len(rows)})
    described = manifest.model_copy(update={"index": spec, "catalogue": facts})
    return Searchable(described, CatalogueIndex.open(directory, spec), read_table(directory / "items.parquet", ITEMS))


def make_generation(
    manifest: Manifest, rows: list[Row], vectors: np.ndarray, removed: list[str], below: Generation | None = None
) -> Generation:
    """Return a generation in memory."""
    facts = GenerationManifest(
        generation_id=f"g-{1 if below is None else below.manifest.number + 1}",
        release_id=manifest.release_id,
        space_id=manifest.space_id,
        number=1 if below is None else below.manifest.number + 1,
        parent=None if below is None else below.manifest.generation_id,
        added=len(rows),
        removed=len(removed),
        files={},
    )
    table = pa.Table.from_pylist([{**row, "row": i} for i, row in enumerate(rows)], ITEMS.schema)
    return Generation(facts, table, np.ascontiguousarray(vectors, np.float32), tuple(removed))


def expected(
    rows: list[Row],
    vectors: np.ndarray,
    query: np.ndarray,
    *,
    k: int,
    group_items: bool = True,
    collapse_duplicates: bool = True,
    exclude: frozenset[str] = frozenset(),
    exclude_sha256: str | None = None,
    floor: float | None = None,
) -> list[tuple[str, int]]:
    """Return (image_id, grouped) as a search must, one row after the other; `rows` are those present, in their order."""
    visible = [(row, v) for row, v in zip(rows, vectors, strict=True) if row["is_public"] and row["is_appropriate"]]
    scores = [float(np.einsum("d,d->", query, v)) for _, v in visible]
    order = sorted(range(len(visible)), key=lambda i: (-scores[i], i))
    results: list[Row] = []
    for i in order:
        row = visible[i][0]
        if row["image_id"] in exclude or (exclude_sha256 is not None and row["sha256"] == exclude_sha256):
            continue
        if floor is not None and scores[i] < floor:
            break
        if group_items and any(row["item_id"] == shown["item_id"] for shown in results):
            continue
        if collapse_duplicates and any(row["duplicate_group"] == shown["duplicate_group"] for shown in results):
            continue
        results.append(row)
        if len(results) == k:
            break
    return [
        (
            shown["image_id"],
            sum(
                other["image_id"] != shown["image_id"]
                and (
                    (group_items and other["item_id"] == shown["item_id"])
                    or (collapse_duplicates and other["duplicate_group"] == shown["duplicate_group"])
                )
                for other, _ in visible
            ),
        )
        for shown in results
    ]


def spread_vectors(n: int, d: int, seed: int) -> np.ndarray:
    """Return (n, d) unit vectors without ties."""
    return make_vectors(n, d, seed=seed, clusters=max(1, n // 4), spread=0.8)
