"""Parameters of the diagnosis."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class DiagnosisParameters(BaseModel):
    """Parameters of the diagnosis.

    Attributes:
        alpha: probability of error of each concern that is tested outside the tests of drift (index, encoder).
        minimum_cosine: how near the golden pictures must come to their recorded embeddings.
        score_tolerance: by how much a score that the live service gives a golden picture may differ from the recorded.
        moved_auc: a residual AUC of 0.5 plus this, with the place of the queries in the space taken out …
        moved_share: … and this share of the classifier's own excess: the pictures changed, though no statistic says so.
        rare_quantile: a crowd of queries is of a new kind if its nearest known images are farther than those of all but
            this share of the reference itself.
        judged_k: depth at which judged queries are measured.
        minimum_judged: smallest number of judged queries that is measured.
        judged_queries: judged queries that are asked, at most.
        minimum_loss: least loss of the judged hit rate that alarms.
        minimum_recall_loss: least shortfall of the index's recall below its target that alarms.
        recall_queries: queries that the index's recall is measured on, at most.
        minimum_additions: fewer recent additions say nothing of the quantiser.
        error_ratio: quantisation error of the additions, in multiples of that at build, that alarms.
        imbalance_ratio: imbalance of the inverted lists, in multiples of that at build, that alarms.
        indexed_share: least share of the listing that must be indexed.
        waiting_hours: longest time that a listed image may wait for being indexed.
        pictures: queries shown with a diagnosis.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    alpha: float = Field(default=0.01, gt=0, lt=0.5)
    minimum_cosine: float = Field(default=0.9995, gt=0, lt=1)
    score_tolerance: float = Field(default=0.005, gt=0, lt=1)
    moved_auc: float = Field(default=0.1, ge=0, lt=0.5)
    moved_share: float = Field(default=0.75, ge=0)
    rare_quantile: float = Field(default=0.25, gt=0, lt=1)
    judged_k: int = Field(default=10, ge=1, le=100)
    minimum_judged: int = Field(default=30, ge=2)
    judged_queries: int = Field(default=500, ge=30)
    minimum_loss: float = Field(default=0.03, ge=0, lt=1)
    minimum_recall_loss: float = Field(default=0.01, ge=0, lt=1)
    recall_queries: int = Field(default=500, ge=10)
    minimum_additions: int = Field(default=100, ge=10)
    error_ratio: float = Field(default=1.25, ge=1)
    imbalance_ratio: float = Field(default=2.0, ge=1)
    indexed_share: float = Field(default=0.99, ge=0, le=1)
    waiting_hours: float = Field(default=24.0, ge=0)
    pictures: int = Field(default=6, ge=0, le=50)
