"""Parameters of the indexing step."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from components.shared.defaults import RECALL_TARGET


class IndexingParameters(BaseModel):
    """How to build the index. `kind="auto"` chooses from the number of images, the memory budget and the objective."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["auto", "exact", "exact_f16", "hnsw", "ivf_flat", "pq", "ivf_pq", "ivf_hnsw_pq"] = Field(
        default="auto",
        description="Index family; auto chooses by catalogue size, memory budget and objective.",
    )
    objective: Literal["throughput", "latency"] = Field(
        default="throughput",
        description="Optimise for queries per second in batches, or for the latency of a single query.",
    )
    memory_budget_bytes: int | None = Field(
        default=None, ge=1, description="Resident memory of the index while serving, at most; None: no limit."
    )
    recall_target: float = Field(
        default=RECALL_TARGET,
        ge=0.5,
        le=0.999,
        description="Share of the exact top 10 that the tuned search must find.",
    )
    tuning_queries: int = Field(
        default=1_000, ge=20, le=20_000, description="Held-out images, at most, that search parameters are tuned on."
    )
    training_rows_per_list: int = Field(
        default=64, ge=8, le=1_024, description="Training vectors of k-means per inverted list."
    )
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Seed of sampling and k-means.")
