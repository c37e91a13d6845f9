"""The search engine beside raw Faiss on the same index: CPU time of a query, part by part, and the effect of a hot swap.

    python benchmarks/search.py                    # 100,000 × 256: a few minutes
    python benchmarks/search.py --rows 20000

Process CPU time of one thread; the rivals take turns, each figure is the median of several rounds. Compare the ratios:
absolute times depend on this machine.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
from indexing import make_vectors

from components.indexing.parameters import IndexingParameters
from components.indexing.step import build_index
from components.shared.files.tables import ITEMS
from components.shared.pictures.preprocessing import PreprocessingSpec
from components.shared.release.manifest import CatalogueFacts, Manifest, Searchable
from components.shared.vectors.encoder import EncoderSpec
from components.shared.vectors.search import CatalogueIndex, read_index_spec
from serving.transformer.search.catalogue import Catalogue
from serving.transformer.search.results import SearchOptions
from serving.transformer.search.rules.chain import ChainParameters

VIEWS = 4  # images per item
HIDDEN = 0.05  # share of images that must not be shown
K = 20


def make_items(n: int) -> pa.Table:
    """Return n rows of items with four images each, one in twenty hidden."""
    rng = np.random.default_rng(0)
    ids = [f"image-{row:08d}" for row in range(n)]
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    columns = {
        "row": range(n),
        "image_id": ids,
        "item_id": [f"item-{row // VIEWS:08d}" for row in range(n)],
        "uri": [f"s3://bucket/catalogue/{image_id}.jpg" for image_id in ids],
        "sha256": [f"{row:064x}" for row in range(n)],
        "category": ["shoes"] * n,
        "is_public": rng.random(n) >= HIDDEN,
        "is_appropriate": [True] * n,
        "duplicate_group": ids,
        "added_at": [now] * n,
    }
    return pa.table(columns, ITEMS.schema)


def make_searchable(directory: Path, vectors: np.ndarray) -> Searchable:
    """Build an index with the product's own step and return it as the searching part of a release."""
    build_index(directory, vectors, 1_000, IndexingParameters())
    spec = read_index_spec(directory)
    encoder = EncoderSpec(
        architecture="none",
        dimension=vectors.shape[1],
        preprocessing=PreprocessingSpec(),
        onnx_sha256="0" * 64,
        space_id="s-0",
    )
    facts = CatalogueFacts(images=len(vectors), items=len(vectors) // VIEWS)
    manifest = Manifest(release_id="r-0", space_id="s-0", encoder=encoder, index=spec, catalogue=facts, files={})
    return Searchable(manifest, CatalogueIndex.open(directory, spec), make_items(len(vectors)))


def cpu_microseconds(call: Callable[[np.ndarray], object], queries: np.ndarray) -> float:
    """Return the mean CPU time of one call, over all queries one by one."""
    started = time.process_time()
    for query in queries:
        call(query)
    return (time.process_time() - started) / len(queries) * 1e6


def rivals(base: Searchable) -> dict[str, Callable[[np.ndarray], object]]:
    """Return the rivals: raw Faiss, our search, our search with filter, the whole engine."""
    index, settings = base.index, base.manifest.index.search
    plain = Catalogue(base, chain=ChainParameters(rules=()))
    whole = Catalogue(base)
    number = whole._first_number(SearchOptions(k=K))
    candidates = K if settings.rescored is None else min(settings.rescored * max(K, 10) // 10, index.rows)
    raw = index._make_parameters(settings, K, max(K, candidates), None)
    wide = index._make_parameters(settings, number, max(number, candidates), None)
    faiss_index, none = index.faiss_index, SearchOptions(k=K, group_items=False, collapse_duplicates=False)
    return {
        f"raw Faiss, k = {K}": lambda query: faiss_index.search(query[None], K, params=raw),
        f"raw Faiss, k = {number} (what the rules need)": lambda query: faiss_index.search(
            query[None], number, params=wide
        ),
        "search without filter": lambda query: index.search(query[None], K),
        "engine: filter, exact scores, no rule": lambda query: plain.search(query, none),
        "engine: all rules": lambda query: whole.search(query, SearchOptions(k=K)),
        "engine: all rules, explained": lambda query: whole.search(query, SearchOptions(k=K, explain=True)),
    }


def swap_effect(base: Searchable, directory: Path, queries: np.ndarray) -> tuple[list[float], list[float], int]:
    """Return the wall times of searches without and with a concurrent load of the same index, and the number of loads."""
    catalogue, over, loads = Catalogue(base), threading.Event(), [0]

    def times() -> list[float]:
        found = []
        for query in queries:
            started = time.perf_counter()
            catalogue.search(query, SearchOptions(k=K))
            found.append((time.perf_counter() - started) * 1e3)
        return found

    def load() -> None:
        while not over.is_set():
            index = CatalogueIndex.open(directory, base.manifest.index)
            Catalogue(Searchable(base.manifest, index, base.items))
            loads[0] += 1

    idle = times()
    loader = threading.Thread(target=load)
    loader.start()
    busy = times()
    over.set()
    loader.join()
    return idle, busy, loads[0]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)
    vectors = make_vectors(options.rows + options.queries, options.dimension, 0)
    queries = np.ascontiguousarray(vectors[options.rows :])
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        base = make_searchable(directory, vectors[: options.rows])
        print(
            f"{datetime.date.today()} · {platform.machine()}, {os.cpu_count()} cores · {options.rows:,} × "
            f"{options.dimension}, {base.manifest.index.factory}, ann_recall@10 "
            f"{base.manifest.index.recall.ann_recall_at_10:.3f}, load {os.getloadavg()[0]:.1f}\n"
        )
        calls = rivals(base)
        measured: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(options.rounds):
            for name, call in calls.items():
                measured[name].append(cpu_microseconds(call, queries))
        medians = {name: statistics.median(values) for name, values in measured.items()}
        reference = next(iter(medians.values()))
        print(f"{'CPU time of one query':52} {'µs':>8} {'ratio':>7}")
        for name, value in medians.items():
            print(f"{name:52} {value:8.0f} {value / reference:7.2f}")
        idle, busy, loads = swap_effect(base, directory, np.concatenate([queries] * 5))
        for name, times in (("alone", idle), (f"while loading beside it ({loads} loads)", busy)):
            p50, p99 = np.percentile(times, [50, 99])
            print(f"\nwall time {name}: p50 {p50:.2f} ms, p99 {p99:.2f} ms", end="")
        print()


if __name__ == "__main__":
    main()
