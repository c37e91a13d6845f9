"""Choice of the index by number of vectors, dimension, memory budget and objective (latency or throughput).

The order of preference follows measurements at recall 0.95 (queries per second relative to HNSW16 in batches at
1,000,000 × 128): codes with refinement 2.1 to 2.5 by processor, HNSW16 1, IVF4096,SQ8 0.53, IVF4096,Flat 0.41, exact scan
0.06. With fewer rows the scan of all codes catches up: in batches it takes 1.2 × as long as inverted lists at 20,000 rows,
2.4 × at 60,000.
"""

from __future__ import annotations

import math

from components.indexing.forecast import IndexPlan, forecast
from components.indexing.parameters import IndexingParameters
from components.shared.errors import ParameterError
from components.shared.vectors.search import Forecast, Kind

EXACT_KINDS = ("exact", "exact_f16")
EXACT_VALUES = 50_000 * 128  # up to this size the vectors fit a CPU's cache, and a scan takes about a millisecond
EXHAUSTIVE_ROWS = 50_000
HNSW_ROWS = 2_000_000  # beyond, building the graph takes more than ten minutes of CPU time
FLAT_CENTROID_ROWS = 10_000_000  # beyond, comparing with every centroid costs more than scanning the lists
_MIN_ROWS_PER_LIST = 8
_MIN_CODE_ROWS = 256  # for k-means of 16 centroids per sub-quantizer


def choose(rows: int, dimension: int, parameters: IndexingParameters) -> tuple[IndexPlan, Forecast]:
    """Return the first plan, in order of preference, whose memory fits the budget, with its forecast.

    Raises:
        ParameterError: no plan fits, or the requested kind does not fit the data.
    """
    plans = _preferred(rows, dimension, parameters)
    forecasts = [
        forecast(plan, training_rows_per_list=parameters.training_rows_per_list, recall_target=parameters.recall_target)
        for plan in plans
    ]
    budget = parameters.memory_budget_bytes
    for plan, needs in zip(plans, forecasts, strict=True):
        if budget is None or needs.ram_bytes <= budget:
            return plan, needs
    smallest, plan = min(
        ((needs.ram_bytes, plan) for plan, needs in zip(plans, forecasts, strict=True)), key=lambda pair: pair[0]
    )
    raise ParameterError(
        f"memory_budget_bytes is {budget:,}, but {rows:,} vectors of {dimension} dimensions need at least {smallest:,} "
        f"({plan.factory}, vectors for rescoring on disk); raise the budget or index fewer images"
    )


def finer(plan: IndexPlan, parameters: IndexingParameters) -> tuple[IndexPlan, Forecast] | None:
    """Return a plan that reaches any recall, for use if codes do not; None if such a plan is not allowed or does not fit.

    Only a choice by `kind="auto"` is revised.
    """
    better = IndexPlan("exact_f16", plan.rows, plan.dimension)
    needs = forecast(
        better, training_rows_per_list=parameters.training_rows_per_list, recall_target=parameters.recall_target
    )
    fits = parameters.memory_budget_bytes is None or needs.ram_bytes <= parameters.memory_budget_bytes
    return (better, needs) if parameters.kind == "auto" and fits and plan.kind != better.kind else None


def _preferred(rows: int, dimension: int, parameters: IndexingParameters) -> list[IndexPlan]:
    if parameters.kind != "auto":
        return _of_kind(parameters.kind, rows, dimension)
    order: list[Kind] = []
    if rows * dimension <= EXACT_VALUES or rows < _MIN_CODE_ROWS:
        order += ["exact", "exact_f16"]
    elif parameters.objective == "latency" and rows <= HNSW_ROWS:
        order.append("hnsw")
    if rows >= _MIN_CODE_ROWS:
        order.append("pq" if rows <= EXHAUSTIVE_ROWS else "ivf_pq" if rows <= FLAT_CENTROID_ROWS else "ivf_hnsw_pq")
    plans = [plan for kind in order for plan in _of_kind(kind, rows, dimension)]
    return sorted(plans, key=lambda plan: plan.maps_vectors)  # stable: files only if memory is too small


def _of_kind(kind: Kind, rows: int, dimension: int) -> list[IndexPlan]:
    """Return the plans of one kind: the fastest as measured, then with vectors on disk, then with shorter codes."""
    if kind in (*EXACT_KINDS, "hnsw"):
        return [IndexPlan(kind, rows, dimension)]
    lists = 1 if kind == "pq" else lists_for(rows, graph=kind == "ivf_hnsw_pq")
    needed = max(_MIN_ROWS_PER_LIST * lists, _MIN_CODE_ROWS if kind != "ivf_flat" else 1)
    if rows < needed:
        raise ParameterError(
            f"an index of kind {kind} needs at least {needed} images, got {rows}; choose exact or auto"
        )
    if kind == "ivf_flat":
        return [IndexPlan(kind, rows, dimension, lists)]
    parts = code_parts_for(dimension, dimension // 2)
    shorter = code_parts_for(dimension, max(1, parts // 2))
    plans = [IndexPlan(kind, rows, dimension, lists, parts, maps) for maps in (kind == "ivf_hnsw_pq", True)]
    return [*dict.fromkeys([*plans, IndexPlan(kind, rows, dimension, lists, shorter, maps_vectors=True)])]


def lists_for(rows: int, *, graph: bool = False) -> int:
    """Return the number of inverted lists: 3.5 · √rows, 3,500 at a million.

    The scan of the probed lists then costs about as much as that of the centroids, and an index of 128 dimensions with its
    refinement stays below 300 bytes per vector. A graph over the centroids makes them cheap; then there are four times as
    many (at most 262,144).
    """
    lists = min(round(3.5 * math.sqrt(rows)), rows // _MIN_ROWS_PER_LIST) or 1
    return min(4 * lists, 262_144, rows // _MIN_ROWS_PER_LIST or 1) if graph else lists


def code_parts_for(dimension: int, most: int) -> int:
    """Return the largest divisor of the dimension that is at most `most` and 256 (sub-quantizers of equal length)."""
    return max(parts for parts in range(1, max(1, min(most, 256)) + 1) if dimension % parts == 0)
