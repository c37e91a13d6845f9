"""Our index beside HNSW16, hnswlib and the exact scan: queries per second at recall 0.95 and 0.98, bytes, build time.

    python benchmarks/indexing.py                     # 1,000,000 × 128: about 15 minutes of CPU, 4 GB
    python benchmarks/indexing.py --rows 200000       # two minutes
    python benchmarks/indexing.py --without hnswlib

All times are process CPU time of one thread, so that other work on the machine has little effect; the rivals take turns,
and each figure is the best of several rounds. Ours is measured through the product's own search (checks, ties and Python
included), the others through their bare library. Recall is the share of the exact top 10, for queries that are in no
index. Each rival uses the least work that reaches the recall on these queries; the settings that the product would tune
itself to, on other queries and with a margin of one standard error, are printed during the run.

The vectors are on clusters of a smooth manifold: points of a few dozen latent dimensions through random sines. The local
intrinsic dimension is about 20 and the relative contrast about 2, similar to descriptors of photographs; on easier data
inverted lists look better than they are.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from components.indexing.build import fill, train, write_index, write_vectors
from components.indexing.choose import choose
from components.indexing.forecast import describe
from components.indexing.parameters import IndexingParameters
from components.indexing.tuning import RESCORED, tune
from components.shared.vectors.search import (
    VECTORS_FILE,
    CatalogueIndex,
    IndexSpec,
    RecallFacts,
    SearchSettings,
    exact_search,
)

TARGETS = (0.95, 0.98)
K = 10
MOST_WORK = 1_000  # upper limit of a graph's ef, and of probed lists


def make_vectors(n: int, d: int, seed: int) -> np.ndarray:
    """Return (n, d) float32 unit vectors on a clustered manifold."""
    rng = np.random.default_rng(seed)
    latent, features = 24, 256
    centres = rng.normal(size=(200, latent))
    inner = (rng.normal(size=(latent, features)) / np.sqrt(latent)).astype(np.float32)
    phases = rng.uniform(0, 2 * np.pi, features).astype(np.float32)
    outer = (rng.normal(size=(features, d)) / np.sqrt(features)).astype(np.float32)
    vectors = np.empty((n, d), np.float32)
    for start in range(0, n, 100_000):
        size = min(100_000, n - start)
        points = centres[rng.integers(0, len(centres), size)] + 0.9 * rng.normal(size=(size, latent))
        some = np.sin(points.astype(np.float32) @ inner + phases) @ outer
        vectors[start : start + size] = some / np.linalg.norm(some, axis=1, keepdims=True)
    return vectors


def describe_data(vectors: np.ndarray, queries: np.ndarray) -> str:
    """Return local intrinsic dimension (Levina and Bickel, 2004) and relative contrast (He et al., 2012)."""
    scores = exact_search(vectors, queries, 100).scores
    radii = np.sqrt(np.maximum(2 - 2 * scores, 1e-12))
    dimension = np.median(-1 / np.log(radii[:, :-1] / radii[:, -1:]).mean(axis=1))
    mean = np.sqrt(np.maximum(2 - 2 * (queries @ vectors[:10_000].T), 0)).mean()
    return f"local intrinsic dimension {dimension:.1f}, relative contrast {mean / radii[:, 0].mean():.2f}"


@dataclass
class Rival:
    """An index under test: `answer(setting)` returns a function from queries to rows.

    `templates(target)` returns functions from an amount of work to a setting, to be tried for that recall; none if there is
    nothing to set.
    """

    name: str
    build_seconds: float
    index_bytes: int
    answer: Callable[[Any], Callable[[np.ndarray], np.ndarray]]
    templates: Callable[[float], list[Callable[[int], Any]]] = lambda _: [lambda ef: ef]
    settings: dict[float, Any] = field(default_factory=dict)
    recall: dict[float, float] = field(default_factory=dict)
    batch: dict[float, float] = field(default_factory=dict)
    single: dict[float, float] = field(default_factory=dict)


def cpu(work: Callable[[], object]) -> float:
    """Return the CPU seconds of this process that `work` takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


