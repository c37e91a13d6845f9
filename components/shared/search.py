"""Searching an index: filters inside the search, always k results, scores that are inner products, ties by row.

The only search of the product: tuning, evaluation and serving all come through here.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from components.shared.embeddings import Vectors, check_vectors
from components.shared.errors import (
    ContractError,
    DamagedArtifactError,
    InputError,
    ParameterError,
    UnfinishedArtifactError,
)
from components.shared.index_spec import (
    INDEX_FILE,
    TUNING_K,
    VECTORS_FILE,
    Forecast,
    IndexSpec,
    Kind,
    OperatingPoint,
    RecallFacts,
    SearchSettings,
    read_index_spec,
    write_index_spec,
)
from components.shared.neighbours import Neighbours, RowFilter, StoredVectors, exact_search, rescore, settle

__all__ = [
    "INDEX_FILE",
    "MAX_K",
    "VECTORS_FILE",
    "CatalogueIndex",
    "Forecast",
    "IndexSpec",
    "Kind",
    "Neighbours",
    "OperatingPoint",
    "RecallFacts",
    "RowFilter",
    "SearchSettings",
    "exact_search",
    "read_index_spec",
    "write_index_spec",
]

MAX_K = 10_000
SCANNED_ROWS = 20_000  # at most so many allowed rows are compared one by one: a few milliseconds, and exact
_TIED_ROWS = 4_096  # equal vectors are put in order of their rows if there are no more of them than this
_GRAPH_HOP_ROWS = 40  # a graph search of length ef costs about as much as a scan of 40 × ef rows
_BYTE_LIMIT_FLOOR = 64 << 20
_CLASSES: dict[str, tuple[type, ...]] = {
    "exact": (faiss.IndexFlat,),
    "exact_f16": (faiss.IndexScalarQuantizer,),
    "hnsw": (faiss.IndexHNSWFlat,),
    "ivf_flat": (faiss.IndexIVFFlat,),
    "pq": (faiss.IndexRefine, faiss.IndexIVFPQFastScan),
    "ivf_pq": (faiss.IndexRefine, faiss.IndexIVFPQFastScan),
    "ivf_hnsw_pq": (faiss.IndexRefine, faiss.IndexIVFPQFastScan),
}
_reading = threading.Lock()  # Faiss keeps its limits in process-wide variables


class CatalogueIndex:
    """An index with the vectors to rescore by. Immutable; searches may come from any number of threads.

    Args:
        index: the Faiss index.
        spec: what it must be.
        vectors: (n, d) float16, where the index does not hold the vectors itself.
        source: for messages.

    Raises:
        ContractError: the index is not what the spec says.
    """

    def __init__(
        self, index: Any, spec: IndexSpec, vectors: NDArray[np.float16] | None = None, *, source: str = "index"
    ) -> None:
        self.spec = spec
        self._index = index
        self._base = faiss.downcast_index(index.base_index) if isinstance(index, faiss.IndexRefine) else index
        self._source = source
        _inspect(index, self._base, spec, vectors, source)
        self._vectors: StoredVectors = vectors if vectors is not None else _stored_vectors(index)
        self._refines = isinstance(index, faiss.IndexRefine)
        self._parameters: dict[tuple[SearchSettings, int, int], Any] = {}

    @classmethod
    def open(cls, directory: Path, spec: IndexSpec | None = None, *, byte_limit: int | None = None) -> CatalogueIndex:
        """Read `index.faiss` into memory (not mapped: a file changed in place would kill the process or lie).

        Args:
            directory: an indexing artifact or a release.
            spec: what it must be; None: read `index.json` beside it.
            byte_limit: largest single allocation that reading may make; default 4 × the file, at least 64 MB. A lying
                header of 2 KB can otherwise ask for gigabytes.

        Raises:
            UnfinishedArtifactError: a file is missing.
            DamagedArtifactError: a file is of another size, or Faiss cannot read it.
            ContractError: the index is not what the spec says.
        """
        spec = spec or read_index_spec(directory)
        path = directory / INDEX_FILE
        _check_size(path, spec.index_bytes)
        index = _read(path, byte_limit or max(4 * spec.index_bytes, _BYTE_LIMIT_FLOOR))
        vectors = None
        if spec.vectors_file is not None:
            _check_size(directory / spec.vectors_file, 2 * spec.rows * spec.dimension)
            vectors = np.memmap(directory / spec.vectors_file, np.float16, "r", shape=(spec.rows, spec.dimension))
        return cls(index, spec, vectors, source=str(path))

    @property
    def rows(self) -> int:
        """Number n of vectors."""
        return self.spec.rows

    @property
    def dimension(self) -> int:
        """Length d of a vector."""
        return self.spec.dimension

    @property
    def faiss_index(self) -> Any:
        """The Faiss index itself, to look into; never to be changed."""
        return self._index

    def stored(self, rows: NDArray[np.int64]) -> Vectors:
        """Return the (r, d) float32 vectors of these rows as the index has them (float16 precision in some kinds).

        Raises:
            InputError: a row does not exist.
        """
        wanted = np.asarray(rows, np.int64)
        if wanted.ndim != 1 or (len(wanted) and not (wanted.min() >= 0 and wanted.max() < self.rows)):
            raise InputError(f"expected row numbers from 0 to {self.rows - 1} of {self._source}, got {rows!r}")
        return np.asarray(self._vectors[wanted], np.float32)

    def search(
        self,
        queries: Vectors,
        k: int,
        *,
        allowed: NDArray[np.bool_] | RowFilter | None = None,
        exact: bool = False,
        settings: SearchSettings | None = None,
    ) -> Neighbours:
        """Find the k rows of highest inner product for each query.

        Args:
            queries: (q, d) float32, unit norm.
            k: number of results, 1 to 10,000.
            allowed: (n,) bool, the rows that may be returned; prepare a `RowFilter` where it serves many calls.
            exact: compare with every allowed row instead of using the index's shortcuts.
            settings: amount of work, instead of what the index was tuned to.

        Returns:
            k neighbours for each query whenever k allowed rows exist.

        Raises:
            InputError: queries or filter of another shape or type.
            ParameterError: k out of range.
            PoisonedVectorError: a query is not a finite unit vector.
        """
        queries = self._checked(queries, k)
        rows = self._filter(allowed)
        settings = settings or self.spec.search
        available = self.rows if rows is None else rows.count
        if exact or (rows is not None and self._is_selective(rows, settings)):
            return exact_search(self._vectors, queries, k, rows)

        def find(some: Vectors, number: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
            return self._find(some, number, k, rows, settings)

        found = settle(find, queries, k, available, limit=k + _TIED_ROWS)
        short = np.flatnonzero(found.rows[:, min(k, available) - 1] < 0)
        if len(short):
            whole = exact_search(self._vectors, queries[short], k, rows)
            found.scores[short], found.rows[short] = whole.scores, whole.rows
        return found

    def _checked(self, queries: Vectors, k: int) -> Vectors:
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= MAX_K:
            raise ParameterError(f"expected a number of results k from 1 to {MAX_K}, got {k!r}")
        if not isinstance(queries, np.ndarray) or queries.dtype != np.float32 or queries.ndim != 2:
            got = f"{queries.dtype} {queries.shape}" if isinstance(queries, np.ndarray) else type(queries).__name__
            raise InputError(f"expected queries as float32 (q, {self.dimension}), got {got}")
        if queries.shape[1] != self.dimension:
            raise InputError(
                f"expected queries of {self.dimension} dimensions for {self._source}, got {queries.shape[1]}"
            )
        check_vectors(queries, source="queries")
        return np.ascontiguousarray(queries)

    def _filter(self, allowed: NDArray[np.bool_] | RowFilter | None) -> RowFilter | None:
        if allowed is None:
            return None
        if not isinstance(allowed, RowFilter):
            if not isinstance(allowed, np.ndarray) or allowed.dtype != np.bool_ or allowed.ndim != 1:
                raise InputError(f"expected a filter as bool ({self.rows},), got {allowed!r:.80}")
            allowed = RowFilter(allowed)
        if len(allowed.allowed) != self.rows:
            raise InputError(f"expected a filter of {self.rows} rows for {self._source}, got {len(allowed.allowed)}")
        return allowed

    def _is_selective(self, rows: RowFilter, settings: SearchSettings) -> bool:
        """Whether comparing with each allowed row costs less than a search that passes over the others."""
        if rows.count <= SCANNED_ROWS:
            return True
        return bool(settings.ef_search and rows.count**2 <= _GRAPH_HOP_ROWS * settings.ef_search * self.rows)

    def _find(
        self, queries: Vectors, number: int, k: int, rows: RowFilter | None, settings: SearchSettings
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        candidates = number
        if settings.rescored is not None:
            candidates = min(max(number, -(-settings.rescored * max(k, TUNING_K) // TUNING_K)), self.rows)
        if self._refines:
            parameters = self._parameters_for(settings, number, candidates, rows)
            scores, found = self._index.search(queries, number, params=parameters)
        else:
            parameters = self._parameters_for(settings, candidates, candidates, rows)
            _, found = self._index.search(queries, candidates, params=parameters)
        if found.size and found.max() >= self.rows:
            raise ContractError(f"{self._source} returned row {found.max()} of {self.rows}; fetch or build it again")
        if self._refines:
            scores[found < 0] = -np.inf
        else:
            scores = rescore(self._vectors, queries, found)
        return scores, found

    def _parameters_for(self, settings: SearchSettings, number: int, candidates: int, rows: RowFilter | None) -> Any:
        """Return Faiss parameters for one call; nothing is ever set on the live index, where it would leak to others."""
        if rows is not None:
            return self._make_parameters(settings, number, candidates, rows)
        key = (settings, number, candidates)
        if key not in self._parameters:
            if len(self._parameters) > 1_000:
                self._parameters.clear()
            self._parameters[key] = self._make_parameters(settings, number, candidates, None)
        return self._parameters[key]

    def _make_parameters(self, settings: SearchSettings, number: int, candidates: int, rows: RowFilter | None) -> Any:
        selection: dict[str, Any] = {} if rows is None else {"sel": rows.selector}
        widening = 1.0 if rows is None else self.rows / rows.count
        if isinstance(self._base, faiss.IndexIVF):
            nprobe = min(self._base.nlist, int(np.ceil((settings.nprobe or 1) * widening)))
            if self.spec.kind == "ivf_hnsw_pq":
                ef = max(settings.quantizer_ef_search or nprobe, nprobe)
                selection["quantizer_params"] = faiss.SearchParametersHNSW(efSearch=ef)
            parameters = faiss.SearchParametersIVF(nprobe=nprobe, **selection)
        elif isinstance(self._base, faiss.IndexHNSW):
            ef = int(np.ceil((settings.ef_search or candidates) * widening))
            parameters = faiss.SearchParametersHNSW(efSearch=max(ef, candidates), **selection)
        else:
            parameters = faiss.SearchParameters(**selection)
        if not self._refines:
            return parameters
        # The quarter guards the product, which Faiss cuts to an integer, against rounding down.
        return faiss.IndexRefineSearchParameters(k_factor=(candidates + 0.25) / number, base_index_params=parameters)


class _Reconstructed:
    """Vectors that only the inverted lists hold, by row."""

    def __init__(self, index: Any) -> None:
        index.make_direct_map()
        self._index = index
        self.shape: tuple[int, ...] = (index.ntotal, index.d)

    def __getitem__(self, rows: Any) -> NDArray[np.floating]:
        wanted = np.arange(self.shape[0])[rows] if isinstance(rows, slice) else rows
        return np.asarray(self._index.reconstruct_batch(wanted), np.float32)


def _stored_vectors(index: Any) -> StoredVectors:
    if isinstance(index, faiss.IndexIVFFlat):
        return _Reconstructed(index)
    holder = index
    if isinstance(index, faiss.IndexRefine):
        holder = faiss.downcast_index(index.refine_index)
    elif isinstance(index, faiss.IndexHNSW):
        holder = faiss.downcast_index(index.storage)
    # A view of the index's own memory: it lives as long as the CatalogueIndex that holds both.
    values = faiss.rev_swig_ptr(holder.codes.data(), holder.ntotal * holder.code_size)
    kind = np.float32 if isinstance(holder, faiss.IndexFlat) else np.float16
    vectors: NDArray[np.floating] = values.view(kind).reshape(holder.ntotal, holder.d)
    return vectors


def _read(path: Path, byte_limit: int) -> Any:
    with _reading:
        before = faiss.get_deserialization_vector_byte_limit()
        faiss.set_deserialization_vector_byte_limit(byte_limit)
        try:
            return faiss.read_index(str(path))
        except (RuntimeError, MemoryError) as error:
            reason = str(error).splitlines()[0][:300]
            raise DamagedArtifactError(
                f"{path} is not an index that can be read ({reason}); fetch or build it again", file=path.name
            ) from error
        finally:
            faiss.set_deserialization_vector_byte_limit(before)


def _check_size(path: Path, expected: int) -> None:
    if not path.is_file():
        raise UnfinishedArtifactError(f"{path} is missing: the step that builds the index did not finish; run it again")
    if path.stat().st_size != expected:
        raise DamagedArtifactError(
            f"{path} has {path.stat().st_size} bytes, its spec says {expected}; fetch or build it again", file=path.name
        )


def _inspect(index: Any, base: Any, spec: IndexSpec, vectors: NDArray[np.float16] | None, source: str) -> None:
    """Check everything that later code relies on: a wrong dimension makes Faiss read beyond its memory."""

    def require(holds: bool, what: str) -> None:
        if not holds:
            raise ContractError(f"{source}: {what}; fetch or build the index again")

    require(isinstance(index, _CLASSES[spec.kind]), f"expected the kind {spec.kind}, got a {type(index).__name__}")
    parts = [index, base]
    if isinstance(index, faiss.IndexRefine):
        refine = faiss.downcast_index(index.refine_index)
        parts.append(refine)
        require(isinstance(base, faiss.IndexIVFPQFastScan), f"expected PQ codes, got {type(base).__name__}")
        require(_is_float16(refine), f"expected float16 vectors to rescore by, got {type(refine).__name__}")
    elif isinstance(index, faiss.IndexIVFPQFastScan):
        require(vectors is not None, f"holds codes only and needs {VECTORS_FILE}")
    elif isinstance(index, faiss.IndexHNSW):
        storage = faiss.downcast_index(index.storage)
        parts.append(storage)
        require(
            isinstance(storage, faiss.IndexFlat), f"expected a graph over flat vectors, got {type(storage).__name__}"
        )
    elif isinstance(index, faiss.IndexScalarQuantizer):
        require(_is_float16(index), "expected float16 codes")
    for part in parts:
        require(part.d == spec.dimension, f"has {part.d} dimensions, expected {spec.dimension}")
        require(part.ntotal == spec.rows, f"holds {part.ntotal} rows, expected {spec.rows}")
        require(part.metric_type == faiss.METRIC_INNER_PRODUCT, "is not made for inner products")
        require(part.is_trained, "is not trained")
    if isinstance(base, faiss.IndexIVF):
        quantizer = faiss.downcast_index(base.quantizer)
        require(quantizer.d == spec.dimension and quantizer.ntotal == base.nlist, "its lists do not fit its centroids")
        wanted = faiss.IndexHNSW if spec.kind == "ivf_hnsw_pq" else faiss.IndexFlat
        require(isinstance(quantizer, wanted), f"has centroids in a {type(quantizer).__name__}")


def _is_float16(index: Any) -> bool:
    return isinstance(index, faiss.IndexScalarQuantizer) and index.sq.qtype == faiss.ScalarQuantizer.QT_fp16
