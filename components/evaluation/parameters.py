"""Parameters of the evaluation step."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from components.shared.defaults import RECALL_TARGET

GateMetric = Literal[
    "hit_rate_at_1",
    "hit_rate_at_5",
    "hit_rate_at_10",
    "recall_at_1",
    "recall_at_10",
    "recall_at_50",
    "precision_at_10",
    "map",
    "ndcg_at_10",
    "mrr",
]


class EvaluationParameters(BaseModel):
    """How to measure a release, with which confidence, and the checks that it must pass.

    Attributes:
        max_queries: test images that serve as queries; a seeded sample where there are more.
        resamples: bootstrap resamples behind every interval.
        confidence: level of the intervals.
        interval: kind of the intervals; "bca" corrects bias and skew, "percentile" does not.
        index_depth: number of neighbours requested from the index.
        gate: "enforce" stops a release that fails a check; "report" reports it and lets it pass (rehearsals, tiny sets).
        gate_metrics: metrics on which the encoder must be ahead of every baseline and not behind the champion.
        superiority: "paired": the interval of the difference on the same queries is above 0; "separate": the two
            intervals do not overlap, which is stricter.
        min_queries: fewer queries with something relevant cannot decide, so the gate refuses.
        index_recall_target: share of the exact top 10 that the index must return.
        champion_margin: largest accepted loss against the champion, at the lower end of the paired difference.
        report_queries: queries on the result sheets.
        map_images: images on the 2-D map; 0 leaves the map out.
        threads: threads for decoding and encoding; 0 uses all cores.
        seed: seed of samples, resamples and the chance ranking.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_queries: int = Field(default=2_000, ge=1, le=100_000)
    resamples: int = Field(default=2_000, ge=100, le=100_000)
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    interval: Literal["bca", "percentile"] = "bca"
    index_depth: int = Field(default=100, ge=50, le=2_000)
    gate: Literal["enforce", "report"] = "enforce"
    gate_metrics: tuple[GateMetric, ...] = Field(default=("hit_rate_at_1", "map"), min_length=1)
    superiority: Literal["paired", "separate"] = "paired"
    min_queries: int = Field(default=50, ge=1, le=100_000)
    index_recall_target: float = Field(default=RECALL_TARGET, ge=0.0, le=1.0)
    champion_margin: float = Field(default=0.03, ge=0.0, le=1.0)
    report_queries: int = Field(default=12, ge=1, le=40)
    map_images: int = Field(default=800, ge=0, le=1_500)
    threads: int = Field(default=0, ge=0, le=256)
    seed: int = Field(default=0, ge=0, lt=2**32)
