"""From per-query values to figures with intervals, and to metrics.json."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.evaluation.bootstrap import Interval, bootstrap
from components.evaluation.gallery import Gallery
from components.evaluation.measurement import METRICS, RankerOutcome
from components.evaluation.parameters import EvaluationParameters
from components.shared.truth.metrics import PerQuery

Figures = dict[str, Interval]

MAX_CATEGORIES = 50  # the largest ones; the rest are reported together
UNKNOWN_CATEGORY = "(none)"
OTHER_CATEGORIES = "(others)"
_TOP_STORED = 10
_INTERVALS = {"bca": "BCa", "percentile": "Percentile"}


@dataclass(frozen=True)
class Results:
    """All figures of an evaluation.

    Attributes:
        rankers: ranker → metric → interval, by the main truth.
        ahead: ranker → metric → interval of (trained − ranker) on the same queries.
        categories: category → ranker → metric → interval; the largest first.
        sources: label source → ranker → metric → interval: "item" and "category" use only that truth, "judged" only
            the queries with a judgement.
        ann_recall: share of the exact 10 nearest that the index returns.
    """

    rankers: dict[str, Figures]
    ahead: dict[str, Figures]
    categories: dict[str, dict[str, Figures]]
    sources: dict[str, dict[str, Figures]]
    ann_recall: Interval


def summarise(
    gallery: Gallery, outcomes: Mapping[str, RankerOutcome], ann_recall: PerQuery, parameters: EvaluationParameters
) -> Results:
    """Compute every figure with its interval, all from the same draws of items."""
    clusters = gallery.clusters()
    alike = [name for name in outcomes if name not in ("chance", "index")]

    def figures(names: list[str], source: str = "all", among: NDArray[np.bool_] | None = None) -> dict[str, Figures]:
        rows = np.ones(len(clusters), bool) if among is None else among
        values = {name: outcomes[name].values[source][rows] for name in names}
        return _with_intervals(values, clusters[rows], parameters)

    trained = outcomes["trained"].values["all"]
    differences = {name: trained - outcome.values["all"] for name, outcome in outcomes.items() if name != "trained"}
    sources = {source: figures(alike, source) for source in ("item", "category")}
    if gallery.judged.any():
        sources["judged"] = figures(alike, among=gallery.judged)
    rankers, ahead = figures(list(outcomes)), _with_intervals(differences, clusters, parameters)
    if "index" in outcomes and parameters.index_depth < gallery.size - 1:
        for table in (rankers, ahead):
            del table["index"]["map"]  # computed from a truncated list, so not comparable
    (recall,) = bootstrap(ann_recall[:, None], clusters, **_options(parameters))
    return Results(
        rankers=rankers,
        ahead=ahead,
        categories={name: figures(alike, among=rows) for name, rows in category_masks(gallery).items()},
        sources=sources,
        ann_recall=recall,
    )


def category_masks(gallery: Gallery) -> dict[str, NDArray[np.bool_]]:
    """Return category → (q,) whether a query belongs to it; the largest first, those beyond the 50 largest together."""
    names = [name if name is not None else UNKNOWN_CATEGORY for name in gallery.query_categories()]
    ordered = sorted(Counter(names).items(), key=lambda entry: (-entry[1], entry[0]))
    kept = {name for name, _ in ordered[:MAX_CATEGORIES]}
    labels = np.array([name if name in kept else OTHER_CATEGORIES for name in names], dtype=object)
    order = [name for name, _ in ordered[:MAX_CATEGORIES]]
    if len(ordered) > MAX_CATEGORIES:
        order.append(OTHER_CATEGORIES)
    return {name: np.asarray(labels == name, bool) for name in order}


def metrics_json(
    results: Results,
    gallery: Gallery,
    outcomes: Mapping[str, RankerOutcome],
    parameters: EvaluationParameters,
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Return the contents of `metrics.json`: flat names for MLflow, then every figure with its interval.

    Args:
        results: the figures.
        gallery: the searched images.
        outcomes: measured answers per ranker.
        parameters: parameters of the evaluation.
        facts: further facts to include (space, champion, pictures left out).
    """
    queries = results.rankers["trained"]["map"]
    return {
        "schema_version": 1,
        **facts,
        "protocol": {
            "gallery_images": gallery.size,
            "queries": queries.queries,
            "queries_left_out": queries.left_out,
            "query_items": len(np.unique(gallery.clusters())),
            "not_embedded": gallery.not_embedded,
            "relevant": "grade of at least 2; nDCG takes the grade 0–3 as gain",
            "left_out": "a query's own image is not in its answer; a query with nothing relevant is left out",
            "confidence": parameters.confidence,
            "interval": f"{_INTERVALS[parameters.interval]} bootstrap, {parameters.resamples} resamples of items",
            "seed": parameters.seed,
        },
        "flat": flat_metrics(results),
        "rankers": {name: _figures_json(f) for name, f in results.rankers.items()},
        "trained_minus": {name: _figures_json(f) for name, f in results.ahead.items()},
        "index": {"ann_recall_at_10": _interval_json(results.ann_recall)},
        "sources": {s: {n: _figures_json(f) for n, f in by.items()} for s, by in results.sources.items()},
        "categories": {c: {n: _figures_json(f) for n, f in by.items()} for c, by in results.categories.items()},
    }


