"""Search parameters for a recall target, by measured recall and counted work on held-out queries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from components.indexing.choose import EXACT_KINDS
from components.shared.truth.metrics import ann_recall_at_k
from components.shared.vectors.embeddings import Vectors
from components.shared.vectors.index_spec import TUNING_K
from components.shared.vectors.search import (
    CatalogueIndex,
    OperatingPoint,
    RecallFacts,
    SearchSettings,
    exact_search,
)

_NEARLY_EXACT = 0.9995  # the curve ends here
RESCORED = (10, 20, 40, 60, 80, 120, 160, 250, 400)
_STANDSTILL = 0.001  # a ladder ends when two steps have gained less recall than this
_FINEST_STEP = 1 / 24  # share of the probed work: the least work that reaches the target is found to this accuracy
# Modelled cost for comparing points: nanoseconds on one core at 128 dimensions, measured once. Counted, not timed,
# so that the same inputs choose the same settings on any machine.
_CODE_NS = 2.3
_VECTOR_NS = 22.0
_CENTROID_NS = 3.0
_RANDOM_VECTOR_NS = 110.0
_MAPPED_VECTOR_NS = 400.0


@dataclass(frozen=True)
class Tuning:
    """The chosen settings, how close they come to the exact answer, and all measured points."""

    settings: SearchSettings
    recall: RecallFacts
    curve: list[OperatingPoint]


def tune(index: CatalogueIndex, vectors: Vectors, queries: Vectors, *, recall_target: float) -> Tuning:
    """Find the cheapest settings whose recall of the exact top 10 exceeds the target by one standard error.

    Args:
        index: index over `vectors`.
        vectors: (n, d) float32, for the exact answer.
        queries: (q, d) float32, none of them in the index: an indexed vector finds itself and its neighbourhood more easily
            than a new one does (for HNSW16, recall 0.99 instead of 0.97 was measured).
        recall_target: 0 to 1.

    Returns:
        The tuning; `recall.reached` is False if even the most work misses the target; the settings of most work are then
        chosen. An exact index needs no tuning; without queries, the settings of most work are chosen.
    """
    if index.spec.kind in EXACT_KINDS:
        facts = RecallFacts(target=recall_target, reached=True, ann_recall_at_10=1.0, standard_error=0.0, queries=0)
        return Tuning(SearchSettings(), facts, [])
    if not len(queries):
        facts = RecallFacts(target=recall_target, reached=False, ann_recall_at_10=0.0, standard_error=0.0, queries=0)
        return Tuning(list(_ladders(index))[-1][-1], facts, [])
    queries = np.ascontiguousarray(queries, np.float32)
    course = _Course(index, vectors, queries)
    best: _Measured | None = None
    below: SearchSettings | None = None  # the step before the best one on its ladder
    for ladder in _ladders(index):
        before = idle = 0.0
        for step, settings in enumerate(ladder):
            point = course.measure(settings)
            idle = idle + 1 if point.recall < before + _STANDSTILL else 0
            before = max(before, point.recall)
            if idle == 2:
                break
            if best is not None and point.cost >= best.cost:
                break
            if point.is_at(recall_target):
                best, below = point, ladder[step - 1] if step else None
                break
    reached = best is not None
    while best is not None and below is not None and (halfway := _between(below, best.settings)):
        point = course.measure(halfway)
        if point.is_at(recall_target):
            best = point
        else:
            below = halfway
    if best is None:
        best = max(course.points, key=lambda point: (point.recall, -point.cost))
    for settings in _beyond(index, best.settings):
        if course.measure(settings).recall >= _NEARLY_EXACT:
            break
    facts = RecallFacts(
        target=recall_target,
        reached=reached,
        ann_recall_at_10=round(best.recall, 6),
        standard_error=round(best.error, 6),
        queries=len(queries),
    )
    return Tuning(best.settings, facts, [point.recorded() for point in course.points])


@dataclass(frozen=True)
class _Measured:
    settings: SearchSettings
    recall: float
    error: float
    rows: float
    cost: float

    def is_at(self, target: float) -> bool:
        return self.recall - self.error >= target

    def recorded(self) -> OperatingPoint:
        return OperatingPoint(
            settings=self.settings,
            ann_recall_at_10=round(self.recall, 6),
            rows_per_query=round(self.rows, 1),
            cost_microseconds=round(self.cost, 3),
        )


class _Course:
    """The held-out queries, and every point measured on them."""

    def __init__(self, index: CatalogueIndex, vectors: Vectors, queries: Vectors) -> None:
        self._index, self._queries = index, queries
        self._k = min(TUNING_K, index.rows)
        self._truth = exact_search(vectors, queries, self._k).rows
        self.points: list[_Measured] = []
        self._list_sizes: NDArray[np.int64] | None = None
        if index.spec.kind != "hnsw":
            ivf = faiss.extract_index_ivf(index.faiss_index)
            self._list_sizes = np.array([ivf.invlists.list_size(i) for i in range(ivf.nlist)], np.int64)

    def measure(self, settings: SearchSettings) -> _Measured:
        faiss.cvar.hnsw_stats.reset()
        found = self._index.search(self._queries, self._k, settings=settings, complete=False)
        graph_rows = faiss.cvar.hnsw_stats.ndis / len(self._queries)
        recalls = ann_recall_at_k(found.rows, self._truth, self._truth.shape[1])
        error = float(recalls.std(ddof=1) / np.sqrt(len(recalls))) if len(recalls) > 1 else 0.0
        point = _Measured(settings, float(recalls.mean()), error, *self._work(settings, graph_rows))
        self.points.append(point)
        return point

    def _work(self, settings: SearchSettings, graph_rows: float) -> tuple[float, float]:
        """Return the mean number of rows scored or estimated per query, and the modelled microseconds of one query."""
        width = self._index.dimension / 128
        if self._list_sizes is None:
            return graph_rows, graph_rows * _RANDOM_VECTOR_NS * width / 1e3
        ivf = faiss.extract_index_ivf(self._index.faiss_index)
        parameters, centroids = None, ivf.nlist * _CENTROID_NS
        if settings.quantizer_ef_search:
            parameters = faiss.SearchParametersHNSW(efSearch=settings.quantizer_ef_search)
            centroids = graph_rows * _RANDOM_VECTOR_NS
        _, probed = faiss.downcast_index(ivf.quantizer).search(self._queries, settings.nprobe, params=parameters)
        rows = float(np.where(probed >= 0, self._list_sizes[probed], 0).sum(axis=1).mean())
        scanned = rows * (_VECTOR_NS * width if settings.rescored is None else _CODE_NS * ivf.code_size / 32)
        rescored = (settings.rescored or 0) * (
            _MAPPED_VECTOR_NS if self._index.spec.vectors_file else _RANDOM_VECTOR_NS
        )
        return rows, (scanned + (centroids + rescored) * width) / 1e3


def _ladders(index: CatalogueIndex) -> Iterator[list[SearchSettings]]:
    """Yield ladders of settings with growing work, from the dials of the kind."""
    kind = index.spec.kind
    if kind == "hnsw":
        yield [SearchSettings(ef_search=ef) for ef in (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)]
        return
    probes = _probes(index)
    if kind == "ivf_flat":
        yield [SearchSettings(nprobe=nprobe) for nprobe in probes]
        return
    for rescored in RESCORED:
        yield [
            SearchSettings(
                nprobe=nprobe,
                rescored=rescored,
                quantizer_ef_search=_quantizer_ef(nprobe) if kind == "ivf_hnsw_pq" else None,
            )
            for nprobe in probes
        ]


def _quantizer_ef(nprobe: int) -> int:
    """Return the search width in the graph of centroids for this number of probed lists."""
    return max(32, 2 * nprobe)


def _between(lower: SearchSettings, upper: SearchSettings) -> SearchSettings | None:
    """Return the settings halfway between two steps of a ladder; None if these are close enough."""
    dial = "nprobe" if upper.nprobe is not None else "ef_search"
    low, high = getattr(lower, dial), getattr(upper, dial)
    middle = (low + high) // 2
    if high - low <= max(1, high * _FINEST_STEP):
        return None
    changes = {dial: middle}
    if upper.quantizer_ef_search is not None:
        changes["quantizer_ef_search"] = _quantizer_ef(middle)
    return upper.model_copy(update=changes)


def _beyond(index: CatalogueIndex, settings: SearchSettings) -> list[SearchSettings]:
    """Return settings with more and more work than these, on all dials at once, to show the further course of the curve."""
    if settings.nprobe is None:
        return [SearchSettings(ef_search=2**i) for i in range(4, 11) if 2**i > (settings.ef_search or 0)]
    probes = [nprobe for nprobe in _probes(index)[::2] if nprobe > settings.nprobe] or [settings.nprobe]
    rescored: list[int | None] = [count for count in RESCORED if settings.rescored and count > settings.rescored]
    rescored = rescored or [settings.rescored]
    ef = settings.quantizer_ef_search
    further = []
    for step in range(max(len(probes), len(rescored))):
        nprobe, count = probes[min(step, len(probes) - 1)], rescored[min(step, len(rescored) - 1)]
        changes = {"nprobe": nprobe, "rescored": count, "quantizer_ef_search": _quantizer_ef(nprobe) if ef else None}
        further.append(settings.model_copy(update=changes))
    return further


def _probes(index: CatalogueIndex) -> list[int]:
    lists = faiss.extract_index_ivf(index.faiss_index).nlist
    steps = [round(2 ** (half / 2)) for half in range(2 * lists.bit_length())]
    return sorted({step for step in steps if step <= lists // 2} | {max(1, lists if lists <= 64 else lists // 2)})
