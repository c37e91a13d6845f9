"""The indexing step: from embeddings to an index that was tuned, read back and checked."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.indexing.build import fill, train, write_index, write_vectors
from components.indexing.choose import choose, finer
from components.indexing.forecast import Plan, describe
from components.indexing.gather import gather, items_of
from components.indexing.parameters import IndexingParameters
from components.indexing.tuning import Tuning, tune
from components.indexing.verify import sampled_rows, verify_index
from components.shared.artifacts import Artifact, open_artifact
from components.shared.embeddings import Vectors
from components.shared.search import (
    INDEX_FILE,
    VECTORS_FILE,
    CatalogueIndex,
    Forecast,
    IndexSpec,
    RecallFacts,
    SearchSettings,
    write_index_spec,
)
from components.shared.tables import CATALOGUE, ITEMS, read_table, write_table
from components.shared.workspace import Workspace

ITEMS_FILE = "items.parquet"
_HELD_OUT = ("validation", "test")
_ENOUGH_QUERIES = 50


def run(
    *, catalogue: Path, embeddings: Path, destination: Path, workspace: Path, parameters: IndexingParameters
) -> Artifact:
    """Choose, train, build, tune and verify the index of a catalogue's embeddings.

    Args:
        catalogue: output of the catalogue step.
        embeddings: output of the embedding step.
        destination: where to publish `index.faiss`, `vectors.f16` (some kinds), `items.parquet` and `index.json`.
        workspace: where finished and unfinished work is kept.
        parameters: how to build.

    Returns:
        The artifact; its summary holds kind, rows, recall, bytes per vector and settings.

    Raises:
        PoisonedVectorError: a vector is not a finite unit vector, or an image occurs twice; names row and image.
        ParameterError: the memory budget or the kind does not fit the data.
        DataError: there are no embeddings.
        ContractError: inputs do not belong together, or the index read back differs from the one that was built.
    """
    open_artifact(catalogue, "catalogue")
    open_artifact(embeddings, "embedding")
    inputs: dict[str, Path | str] = {"catalogue": catalogue, "embeddings": embeddings}
    with Workspace(workspace).step("indexing", inputs=inputs, parameters=parameters) as work:
        if not work.is_finished:
            images = read_table(catalogue / "catalogue.parquet", CATALOGUE)
            image_ids, vectors = gather(embeddings, work.scratch)
            items, splits = items_of(images, image_ids, str(embeddings))
            write_table(work.output / ITEMS_FILE, items, ITEMS)
            summary = build_index(work.output, vectors, query_rows(splits, parameters), parameters)
            work.finish(summary | {"not_embedded": images.num_rows - len(image_ids)})
        return work.publish(destination)


def build_index(
    output: Path, vectors: Vectors, queries: NDArray[np.int64], parameters: IndexingParameters
) -> dict[str, Any]:
    """Build the index of `vectors` in `output` and return what it is, in a few numbers.

    Args:
        output: directory for `index.faiss`, `index.json` and, for some kinds, `vectors.f16`.
        vectors: (n, d) float32 unit vectors, checked; may be a memory map.
        queries: rows to tune on.
        parameters: how to build.
    """
    plan, needs = choose(len(vectors), vectors.shape[1], parameters)
    index, spec, tuning = _build(output, vectors, queries, plan, needs, parameters)
    if not tuning.recall.reached:
        _say(
            f"recall@10 of {tuning.recall.ann_recall_at_10:.3f} is the most that {plan.factory} gives here, "
            f"{parameters.recall_target:g} (by a margin of its error {tuning.recall.standard_error:.3f}) was asked for"
        )
        better = finer(plan, parameters)
        if better is not None:
            _say(f"building {better[0].factory} instead, which is finer")
            index, spec, tuning = _build(output, vectors, queries, *better, parameters)
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


def query_rows(splits: list[str], parameters: IndexingParameters) -> NDArray[np.int64]:
    """Return the rows to tune on: held-out images, or a sample of all where those are too few."""
    rows = np.flatnonzero(np.isin(np.asarray(splits), _HELD_OUT))
    if len(rows) < min(_ENOUGH_QUERIES, len(splits)):
        rows = np.arange(len(splits))
    return rows[sampled_rows(len(rows), parameters.tuning_queries, parameters.seed)].astype(np.int64)


def _build(
    output: Path,
    vectors: Vectors,
    queries: NDArray[np.int64],
    plan: Plan,
    needs: Forecast,
    parameters: IndexingParameters,
) -> tuple[CatalogueIndex, IndexSpec, Tuning]:
    _say(describe(plan, needs))
    for name in (INDEX_FILE, VECTORS_FILE):
        (output / name).unlink(missing_ok=True)
    index = train(plan, vectors, training_rows_per_list=parameters.training_rows_per_list, seed=parameters.seed)
    fill(index, vectors)
    write_index(index, output / INDEX_FILE)
    stored = None
    if plan.maps_vectors:
        write_vectors(vectors, output / VECTORS_FILE)
        stored = np.memmap(output / VECTORS_FILE, np.float16, "r", shape=vectors.shape)
    untuned = IndexSpec(
        kind=plan.kind,
        factory=plan.factory,
        dimension=plan.dimension,
        rows=plan.rows,
        search=SearchSettings(),
        recall=RecallFacts(
            target=parameters.recall_target, reached=False, ann_recall_at_10=0, standard_error=0, queries=0
        ),
        forecast=needs,
        index_bytes=(output / INDEX_FILE).stat().st_size,
        vectors_file=VECTORS_FILE if plan.maps_vectors else None,
        seed=parameters.seed,
    )
    tuning = tune(CatalogueIndex(index, untuned, stored), vectors, queries, recall_target=parameters.recall_target)
    spec = untuned.model_copy(update={"search": tuning.settings, "recall": tuning.recall, "curve": tuning.curve})
    write_index_spec(output, spec)
    _say(
        f"built {plan.factory}: {spec.index_bytes / spec.rows:.0f} bytes/vector, recall@10 "
        f"{spec.recall.ann_recall_at_10:.4f} on {spec.recall.queries} held-out queries, "
        f"searched with {spec.search.model_dump(exclude_none=True) or 'no dials'}"
    )
    return CatalogueIndex(index, spec, stored), spec, tuning


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