def build_ours(vectors: np.ndarray, tuning: np.ndarray, objective: str, folder: Path) -> Rival:
    """Build the index that the product would choose, and tune it for each target on separate queries."""
    parameters = IndexingParameters(objective=objective)
    plan, needs = choose(*vectors.shape, parameters)
    print(describe(plan, needs), file=sys.stderr)
    made: list[Any] = []

    def build() -> None:
        made.append(train(plan, vectors, training_rows_per_list=parameters.training_rows_per_list, seed=0))
        fill(made[0], vectors)

    seconds = cpu(build)
    write_index(made[0], folder / "index.faiss")
    stored = None
    if plan.maps_vectors:
        write_vectors(vectors, folder / VECTORS_FILE)
        stored = np.memmap(folder / VECTORS_FILE, np.float16, "r", shape=vectors.shape)
    spec = IndexSpec(
        kind=plan.kind, factory=plan.factory, dimension=plan.dimension, rows=plan.rows, search=SearchSettings(),
        recall=RecallFacts(target=0.0, reached=False, ann_recall_at_10=0, standard_error=0, queries=0),
        forecast=needs, index_bytes=(folder / "index.faiss").stat().st_size,
        vectors_file=VECTORS_FILE if plan.maps_vectors else None,
    )  # fmt: skip
    index = CatalogueIndex(made[0], spec, stored)

    def answer(settings: SearchSettings) -> Callable[[np.ndarray], np.ndarray]:
        return lambda queries: index.search(queries, K, settings=settings).rows

    tuned: dict[float, SearchSettings] = {}

    def templates(target: float) -> list[Callable[[int], SearchSettings]]:
        """Vary the probed lists, with the tuned number of rescored candidates, and with fewer and more."""
        settings = tuned[target]
        if settings.nprobe is None:
            return [lambda ef: SearchSettings(ef_search=ef)]
        near = [count for count in RESCORED if 0.4 <= count / (settings.rescored or 1) <= 2]
        return [
            lambda nprobe, count=count: settings.model_copy(update={"nprobe": nprobe, "rescored": count})  # type: ignore[misc]
            for count in near or [None]
        ]

    rival = Rival(f"ours ({plan.factory})", seconds, spec.index_bytes, answer, templates)
    for target in TARGETS:
        started = time.process_time()
        found = tune(index, vectors, tuning, recall_target=target)
        tuned[target] = found.settings
        print(
            f"  tuned to {target} in {time.process_time() - started:.1f} CPU-s: "
            f"{found.settings.model_dump(exclude_none=True)}, recall {found.recall.ann_recall_at_10:.4f} there",
            file=sys.stderr,
        )
    return rival


