"""Expected needs of an index, before it is built: memory, disk, time, recall.

The constants were measured with Faiss 1.15.1 on 1,000,000 × 128 vectors of a clustered manifold of local dimension ~20 (AVX-512,
process CPU time of one core); `benchmarks/indexing.py` measures them again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from components.shared.vectors.search import Forecast, Kind

HNSW_LINKS = 16  # for the kind "hnsw": 2 × 16 links on the ground level
CENTROID_LINKS = 32
_HNSW_LINK_BYTES = 4 * 2 * HNSW_LINKS + 16  # links, and offsets and upper levels spread over all rows
_CENTROID_LINK_BYTES = 4 * 2 * CENTROID_LINKS + 24
_ROW_ID_BYTES = 8
_BLOCK_ROWS = 32  # a fast-scan list is padded to whole blocks

# CPU seconds per million rows of 128 dimensions.
_COPY_SECONDS = 0.2
_HNSW_SECONDS = 291.0
_ENCODE_SECONDS = 4.0
_MULTIPLICATIONS_PER_SECOND = 8.0e10  # in dense float32 products, for k-means and assignment
_KMEANS_ITERATIONS = 10
_GRAPH_ASSIGN_SECONDS = 60.0

EXPECTED_RECALL: dict[Kind, float] = {
    "exact": 1.0,
    "exact_f16": 0.9998,
    "hnsw": 0.99,
    "ivf_flat": 0.99,
    "pq": 0.997,
    "ivf_pq": 0.99,
    "ivf_hnsw_pq": 0.98,
}


@dataclass(frozen=True)
class IndexPlan:
    """An index that could be built.

    Attributes:
        rows: number n of vectors.
        dimension: length d of a vector.
        lists: inverted lists; 0 if the kind has none.
        code_parts: sub-quantizers of 4 bits per vector; 0 if the kind has none.
        maps_vectors: whether vectors for rescoring are in a memory-mapped file instead of memory.
    """

    kind: Kind
    rows: int
    dimension: int
    lists: int = 0
    code_parts: int = 0
    maps_vectors: bool = False

    @property
    def factory(self) -> str:
        """The plan in Faiss's notation, for people."""
        codes = f"PQ{self.code_parts}x4fs"
        refine = "" if self.maps_vectors else ",Refine(SQfp16)"
        return {
            "exact": "Flat",
            "exact_f16": "SQfp16",
            "hnsw": f"HNSW{HNSW_LINKS}",
            "ivf_flat": f"IVF{self.lists},Flat",
            "pq": f"IVF1,{codes}{refine}",
            "ivf_pq": f"IVF{self.lists},{codes}{refine}",
            "ivf_hnsw_pq": f"IVF{self.lists}_HNSW{CENTROID_LINKS},{codes}{refine}",
        }[self.kind]


def forecast(plan: IndexPlan, *, training_rows_per_list: int, recall_target: float) -> Forecast:
    """Return the expected needs of a plan."""
    ram = _index_bytes(plan)
    mapped = 2 * plan.rows * plan.dimension if plan.maps_vectors else 0
    expected = EXPECTED_RECALL[plan.kind]
    exhaustive = plan.kind in ("exact", "exact_f16", "pq")
    return Forecast(
        ram_bytes=ram,
        disk_bytes=ram + mapped,
        bytes_per_vector=round(ram / plan.rows, 1),
        build_cpu_seconds=round(_build_seconds(plan, training_rows_per_list), 1),
        build_ram_bytes=ram + 4 * plan.dimension * max(plan.lists * training_rows_per_list, min(plan.rows, 1_000_000)),
        expected_recall=expected if exhaustive else min(expected, recall_target),
    )


def describe(plan: IndexPlan, needs: Forecast) -> str:
    """Return the forecast as one line for people."""
    return (
        f"index of {plan.rows:,} × {plan.dimension}: {plan.factory} ({plan.kind}) – expects {_size(needs.ram_bytes)} of memory "
        f"({needs.bytes_per_vector:g} bytes/vector), {_size(needs.disk_bytes)} on disk, {_time(needs.build_cpu_seconds)} of CPU "
        f"to build, recall@10 of {needs.expected_recall:g} against the exact search"
    )


def _index_bytes(plan: IndexPlan) -> int:
    rows, d = plan.rows, plan.dimension
    if plan.kind == "exact":
        return 4 * d * rows
    if plan.kind == "exact_f16":
        return 2 * d * rows
    if plan.kind == "hnsw":
        return (4 * d + _HNSW_LINK_BYTES) * rows
    centroids = 4 * d * plan.lists + (_CENTROID_LINK_BYTES * plan.lists if plan.kind == "ivf_hnsw_pq" else 0)
    if plan.kind == "ivf_flat":
        return (4 * d + _ROW_ID_BYTES) * rows + centroids
    # Half a block per list; more in very short lists.
    padding = plan.lists * max(_BLOCK_ROWS / 2, _BLOCK_ROWS - rows / plan.lists)
    codes = int(rows + padding) * ((plan.code_parts + 1) // 2) + _ROW_ID_BYTES * rows
    return codes + centroids + 16 * 4 * d + (0 if plan.maps_vectors else 2 * d * rows)


def _build_seconds(plan: IndexPlan, training_rows_per_list: int) -> float:
    millions, width = plan.rows / 1e6, plan.dimension / 128
    if plan.kind in ("exact", "exact_f16"):
        return _COPY_SECONDS * millions * width
    if plan.kind == "hnsw":
        return _HNSW_SECONDS * millions * width * max(0.3, math.log(max(plan.rows, 2)) / math.log(1e6))
    encode = (_COPY_SECONDS if plan.kind == "ivf_flat" else _ENCODE_SECONDS) * millions * width
    if plan.lists <= 1:
        return encode
    # Two levels of k-means: each compares with √lists centroids.
    learned = min(plan.rows, plan.lists * training_rows_per_list)
    kmeans = 2 * 2 * _KMEANS_ITERATIONS * learned * math.sqrt(plan.lists) * plan.dimension / _MULTIPLICATIONS_PER_SECOND
    if plan.kind == "ivf_hnsw_pq":
        return encode + kmeans + _GRAPH_ASSIGN_SECONDS * millions * width
    return encode + kmeans + 2 * plan.rows * plan.lists * plan.dimension / _MULTIPLICATIONS_PER_SECOND


def _size(count: int) -> str:
    value = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def _time(seconds: float) -> str:
    return (
        f"{seconds:.2g} s"
        if seconds < 90
        else f"{seconds / 60:.2g} min"
        if seconds < 5400
        else f"{seconds / 3600:.2g} h"
    )
