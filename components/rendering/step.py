"""Make the rendered shop: pictures, manifest, judgements, click log and the truth about them."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from tqdm import tqdm

from components.rendering.clicks import SimulatedClicks
from components.rendering.designs import Item, design_items, true_grades
from components.rendering.judges import draw_search_candidates, write_judgements
from components.rendering.parameters import RenderingParameters
from components.rendering.stock import Photograph, folder_of, plan_stock, write_manifest, write_pictures
from components.shared.files.artifacts import Artifact
from components.shared.files.atomic import full_disk_named, write_json
from components.shared.files.layout import EVENTS_FILE, TRUE_RELEVANCE_FILE, TRUTH_FILE
from components.shared.files.progress import progress_bar
from components.shared.files.tables import EVENTS, JUDGEMENTS, write_table
from components.shared.files.workspace import StepWork, Workspace

MANIFEST_FILE = "manifest.csv"
HUMAN_FILE = "judgements.csv"

_ITEMS_IN_A_CHUNK = 6


def run(*, destination: Path, workspace: Path, parameters: RenderingParameters) -> Artifact:
    """Render the shop into the directory `destination`.

    Writes `images/<category>/<item>/<view>.jpg` (a few PNG and WebP), `manifest.csv`, `judgements.csv`,
    `events.parquet` (table EVENTS), `truth.json` and `truth_relevance.parquet` (table JUDGEMENTS: the true grades of
    the pairs that the log shows). Equal parameters give equal bytes; a killed run goes on where it was.

    Raises:
        ResourceError: the disk is full, or another process renders the same shop.
    """
    values = parameters.model_dump(mode="json", exclude={"processes"})
    with Workspace(workspace).step("rendering", inputs={}, parameters=values) as work:
        if not work.is_finished:
            items = design_items(parameters.items, parameters.seed)
            photographs = plan_stock(items, parameters)
            _render(work, items, photographs, parameters)
            write_manifest(work.output / MANIFEST_FILE, items, photographs)
            judgements = write_judgements(work.output / HUMAN_FILE, items, photographs, parameters)
            counts = _write_log(work.output, items, photographs, parameters)
            work.finish(_summary(items, photographs) | {"judgements": judgements, "events": counts})
        return work.publish(destination)


def _summary(items: Sequence[Item], photographs: Sequence[Photograph]) -> dict[str, Any]:
    return {
        "images": len(photographs),
        "items": len(items),
        "families": len({item.family for item in items}),
        "categories": len({item.category for item in items}),
        "near_duplicates": sum(bool(p.copy) for p in photographs),
        "private": sum(not p.is_public for p in photographs),
        "inappropriate": sum(not p.is_appropriate for p in photographs),
    }


def _render(
    work: StepWork, items: Sequence[Item], photographs: Sequence[Photograph], parameters: RenderingParameters
) -> None:
    """Render the items that are missing, on all cores; a complete item's folder is moved to its place."""
    stock: dict[int, list[Photograph]] = {}
    for photograph in photographs:
        stock.setdefault(photograph.item, []).append(photograph)
    todo = [(item, stock[i]) for i, item in enumerate(items) if not _is_there(work.output / folder_of(item), stock[i])]
    chunks = [todo[i : i + _ITEMS_IN_A_CHUNK] for i in range(0, len(todo), _ITEMS_IN_A_CHUNK)]
    processes = max(1, min(parameters.processes or len(os.sched_getaffinity(0)), len(chunks)))
    arguments = (work.output, work.scratch, parameters.seed, parameters.side)
    bar: tqdm[Any] = progress_bar(None, "rendering", total=len(photographs), unit="picture")
    spawn = multiprocessing.get_context("spawn")
    # OpenCV keeps to one thread: the pictures are small, and the processes share the cores.
    with bar, ProcessPoolExecutor(processes, spawn, cv2.setNumThreads, (1,)) as pool:
        bar.update(len(photographs) - sum(len(task[1]) for task in todo))
        for future in as_completed([pool.submit(_render_chunk, chunk, *arguments) for chunk in chunks]):
            bar.update(future.result())


def _is_there(place: Path, photographs: Sequence[Photograph]) -> bool:
    """Tell whether an item's folder is whole; after a power failure files may be there and empty."""
    files = [place / photograph.name for photograph in photographs]
    return all(file.is_file() and file.stat().st_size for file in files)


def _render_chunk(chunk: list[tuple[Item, list[Photograph]]], output: Path, scratch: Path, seed: int, side: int) -> int:
    for item, photographs in chunk:
        unfinished, place = scratch / item.item_id, output / folder_of(item)
        shutil.rmtree(unfinished, ignore_errors=True)
        # Not synced one by one, which would take longer than the rendering: nothing is read before the step is sealed.
        with full_disk_named(place):
            write_pictures(unfinished, item, photographs, seed=seed, side=side)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(place, ignore_errors=True)
            unfinished.replace(place)
    return sum(len(photographs) for _, photographs in chunk)


def _write_log(
    output: Path, items: Sequence[Item], photographs: Sequence[Photograph], parameters: RenderingParameters
) -> dict[str, int]:
    """Write the click log and what is true about it."""
    candidates = draw_search_candidates(items, photographs, parameters)
    ids = [p.image_id for p in photographs]
    behaviour = parameters.clicks
    behaviour = behaviour.model_copy(update={"results": min(behaviour.results, candidates.rows.shape[1])})
    log = SimulatedClicks(
        [ids[int(row)] for row in candidates.queries],
        ids,
        candidates.rows,
        candidates.grades,
        searches=parameters.searches,
        seed=parameters.seed,
        behaviour=behaviour,
    )
    events, truth = log.whole()
    write_table(output / EVENTS_FILE, events, EVENTS)
    write_table(output / TRUE_RELEVANCE_FILE, _true_relevance(events, items, photographs), JUDGEMENTS)
    families = {i.item_id: {"category": i.kind.name, "form": i.form, "family": i.family} for i in items}
    write_json(output / TRUTH_FILE, truth | {"seed": parameters.seed, "items": families})
    counts: dict[str, int] = truth["counts"]
    return counts


def _true_relevance(events: pa.Table, items: Sequence[Item], photographs: Sequence[Photograph]) -> pa.Table:
    """Return the true grade of every pair of query and returned image in the log, the query itself left out."""
    shown = events.select(["query_image_id", "returned_image_id"]).drop_null()
    pairs = shown.group_by(["query_image_id", "returned_image_id"]).aggregate([])
    pairs = pairs.sort_by([("query_image_id", "ascending"), ("returned_image_id", "ascending")])
    queries, images = (pairs[name].to_pylist() for name in ("query_image_id", "returned_image_id"))
    kept = [row for row in range(len(queries)) if queries[row] != images[row]]
    item_of = {p.image_id: p.item for p in photographs}
    one, other = (np.array([item_of[ids[row]] for row in kept], np.int64) for ids in (queries, images))
    n = len(kept)
    return pa.table(
        {
            "query_image_id": [queries[row] for row in kept],
            "image_id": [images[row] for row in kept],
            "grade": true_grades(list(items), one, other),
            "judge": ["truth"] * n,
            "at": pa.nulls(n, pa.timestamp("us", tz="UTC")),
        }
    )
