"""Training and filling an index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from components.indexing.clustering import two_level_kmeans
from components.indexing.forecast import CENTROID_LINKS, HNSW_LINKS, IndexPlan
from components.shared.errors import DamagedArtifactError
from components.shared.files.atomic import whole_file
from components.shared.files.progress import progress
from components.shared.vectors.embeddings import Vectors
from components.shared.vectors.neighbours import BLOCK_ROWS

EF_CONSTRUCTION = 100
_CODE_BITS = 4
_CODE_TRAINING_ROWS = 65_536


def train(plan: IndexPlan, vectors: Vectors, *, training_rows_per_list: int, seed: int) -> Any:
    """Return an empty index that is ready to take vectors.

    Args:
        plan: index to build.
        vectors: (n, d) float32 unit vectors; only a sample is read.
        training_rows_per_list: number of training vectors of k-means per inverted list.
        seed: seed of sampling and k-means.
    """
    d, metric = plan.dimension, faiss.METRIC_INNER_PRODUCT
    if plan.kind == "exact":
        return faiss.IndexFlatIP(d)
    if plan.kind == "exact_f16":
        return faiss.IndexScalarQuantizer(d, faiss.ScalarQuantizer.QT_fp16, metric)
    if plan.kind == "hnsw":
        graph = faiss.IndexHNSWFlat(d, HNSW_LINKS, metric)
        graph.hnsw.efConstruction = EF_CONSTRUCTION
        return graph
    sample = _sample(vectors, max(plan.lists * training_rows_per_list, _CODE_TRAINING_ROWS), seed)
    quantizer = _quantizer(plan, sample, seed)
    if plan.kind == "ivf_flat":
        lists = faiss.IndexIVFFlat(quantizer, d, plan.lists, metric)
        lists.train(sample)
        return lists
    lists = faiss.IndexIVFPQFastScan(quantizer, d, plan.lists, plan.code_parts, _CODE_BITS, metric)
    # Codes of residuals are finer: at recall 0.95 half as many candidates have to be rescored. For inner products
    # one table of distances serves all lists either way.
    lists.by_residual = plan.lists > 1
    lists.pq.cp.seed = seed
    lists.train(sample[: max(_CODE_TRAINING_ROWS, 1)])
    if plan.maps_vectors:
        return lists
    refine = faiss.IndexScalarQuantizer(d, faiss.ScalarQuantizer.QT_fp16, metric)
    return faiss.IndexRefine(lists, refine)


def fill(index: Any, vectors: Vectors) -> None:
    """Add all vectors; row i gets Faiss id i. The result does not depend on the number of threads."""
    if isinstance(index, faiss.IndexIVF):
        index.set_direct_map_type(faiss.DirectMap.NoMap)  # the reader rebuilds it; in the file it would only take space
    blocks = range(0, len(vectors), BLOCK_ROWS)
    for start in progress(blocks, "building the index", total=len(blocks), unit="block"):
        index.add(np.ascontiguousarray(vectors[start : start + BLOCK_ROWS], np.float32))


def write_index(index: Any, path: Path) -> None:
    """Write an index, all or nothing."""
    with whole_file(path) as temporary:
        try:
            faiss.write_index(index, str(temporary))
        except RuntimeError as error:
            # Faiss hides the cause; allocating the same space again reveals a full disk.
            with temporary.open("ab") as file:
                file.write(b"\0" * (1 << 20))
                file.flush()
            raise DamagedArtifactError(f"{path} could not be written: {error}", file=path.name) from error


def write_vectors(vectors: Vectors, path: Path) -> None:
    """Write (n, d) float16, all or nothing, for rescoring from a memory map."""
    with whole_file(path) as temporary, temporary.open("wb") as file:
        for start in range(0, len(vectors), BLOCK_ROWS):
            file.write(np.ascontiguousarray(vectors[start : start + BLOCK_ROWS], "<f2").tobytes())


def _quantizer(plan: IndexPlan, sample: Vectors, seed: int) -> Any:
    centroids = two_level_kmeans(sample, plan.lists, seed=seed)
    if plan.kind == "ivf_hnsw_pq":
        quantizer = faiss.IndexHNSWFlat(plan.dimension, CENTROID_LINKS, faiss.METRIC_INNER_PRODUCT)
        quantizer.hnsw.efConstruction = EF_CONSTRUCTION
        quantizer.hnsw.efSearch = 64  # for the assignment while filling
    else:
        quantizer = faiss.IndexFlatIP(plan.dimension)
    quantizer.add(centroids)
    return quantizer


def _sample(vectors: Vectors, rows: int, seed: int) -> Vectors:
    if rows >= len(vectors):
        return np.ascontiguousarray(vectors, np.float32)
    chosen: NDArray[np.int64] = np.sort(np.random.default_rng(seed).choice(len(vectors), rows, replace=False))
    return np.ascontiguousarray(vectors[chosen], np.float32)