def build_hnsw(vectors: np.ndarray, folder: Path) -> Rival:
    index = faiss.IndexHNSWFlat(vectors.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 100
    seconds = cpu(lambda: index.add(vectors))
    faiss.write_index(index, str(folder / "hnsw.faiss"))

    def answer(ef: int) -> Callable[[np.ndarray], np.ndarray]:
        parameters = faiss.SearchParametersHNSW(efSearch=ef)
        return lambda queries: index.search(queries, K, params=parameters)[1]

    return Rival("HNSW16 (Faiss)", seconds, (folder / "hnsw.faiss").stat().st_size, answer)


def build_hnswlib(vectors: np.ndarray, folder: Path) -> Rival:
    import hnswlib

    index = hnswlib.Index(space="ip", dim=vectors.shape[1])
    index.init_index(max_elements=len(vectors), M=16, ef_construction=100, random_seed=0)
    index.set_num_threads(1)
    seconds = cpu(lambda: index.add_items(vectors, num_threads=1))
    index.save_index(str(folder / "hnswlib.bin"))

    def answer(ef: int) -> Callable[[np.ndarray], np.ndarray]:
        def search(queries: np.ndarray) -> np.ndarray:
            index.set_ef(ef)
            return index.knn_query(queries, K, num_threads=1)[0].astype(np.int64)

        return search

    return Rival("hnswlib, M = 16", seconds, (folder / "hnswlib.bin").stat().st_size, answer)


def build_exact(vectors: np.ndarray) -> Rival:
    index = faiss.IndexFlatIP(vectors.shape[1])
    seconds = cpu(lambda: index.add(vectors))
    return Rival(
        "exact scan (Faiss Flat)", seconds, vectors.nbytes, lambda _: lambda queries: index.search(queries, K)[1],
        templates=lambda _: [], settings=dict.fromkeys(TARGETS),
    )  # fmt: skip


def recall_of(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean([len(set(a) & set(b)) / K for a, b in zip(found.tolist(), truth.tolist(), strict=True)]))


def find_settings(rival: Rival, queries: np.ndarray, truth: np.ndarray) -> None:
    """Find the least work that reaches each target on these queries, by the same rule for all rivals."""
    for target in TARGETS:
        found = (least(rival, template, target, queries, truth) for template in rival.templates(target))
        points = [point for point in found if point is not None]
        if points:
            rival.settings[target] = min(points, key=lambda setting: cpu(lambda: rival.answer(setting)(queries)))
    for target, setting in rival.settings.items():
        rival.recall[target] = recall_of(rival.answer(setting)(queries), truth)


def least(
    rival: Rival, setting_of: Callable[[int], Any], target: float, queries: np.ndarray, truth: np.ndarray
) -> Any | None:
    """Return the setting of least work that reaches a target, by bisection of its dial; None if none does."""
    recalls: dict[int, float] = {}

    def recall(work: int) -> float:
        if work not in recalls:
            recalls[work] = recall_of(rival.answer(setting_of(work))(queries), truth)
        return recalls[work]

    if recall(MOST_WORK) < target:
        return None
    return setting_of(bisect_left(range(MOST_WORK), target, lo=K, key=recall))


def race(rivals: list[Rival], queries: np.ndarray, rounds: int) -> None:
    """Time all rivals in turn, in a batch and query by query."""
    for _ in range(rounds):
        for rival in rivals:
            for target, setting in rival.settings.items():
                exact = rival.name.startswith("exact")
                if exact and target != TARGETS[0]:
                    continue
                search = rival.answer(setting)
                batch = cpu(lambda search=search: search(queries)) / len(queries)
                singly = queries[: 30 if exact else 300]

                def one_by_one(search: Any = search, singly: np.ndarray = singly) -> None:
                    for row in range(len(singly)):
                        search(singly[row : row + 1])

                single = cpu(one_by_one) / len(singly)
                for table, value in ((rival.batch, batch), (rival.single, single)):
                    for t in TARGETS if exact else (target,):
                        table[t] = min(value, table.get(t, np.inf))


def report(rivals: list[Rival], rows: int) -> dict[str, Any]:
    hnsw = next(rival for rival in rivals if rival.name.startswith("HNSW16"))
    exact = next(rival for rival in rivals if rival.name.startswith("exact"))
    print(f"\n{'':58} {'bytes/':>7} {'build':>7}", end="")
    print("".join(f" | {f'at recall {target}':^43}" for target in TARGETS))
    print(f"{'':58} {'vector':>7} {'CPU-s':>7}", end="")
    print(" | recall  batch/s  ×HNSW16  single/s  ×exact" * len(TARGETS))
    figures: dict[str, Any] = {}
    for rival in rivals:
        line = f"{rival.name:58} {rival.index_bytes / rows:7.0f} {rival.build_seconds:7.1f}"
        entry: dict[str, Any] = {"bytes_per_vector": rival.index_bytes / rows, "build_cpu_seconds": rival.build_seconds}
        for target in TARGETS:
            if target not in rival.batch:
                line += f" | {'not reached':^43}"
                continue
            ratio = hnsw.batch[target] / rival.batch[target] if target in hnsw.batch else float("nan")
            versus_exact = exact.single[target] / rival.single[target]
            line += f" | {rival.recall[target]:6.4f} {1 / rival.batch[target]:8,.0f} {ratio:8.2f} "
            line += f"{1 / rival.single[target]:9,.0f} {versus_exact:7.1f}"
            entry[str(target)] = {
                "recall": rival.recall[target],
                "batch_queries_per_cpu_second": 1 / rival.batch[target],
                "batch_against_hnsw16": ratio,
                "single_queries_per_cpu_second": 1 / rival.single[target],
                "single_against_exact": versus_exact,
                "setting": str(rival.settings[target]),
            }
        figures[rival.name] = entry
        print(line)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--objective", choices=("throughput", "latency"), default="throughput")
    parser.add_argument("--without", nargs="*", choices=("hnswlib",), default=[])
    parser.add_argument("--json", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    faiss.omp_set_num_threads(1)
    everything = make_vectors(arguments.rows + 2 * arguments.queries, arguments.dimension, seed=0)
    vectors = everything[: arguments.rows]
    queries, tuning = np.split(everything[arguments.rows :], 2)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, faiss {faiss.__version__}")
    print(f"{arguments.rows:,} × {arguments.dimension}, {describe_data(vectors, queries[:200])}", flush=True)
    truth = exact_search(vectors, queries, K).rows
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rivals = [build_ours(vectors, tuning, arguments.objective, folder), build_exact(vectors)]
        rivals.append(build_hnsw(vectors, folder))
        if "hnswlib" not in arguments.without:
            rivals.append(build_hnswlib(vectors, folder))
        for rival in rivals:
            find_settings(rival, queries, truth)
        race(rivals, queries, arguments.rounds)
        figures = report(rivals, arguments.rows)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