def flat_metrics(results: Results) -> dict[str, float]:
    """Return name → value with names that MLflow accepts: those of the trained encoder unchanged, others with a prefix."""
    flat = {}
    for ranker, figures in results.rankers.items():
        prefix = "" if ranker == "trained" else f"{ranker}_"
        flat.update(
            {f"{prefix}{metric}": round(f.value, 6) for metric, f in figures.items() if not math.isnan(f.value)}
        )
    if not math.isnan(results.ann_recall.value):
        flat["ann_recall_at_10"] = round(results.ann_recall.value, 6)
    return flat


def per_query_table(gallery: Gallery, outcomes: Mapping[str, RankerOutcome]) -> pa.Table:
    """Return a row per ranker and query: metrics (null: nothing relevant) and the first ten answers."""
    ids = gallery.column("image_id")
    items, categories = gallery.column("item_id"), gallery.column("category")
    tables = []
    for name, outcome in outcomes.items():
        columns: dict[str, Any] = {
            "ranker": [name] * len(gallery.queries),
            "query_image_id": [ids[int(q)] for q in gallery.queries],
            "item_id": [items[int(q)] for q in gallery.queries],
            "category": pa.array([categories[int(q)] for q in gallery.queries], pa.string()),
        }
        columns |= {m: pa.array(outcome.metric(m), pa.float64(), from_pandas=True) for m in METRICS}
        there = [row[:_TOP_STORED] >= 0 for row in outcome.top_rows]
        columns["first_relevant_rank"] = pa.array(outcome.first_relevant, pa.int32(), mask=outcome.first_relevant == 0)
        columns["neighbour_image_ids"] = [
            [ids[int(r)] for r in row[:_TOP_STORED][t]] for row, t in zip(outcome.top_rows, there, strict=True)
        ]
        columns["neighbour_scores"] = [s[:_TOP_STORED][t] for s, t in zip(outcome.top_scores, there, strict=True)]
        columns["neighbour_grades"] = [g[:_TOP_STORED][t] for g, t in zip(outcome.top_grades, there, strict=True)]
        tables.append(pa.table(columns))
    return pa.concat_tables(tables)


def _with_intervals(
    values: Mapping[str, NDArray[np.float64]], clusters: NDArray[np.int64], parameters: EvaluationParameters
) -> dict[str, Figures]:
    """Resample the metrics of all rankers at once, so that they share their draws."""
    intervals = bootstrap(np.concatenate(list(values.values()), axis=1), clusters, **_options(parameters))
    width = len(METRICS)
    return {
        name: dict(zip(METRICS, intervals[i * width : (i + 1) * width], strict=True)) for i, name in enumerate(values)
    }


def _options(parameters: EvaluationParameters) -> dict[str, Any]:
    return {
        "resamples": parameters.resamples,
        "confidence": parameters.confidence,
        "kind": parameters.interval,
        "seed": parameters.seed,
    }


def _figures_json(figures: Figures) -> dict[str, Any]:
    return {metric: _interval_json(interval) for metric, interval in figures.items()}


def _interval_json(interval: Interval) -> dict[str, Any]:
    return {key: _rounded(value) if isinstance(value, float) else value for key, value in asdict(interval).items()}


def _rounded(value: float) -> float | None:
    """Keep six decimals, since beyond them machines differ in how they sum."""
    return None if math.isnan(value) else round(value, 6)
