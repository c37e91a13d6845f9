"""The indexing step: from embeddings to an index that was tuned, read back and checked."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.indexing.build import fill, train, write_index, write_vectors
from components.indexing.choose import EXACT_KINDS, choose, finer
from components.indexing.forecast import IndexPlan, describe
from components.indexing.gather import gather, items_table, locate, read_image_ids
from components.indexing.parameters import IndexingParameters
from components.indexing.tuning import tune
from components.indexing.verify import check_blocks, sampled_rows, verify_index
from components.shared.files.artifacts import Artifact, open_artifact
from components.shared.files.layout import CATALOGUE_FILE, ITEMS_FILE
from components.shared.files.tables import CATALOGUE, ITEMS, read_table, write_table
from components.shared.files.workspace import Workspace
from components.shared.vectors.embeddings import Vectors, read_embeddings_spec
from components.shared.vectors.search import (
    INDEX_FILE,
    VECTORS_FILE,
    CatalogueIndex,
    Forecast,
    IndexSpec,
    RecallFacts,
    SearchSettings,
    write_index_spec,
)

_HELD_OUT = ("validation", "test")
_ENOUGH_QUERIES = 50


def run(
    *, catalogue: Path, embeddings: Path, destination: Path, workspace: Path, parameters: IndexingParameters
) -> Artifact:
    """Choose, train, build, tune and verify the index of a catalogue's embeddings.

    Args:
        catalogue: output of the catalogue step.
        embeddings: output of the embedding step.
        destination: directory to publish: `index.faiss`, `vectors.f16` (some kinds), `items.parquet` and `index.json`.
        workspace: folder for finished and unfinished work.
        parameters: parameters of this step.

    Returns:
        The artifact; its summary holds kind, rows, recall, bytes per vector and settings.

    Raises:
        PoisonedVectorError: a vector is not a finite unit vector, or an image occurs twice; the message names row and image.
        ParameterError: the memory budget or the kind does not fit the data.
        DataError: there are no embeddings.
        ContractError: inputs do not belong together, or the index read back differs from the one that was built.
    """
    open_artifact(catalogue, "catalogue")
    open_artifact(embeddings, "embedding")
    inputs: dict[str, Path | str] = {"catalogue": catalogue, "embeddings": embeddings}
    with Workspace(workspace).step("indexing", inputs=inputs, parameters=parameters) as work:
        if not work.is_finished:
            images = read_table(catalogue / CATALOGUE_FILE, CATALOGUE)
            image_ids = read_image_ids(embeddings)
            rows = locate(images, image_ids, str(embeddings))
            plan, _ = choose(len(rows), read_embeddings_spec(embeddings).dimension, parameters)
            queries = tuning_rows(np.asarray(images.column("split").to_pylist())[rows], plan, parameters)
            # Queries go last: the index is tuned before they are in it, as a stranger's picture would find it.
            order = np.concatenate([np.setdiff1d(np.arange(len(rows)), queries), queries])
            write_table(work.output / ITEMS_FILE, items_table(images, rows[order]), ITEMS)
            vectors = gather(embeddings, np.argsort(order), work.scratch)
            summary = build_index(work.output, vectors, len(queries), parameters)
            work.finish(summary | {"not_embedded": images.num_rows - len(image_ids)})
        return work.publish(destination)


def build_index(output: Path, vectors: Vectors, queries: int, parameters: IndexingParameters) -> dict[str, Any]:
    """Build the index of `vectors` in `output` and return its main figures.

    Args:
        output: directory for `index.faiss`, `index.json` and, for some kinds, `vectors.f16`.
        vectors: (n, d) float32 unit vectors, possibly a memory map.
        queries: number of rows, the last ones, for tuning.
        parameters: parameters of this step.

    Raises:
        PoisonedVectorError: a row is not a finite unit vector.
    """
    check_blocks(vectors)
    plan, needs = choose(len(vectors), vectors.shape[1], parameters)
    index, spec = _build(output, vectors, queries, plan, needs, parameters)
    if not spec.recall.reached:
        _say(
            f"recall@10 of {spec.recall.ann_recall_at_10:.3f} is the most that {plan.factory} gives here; "
            f"{parameters.recall_target:g}, by a margin of the error {spec.recall.standard_error:.3f}, was asked for"
        )
        better = finer(plan, parameters)
        if better is not None:
            _say(f"building {better[0].factory} instead, which is finer")
            index, spec = _build(output, vectors, queries, *better, parameters)
    verify_index(output, spec, vectors, index, seed=parameters.seed)
    return {
        "kind": spec.kind,
        "factory": spec.factory,
        "rows": spec.rows,
        "dimension": spec.dimension,
        "bytes_per_vector": round(spec.index_bytes / spec.rows, 1),
        "ann_recall_at_10": spec.recall.ann_recall_at_10,
        "recall_target_reached": spec.recall.reached,
        "search": spec.search.model_dump(exclude_none=True),
    }


def tuning_rows(splits: NDArray[np.str_], plan: IndexPlan, parameters: IndexingParameters) -> NDArray[np.int64]:
    """Return the rows for tuning: held-out images, or any if those are too few; at most a tenth of all.

    An exact index needs none: its rows keep the catalogue's order.
    """
    if plan.kind in EXACT_KINDS:
        return np.empty(0, np.int64)
    rows = np.flatnonzero(np.isin(splits, _HELD_OUT))
    if len(rows) < _ENOUGH_QUERIES:
        rows = np.arange(len(splits))
    most = min(parameters.tuning_queries, len(splits) // 10)
    return rows[sampled_rows(len(rows), most, parameters.seed)].astype(np.int64)


def _build(
    output: Path, vectors: Vectors, queries: int, plan: IndexPlan, needs: Forecast, parameters: IndexingParameters
) -> tuple[CatalogueIndex, IndexSpec]:
    _say(describe(plan, needs))
    for name in (INDEX_FILE, VECTORS_FILE):
        (output / name).unlink(missing_ok=True)
    stored = None
    if plan.maps_vectors:
        write_vectors(vectors, output / VECTORS_FILE)
        stored = np.memmap(output / VECTORS_FILE, np.float16, "r", shape=vectors.shape)
    known = len(vectors) - queries
    index = train(plan, vectors[:known], training_rows_per_list=parameters.training_rows_per_list, seed=parameters.seed)
    fill(index, vectors[:known])
    draft = _draft(plan, needs, parameters, rows=known)
    partial = CatalogueIndex(index, draft, stored[:known] if stored is not None else None)
    tuning = tune(partial, vectors[:known], vectors[known:], recall_target=parameters.recall_target)
    fill(index, vectors[known:])
    write_index(index, output / INDEX_FILE)
    spec = draft.model_copy(
        update={
            "rows": plan.rows,
            "index_bytes": (output / INDEX_FILE).stat().st_size,
            "search": tuning.settings,
            "recall": tuning.recall,
            "curve": tuning.curve,
        }
    )
    write_index_spec(output, spec)
    _say(
        f"built {plan.factory}: {spec.index_bytes / spec.rows:.0f} bytes/vector, recall@10 "
        f"{spec.recall.ann_recall_at_10:.4f} on {spec.recall.queries} held-out queries, "
        f"searched with {spec.search.model_dump(exclude_none=True) or 'no dials'}"
    )
    return CatalogueIndex(index, spec, stored), spec


def _draft(plan: IndexPlan, needs: Forecast, parameters: IndexingParameters, *, rows: int) -> IndexSpec:
    unknown = RecallFacts(
        target=parameters.recall_target, reached=False, ann_recall_at_10=0.0, standard_error=0.0, queries=0
    )
    return IndexSpec(
        kind=plan.kind,
        factory=plan.factory,
        dimension=plan.dimension,
        rows=rows,
        search=SearchSettings(),
        recall=unknown,
        forecast=needs,
        index_bytes=0,
        vectors_file=VECTORS_FILE if plan.maps_vectors else None,
        seed=parameters.seed,
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
