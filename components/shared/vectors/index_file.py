"""The file of an index: read within limits, inspected, and its stored vectors accessible by row."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from components.shared.errors import ContractError, DamagedArtifactError, UnfinishedArtifactError
from components.shared.vectors.index_spec import VECTORS_FILE, IndexSpec
from components.shared.vectors.neighbours import StoredVectors

BYTE_LIMIT_FLOOR = 64 << 20
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


class _Reconstructed:
    """Vectors that only the inverted lists hold, accessible by row.

    Raises:
        ContractError: no list holds a row (Faiss would raise only at a search that needs it).
    """

    def __init__(self, index: Any) -> None:
        index.make_direct_map()
        missing = np.flatnonzero(faiss.vector_to_array(index.direct_map.array) < 0)
        if len(missing):
            raise ContractError(f"no list of the index holds row {missing[0]}; fetch or build the index again")
        self._index = index
        self.shape: tuple[int, ...] = (index.ntotal, index.d)

    def __getitem__(self, rows: Any) -> NDArray[np.floating]:
        wanted = np.arange(self.shape[0])[rows] if isinstance(rows, slice) else rows
        return np.asarray(self._index.reconstruct_batch(wanted), np.float32)


@contextmanager
def faults_named(source: str) -> Iterator[None]:
    """Turn errors of Faiss, which after our checks only a damaged index can cause, into ContractErrors."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0][-300:]
        raise ContractError(f"{source} is damaged ({reason}); fetch or build the index again") from error


def stored_vectors(index: Any) -> StoredVectors:
    """Return the vectors that the index itself holds, without copying them."""
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


def read_index_file(path: Path, byte_limit: int) -> Any:
    """Read an index into memory; no single allocation can exceed the limit.

    Raises:
        DamagedArtifactError: Faiss cannot read the file.
    """
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


def check_size(path: Path, expected: int) -> None:
    """Check that a file exists and has the expected number of bytes.

    Raises:
        UnfinishedArtifactError: the file is missing.
        DamagedArtifactError: the file has another size.
    """
    if not path.is_file():
        raise UnfinishedArtifactError(f"{path} is missing: the step that builds the index did not finish; run it again")
    if path.stat().st_size != expected:
        raise DamagedArtifactError(
            f"{path} has {path.stat().st_size} bytes, its spec says {expected}; fetch or build it again", file=path.name
        )


def inspect_index(index: Any, base: Any, spec: IndexSpec, vectors: NDArray[np.float16] | None, source: str) -> None:
    """Check everything that later code relies on: a wrong dimension makes Faiss read beyond its memory.

    Raises:
        ContractError: something differs from the spec; the message names the first difference.
    """

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
        if isinstance(part, faiss.IndexFlatCodes):
            width = part.d * (4 if isinstance(part, faiss.IndexFlat) else 2)
            require(part.code_size == width, f"has codes of {part.code_size} bytes, expected {width}")
            require(part.codes.size() == part.ntotal * width, "has more or fewer codes than rows")
    if isinstance(base, faiss.IndexIVF):
        quantizer = faiss.downcast_index(base.quantizer)
        require(quantizer.d == spec.dimension and quantizer.ntotal == base.nlist, "its lists do not fit its centroids")
        require(base.invlists.compute_ntotal() == spec.rows, "has lists that do not add up to its rows")
        wanted = faiss.IndexHNSW if spec.kind == "ivf_hnsw_pq" else faiss.IndexFlat
        require(isinstance(quantizer, wanted), f"has centroids in a {type(quantizer).__name__}")


def _is_float16(index: Any) -> bool:
    return isinstance(index, faiss.IndexScalarQuantizer) and index.sq.qtype == faiss.ScalarQuantizer.QT_fp16
