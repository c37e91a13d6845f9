"""The metrics of an experiment, each a ratio of two sums over a user's searches."""

from __future__ import annotations

from dataclasses import dataclass

from monitoring.experiments.parameters import MetricName


@dataclass(frozen=True)
class Metric:
    """A ratio metric.

    Attributes:
        name: machine-readable.
        title: text shown on pages.
        numerator: column of the user sums.
        denominator: column of the user sums.
        higher_is_better: whether a larger value is better.
        unit: "share", "number" or "seconds".
        by_user: both sums count as 0 or 1: share of users instead of share of searches.
    """

    name: MetricName
    title: str
    numerator: str
    denominator: str
    higher_is_better: bool = True
    unit: str = "share"
    by_user: bool = False


METRICS: dict[MetricName, Metric] = {
    metric.name: metric
    for metric in (
        Metric("click_through_per_query", "Searches with a click", "clicked", "searches"),
        Metric("click_through_per_user", "Users with a click", "clicked", "searches", by_user=True),
        Metric("click_through_per_impression", "Clicks per result shown", "clicks", "impressions"),
        Metric("corrected_click_through", "… corrected for position", "corrected_clicks", "impressions"),
        Metric("clicks_at_k", "Clicks in the first k, per search", "clicks_at_k", "searches", unit="number"),
        Metric("click_mrr", "Mean reciprocal rank of the first click", "reciprocal_rank", "searches", unit="number"),
        Metric("seconds_to_click", "Time to the first click", "seconds_to_click", "clicked", False, "seconds"),
        Metric("dwell_seconds", "Time spent on a clicked image", "dwell_seconds", "dwells", unit="seconds"),
    )
}
