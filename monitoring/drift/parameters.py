"""Parameters of the drift tests."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class DriftParameters(BaseModel):
    """Parameters of the tests of drift.

    Attributes:
        alpha: probability that anything at all alarms in a window in which nothing has changed. Half of it goes to the
            tests of the embeddings, half to those of the input statistics; within each half Holm's procedure shares it.
        minimum_window: smallest number of queries that is compared.
        maximum_rows: larger windows and references are cut to a seeded sample of this size, which bounds the cost.
        permutations: permutations per p-value, at most; the smallest p-value is thus 1 / (permutations + 1).
        exceedances: a permutation test stops once this number of permutations reached the observed figure.
        folds: folds of the domain classifier's cross-fitting.
        rows_per_cluster: queries and references together that a cluster should have …
        maximum_clusters: … and the number of clusters, at most.
        places: places at which a local excess of queries is tested, at most.
        minimum_auc: least excess of the domain classifier's AUC over 0.5 that alarms; less is only watched.
        minimum_shift: least shift of the mean, in standard deviations of the reference along it, that alarms.
        minimum_occupancy: least share of the queries that would have to change their cluster, that alarms.
        minimum_distance: least Kolmogorov-Smirnov distance (similarities, input statistics) that alarms.
        minimum_excess: least excess of queries at one place, as a share of all queries, that alarms.
        seed: seed of samples, folds and permutations.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    alpha: float = Field(default=0.01, gt=0, lt=0.5)
    minimum_window: int = Field(default=200, ge=50)
    maximum_rows: int = Field(default=5_000, ge=500, le=50_000)
    permutations: int = Field(default=1_999, ge=999, le=100_000)
    exceedances: int = Field(default=20, ge=5)
    folds: int = Field(default=5, ge=2, le=20)
    rows_per_cluster: int = Field(default=100, ge=20)
    maximum_clusters: int = Field(default=64, ge=2, le=1_024)
    places: int = Field(default=2_000, ge=100, le=50_000)
    minimum_auc: float = Field(default=0.02, ge=0, lt=0.5)
    minimum_shift: float = Field(default=0.05, ge=0)
    minimum_occupancy: float = Field(default=0.03, ge=0, lt=1)
    minimum_distance: float = Field(default=0.05, ge=0, lt=1)
    minimum_excess: float = Field(default=0.005, ge=0, lt=1)
    seed: int = Field(default=0, ge=0, lt=2**32)
