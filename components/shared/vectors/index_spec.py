"""Make-up, promised recall and search settings of an index: `index.json`, also part of the release's manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from components.shared.files.specs import read_spec, write_spec

INDEX_FILE = "index.faiss"
VECTORS_FILE = "vectors.f16"
INDEX_SPEC_FILE = "index.json"

TUNING_K = 10  # search parameters are tuned for this many results

Kind = Literal["exact", "exact_f16", "hnsw", "ivf_flat", "pq", "ivf_pq", "ivf_hnsw_pq"]


class SearchSettings(BaseModel):
    """Amount of work per search; a field is None if the kind of index has no such dial.

    Attributes:
        nprobe: number of inverted lists to scan.
        ef_search: length of the candidate queue in the graph of vectors.
        quantizer_ef_search: length of the candidate queue in the graph of centroids, if there is one.
        rescored: candidates for up to 10 results whose scores are recomputed from the stored vectors; in proportion
            for more results.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    nprobe: int | None = Field(default=None, ge=1)
    ef_search: int | None = Field(default=None, ge=1)
    quantizer_ef_search: int | None = Field(default=None, ge=1)
    rescored: int | None = Field(default=None, ge=TUNING_K)


class OperatingPoint(BaseModel):
    """One measured point of the curve of recall over work.

    Attributes:
        ann_recall_at_10: mean share of the exact top 10 that was found.
        rows_per_query: mean number of rows whose score was computed or estimated.
        cost_microseconds: modelled time of one query on one core, used to compare points; not a measurement, so
            that the same inputs give the same index everywhere.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: SearchSettings
    ann_recall_at_10: float
    rows_per_query: float
    cost_microseconds: float


class RecallFacts(BaseModel):
    """How close the tuned search comes to the exact answer.

    Attributes:
        target: required share of the exact top 10.
        reached: whether `ann_recall_at_10` minus one standard error is at or above the target.
        ann_recall_at_10: recall with the chosen settings.
        standard_error: standard error of that mean over the queries.
        queries: number of held-out queries; 0: exact by construction, so nothing is measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: float
    reached: bool
    ann_recall_at_10: float
    standard_error: float
    queries: int


class Forecast(BaseModel):
    """Expected needs of an index, computed before it is built.

    Attributes:
        ram_bytes: resident memory for serving.
        disk_bytes: size of the files.
        bytes_per_vector: resident memory per row.
        build_cpu_seconds: CPU time on a core of the kind on which the constants were measured.
        build_ram_bytes: peak memory of the build.
        expected_recall: ann_recall@10 at the tuned settings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ram_bytes: int
    disk_bytes: int
    bytes_per_vector: float
    build_cpu_seconds: float
    build_ram_bytes: int
    expected_recall: float


class IndexSpec(BaseModel):
    """Make-up of an index and its search settings.

    Attributes:
        factory: make-up in Faiss's notation, for people.
        rows: number n; row i of the items table is Faiss id i.
        metric: always the inner product of unit vectors: higher is better.
        search: chosen settings.
        vectors_file: memory-mapped (n, d) float16 for rescoring, if the index does not hold the vectors itself.
        seed: seed of sampling and k-means.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    kind: Kind
    factory: str
    dimension: int = Field(ge=1)
    rows: int = Field(ge=1)
    metric: Literal["inner_product"] = "inner_product"
    search: SearchSettings
    recall: RecallFacts
    curve: list[OperatingPoint] = []
    forecast: Forecast
    index_bytes: int
    vectors_file: Literal["vectors.f16"] | None = None
    seed: int = 0


def write_index_spec(directory: Path, spec: IndexSpec) -> None:
    """Write `index.json`."""
    write_spec(directory / INDEX_SPEC_FILE, spec)


def read_index_spec(directory: Path) -> IndexSpec:
    """Read `index.json`.

    Raises:
        ContractError: it is missing or unreadable.
    """
    return read_spec(directory / INDEX_SPEC_FILE, IndexSpec, subject="an index", step="indexing")
