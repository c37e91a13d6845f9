"""Searching an index: filters inside the search, always k results, scores that are inner products, ties by row.

The only search of the product: tuning, evaluation and serving all use it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from components.shared.errors import (
    ContractError,
    InputError,
    ParameterError,
)
from components.shared.vectors.embeddings import Vectors, check_vectors
from components.shared.vectors.index_file import (
    BYTE_LIMIT_FLOOR,
    check_size,
    faults_named,
    inspect_index,
    read_index_file,
    stored_vectors,
)
from components.shared.vectors.index_spec import (
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
from components.shared.vectors.neighbours import Neighbours, RowFilter, StoredVectors, exact_search, rescore, settle

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
SCANNED_ROWS = 20_000  # up to this many allowed rows are compared one by one: a few milliseconds, and exact
_TIED_ROWS = 4_096  # up to this many equal vectors are put in order of their rows
_GRAPH_HOP_ROWS = 40  # a graph search of length ef costs about as much as a scan of 40 × ef rows
# Process-wide: from this k on Faiss keeps a reservoir, not a heap, which takes 1.3 × as long for 45 to 91 of 3,500 centroids.
faiss.cvar.distance_compute_min_k_reservoir = 20


class CatalogueIndex:
    """An index with the vectors for rescoring. Immutable; any number of threads may search at once.

    Args:
        index: the Faiss index.
        spec: its expected description.
        vectors: (n, d) float16, if the index does not hold the vectors itself.
        source: origin, for messages.

    Raises:
        ContractError: the index differs from the spec.
    """

    def __init__(
        self, index: Any, spec: IndexSpec, vectors: NDArray[np.float16] | None = None, *, source: str = "index"
    ) -> None:
        self.spec = spec
        self._index = index
        self._base = faiss.downcast_index(index.base_index) if isinstance(index, faiss.IndexRefine) else index
        self._source = source
        with faults_named(source):
            inspect_index(index, self._base, spec, vectors, source)
            self._vectors: StoredVectors = vectors if vectors is not None else stored_vectors(index)
        self._refines = isinstance(index, faiss.IndexRefine)
        self._parameters: dict[tuple[SearchSettings, int, int], Any] = {}

    @classmethod
    def open(cls, directory: Path, spec: IndexSpec | None = None, *, byte_limit: int | None = None) -> CatalogueIndex:
        """Read `index.faiss` into memory (not mapped: a file changed in place would kill the process or give wrong results).

        Args:
            directory: an indexing artifact or a release.
            spec: expected description; None: read `index.json` beside the index.
            byte_limit: largest single allocation while reading; default 4 × the file, at least 64 MB. A forged header of 2 KB
                could otherwise request gigabytes.

        Raises:
            UnfinishedArtifactError: a file is missing.
            DamagedArtifactError: a file is of another size, or Faiss cannot read it.
            ContractError: the index differs from the spec.
        """
        spec = spec or read_index_spec(directory)
        path = directory / INDEX_FILE
        check_size(path, spec.index_bytes)
        index = read_index_file(path, byte_limit or max(4 * spec.index_bytes, BYTE_LIMIT_FLOOR))
        vectors = None
        if spec.vectors_file is not None:
            check_size(directory / spec.vectors_file, 2 * spec.rows * spec.dimension)
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
        """The Faiss index itself, for inspection only; never change it."""
        return self._index

    def stored(self, rows: NDArray[np.int64]) -> Vectors:
        """Return the (r, d) float32 vectors of these rows as the index stores them (float16 precision in some kinds).

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
        complete: bool = True,
    ) -> Neighbours:
        """Find the k rows of highest inner product for each query.

        Args:
            queries: (q, d) float32, unit norm.
            k: number of results, 1 to 10,000.
            allowed: (n,) bool, the rows that may be returned; prepare a `RowFilter` for repeated use.
            exact: compare with every allowed row instead of using the index's shortcuts.
            settings: amount of work; None: the tuned settings.
            complete: if the settings reach fewer than k rows, scan for the others; False only to measure settings.

        Returns:
            k neighbours per query if k allowed rows exist.

        Raises:
            InputError: queries or filter have another shape or type.
            ParameterError: k is out of range.
            PoisonedVectorError: a query is not a finite unit vector.
        """
        queries = self._checked(queries, k)
        rows = self._filter(allowed)
        settings = self._reaching(settings or self.spec.search, k)
        available = self.rows if rows is None else rows.count
        if exact or (rows is not None and self._is_selective(rows, settings)):
            return exact_search(self._vectors, queries, k, rows)

        def find(some: Vectors, number: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
            return self._find(some, number, k, rows, settings)

        found = settle(find, queries, k, available, limit=k + _TIED_ROWS)
        if not complete:
            return found
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
        """Whether comparing with each allowed row costs less than a search that skips the others."""
        if rows.count <= SCANNED_ROWS:
            return True
        return bool(settings.ef_search and rows.count**2 <= _GRAPH_HOP_ROWS * settings.ef_search * self.rows)

    def _reaching(self, settings: SearchSettings, k: int) -> SearchSettings:
        """Probe lists that hold twice the requested rows, so that a large k does not fall back on the scan of all rows."""
        if k <= TUNING_K or settings.nprobe is None or not isinstance(self._base, faiss.IndexIVF):
            return settings
        nprobe = min(self._base.nlist, -(-2 * k * self._base.nlist // self.rows))
        return settings.model_copy(update={"nprobe": nprobe}) if nprobe > settings.nprobe else settings

    def _find(
        self, queries: Vectors, number: int, k: int, rows: RowFilter | None, settings: SearchSettings
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        candidates = number
        if settings.rescored is not None:
            candidates = min(max(number, -(-settings.rescored * max(k, TUNING_K) // TUNING_K)), self.rows)
        wanted = number if self._refines else candidates
        with faults_named(self._source):
            parameters = self._parameters_for(settings, number, candidates, rows)
            scores, found = self._index.search(queries, wanted, params=parameters)
        if found.size and not (found.min() >= -1 and found.max() < self.rows):
            raise ContractError(f"{self._source} names rows that do not exist; fetch or build the index again")
        if self._refines:
            scores[found < 0] = -np.inf
        else:
            scores = rescore(self._vectors, queries, found)
        return scores, found

    def _parameters_for(self, settings: SearchSettings, number: int, candidates: int, rows: RowFilter | None) -> Any:
        """Return Faiss parameters for one call. Setting them on the live index would leak them to other calls."""
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
        # The quarter protects the product, which Faiss truncates to an integer, against rounding down.
        return faiss.IndexRefineSearchParameters(k_factor=(candidates + 0.25) / number, base_index_params=parameters)
