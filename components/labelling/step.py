"""The labelling step: judgements, clicks and self-supervision become training pairs."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.labelling.click_log import ClickLog, open_click_log
from components.labelling.engine import open_engine
from components.labelling.judgements import Judgements, agreement, fetch_judgements, read_judgements
from components.labelling.mining import mine_clicks
from components.labelling.parameters import LabellingParameters
from components.labelling.supervision import codes, image_pairs
from components.labelling.truth import Truth, compare_with_truth, truth_digest
from components.shared.errors import NoPositivePairError, ParameterError
from components.shared.files.artifacts import Artifact, open_artifact
from components.shared.files.layout import CATALOGUE_FILE
from components.shared.files.tables import CATALOGUE, JUDGEMENTS, PAIRS, read_table, write_table
from components.shared.files.workspace import Workspace
from components.shared.truth.labels import JUDGEMENTS_FILE, PAIRS_FILE, LabelsSpec, write_labels_spec
from components.shared.truth.relevance import MAX_GRADE, RELEVANT_GRADE, RelevanceRule

_COLUMNS = ["image_id", "item_id", "category", "is_public", "is_appropriate", "split", "duplicate_group"]


def run(
    *,
    catalogue: Path,
    judgements: str,
    events: str,
    truth: str,
    destination: Path,
    workspace: Path,
    parameters: LabellingParameters,
) -> Artifact:
    """Write pairs.parquet (training images only), judgements.parquet (all splits) and labels.json.

    Args:
        catalogue: output of the catalogue step.
        judgements: URI of a CSV or a Label Studio JSON export; "" for none.
        events: URI of a click log, a Parquet file or a folder of them; "" for none.
        truth: folder with the truth behind a simulated log; "" for none.
        destination: directory to publish.
        workspace: folder for finished and unfinished work.
        parameters: parameters of this step.

    Raises:
        SourceError: a source is missing or incomplete, or lacks columns.
        DataError: there are judgements, but all are of unknown images.
        NoPositivePairError: there is nothing to learn from.
        ParameterError: a truth is given without a click log.
    """
    open_artifact(catalogue, "catalogue")
    if truth and not events:
        raise ParameterError(
            f"a truth ({truth}) belongs to a click log, but no click log is given; pass events as well"
        )
    statements = fetch_judgements(judgements)
    log = open_click_log(events) if events else None
    inputs: dict[str, Path | str] = {
        "catalogue": catalogue,
        "judgements": hashlib.sha256(statements).hexdigest() if statements is not None else "",
        "events": log.digest if log else "",
        "truth": truth_digest(truth),
    }
    with Workspace(workspace).step("labelling", inputs=inputs, parameters=parameters) as work:
        if not work.is_finished:
            images = read_table(catalogue / CATALOGUE_FILE, CATALOGUE, _COLUMNS)
            images = images.append_column("trainable", _trainable(images, parameters))
            human = read_judgements(judgements, statements, set(images.column("image_id").to_pylist()))
            mined, clicks = _mine(log, images, truth, work.scratch, parameters) if log else (None, None)
            pairs = _all_pairs(images, human, mined, parameters)
            counts = _count(pairs)
            _require_pairs(counts, images, parameters)
            write_table(work.output / PAIRS_FILE, pairs, PAIRS)
            write_table(work.output / JUDGEMENTS_FILE, human.table, JUDGEMENTS)
            rule = RelevanceRule(same_category=RELEVANT_GRADE if parameters.categories_as_judgements else 0)
            spec = LabelsSpec(rule=rule, pairs=counts, judgements=human.spec, clicks=clicks)
            write_labels_spec(work.output, spec)
            _report_unknown(human.spec, clicks)
            work.finish(
                {"pairs": counts, "judgements": human.table.num_rows, "events": clicks["events"] if clicks else 0}
            )
        return work.publish(destination)


def _report_unknown(judgements: dict[str, Any], clicks: dict[str, Any] | None) -> None:
    """Print how many judgements and clicks name no image of the catalogue."""
    counted = (
        ("judgements", judgements.get("dropped", {}).get("unknown_image", 0), judgements),
        ("clicks", (clicks or {}).get("dropped", {}).get("clicks_on_unknown_images", 0), clicks or {}),
    )
    for name, count, spec in counted:
        if count and (examples := spec.get("unknown_examples")):
            print(f"{count} {name} name images that the catalogue does not have, for example {', '.join(examples)}")


def _trainable(images: pa.Table, parameters: LabellingParameters) -> pa.Array:
    allowed = pc.equal(images.column("split"), "train")
    if not parameters.private_images:
        allowed = pc.and_(allowed, images.column("is_public"))
    if not parameters.inappropriate_images:
        allowed = pc.and_(allowed, images.column("is_appropriate"))
    return allowed.cast(pa.int64())


def _mine(
    log: ClickLog, images: pa.Table, truth: str, scratch: Path, parameters: LabellingParameters
) -> tuple[pa.Table, dict[str, Any]]:
    """Return the mined pairs (PAIRS) and the section on clicks for `labels.json`."""
    columns = images.select(["image_id", "item_id", "category", "duplicate_group", "trainable"])
    with open_engine(parameters, scratch) as engine:
        mined = mine_clicks(engine, log, columns, parameters)
        spec = mined.spec
        if truth:
            spec = {**spec, **compare_with_truth(engine, mined, Truth(truth, columns), columns)}
    value = mined.pairs.column("value").to_numpy()
    weights = parameters.click_weight * value / (value + mined.prior.mean)
    names = (mined.pairs.column("query_image_id"), mined.pairs.column("image_id"))
    return _pairs(*names, "click", weights), spec


def _all_pairs(
    images: pa.Table, human: Judgements, mined: pa.Table | None, parameters: LabellingParameters
) -> pa.Table:
    """Return the pairs of all sources (PAIRS), sorted."""
    usable = images.filter(pc.equal(images.column("trainable"), 1))
    ids = usable.column("image_id")
    parts = [
        _human_pairs(human, set(ids.to_pylist()), parameters.human_weight),
        _pairs(ids, ids, "augmentation", np.full(len(ids), parameters.augmentation_weight)),
    ]
    if mined is not None:
        parts.append(mined)
    sources = [("item", "item_id", parameters.item_pairs_per_image, parameters.item_weight)]
    if parameters.categories_as_judgements:
        sources.append(("category", "category", parameters.category_pairs_per_image, parameters.category_weight))
    near = codes(usable.column("duplicate_group"))
    for source, column, per_image, weight in sources:
        query, positive = image_pairs(codes(usable.column(column)), near, per_image=per_image, seed=parameters.seed)
        parts.append(_pairs(ids.take(query), ids.take(positive), source, np.full(len(query), weight)))
    order = [(name, "ascending") for name in ("source", "query_image_id", "positive_image_id")]
    return pa.concat_tables(parts).sort_by(order).combine_chunks()


def _human_pairs(human: Judgements, trainable: set[str], weight: float) -> pa.Table:
    """Return pairs whose mean grade is at least 2, weighted by grade and agreement (at least a tenth)."""
    rows = []
    for (query, image), grades in sorted(human.by_pair().items()):
        mean = sum(grades) / len(grades)
        if mean >= RELEVANT_GRADE and query in trainable and image in trainable:
            rows.append((query, image, weight * mean / MAX_GRADE * max(agreement(grades), 0.1)))
    return _pairs([row[0] for row in rows], [row[1] for row in rows], "human", np.array([row[2] for row in rows]))


def _pairs(query: Any, positive: Any, source: str, weights: Any) -> pa.Table:
    weights = np.round(np.asarray(weights, np.float64), 6).astype(np.float32)
    return pa.table([query, positive, [source] * len(weights), weights], schema=PAIRS.schema)


def _count(pairs: pa.Table) -> dict[str, int]:
    counted = pairs.group_by("source").aggregate([([], "count_all")])
    counts = dict(zip(counted.column("source").to_pylist(), counted.column("count_all").to_pylist(), strict=True))
    return {source: int(counts[source]) for source in sorted(counts)}


def _require_pairs(counts: dict[str, int], images: pa.Table, parameters: LabellingParameters) -> None:
    if counts:
        return
    train = pc.sum(pc.equal(images.column("split"), "train")).as_py() or 0
    raise NoPositivePairError(
        f"none of the catalogue's {images.num_rows} images can be trained on: {train} are of the split train, and none of "
        "these is public and appropriate; add images, publish some, or set labelling.private_images"
        if train
        else f"none of the catalogue's {images.num_rows} images is of the split train; add images, or correct the split"
    )
