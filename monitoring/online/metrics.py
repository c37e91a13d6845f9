"""Online metrics by arm, release, position, country or hour, as Arrow tables."""

from __future__ import annotations

from typing import Literal, get_args

import duckdb
import pyarrow as pa

Dimension = Literal["all", "arm", "release_id", "country", "hour", "day", "position"]
DIMENSIONS: tuple[str, ...] = get_args(Dimension)

_KEYS = {
    "all": "'all'",
    "arm": "arm",
    "release_id": "release_id",
    "country": "coalesce(country, 'unknown')",
    "hour": "date_trunc('hour', moment)",
    "day": "date_trunc('day', moment)",
    "position": "position",
}

_OF_SEARCHES = """
WITH by_user AS (
    SELECT {key} AS label, user_id, max(clicked) AS clicked FROM searches GROUP BY ALL
), users AS (
    SELECT label, count(*) AS users, avg(clicked) AS click_through_per_user FROM by_user GROUP BY label
), totals AS (
    SELECT {key} AS label, count(*) AS searches, sum(impressions)::BIGINT AS impressions, sum(clicks)::BIGINT AS clicks,
        avg(clicked) AS click_through_per_query, 1 - avg(clicked) AS abandonment,
        sum(clicks) / sum(impressions) AS click_through_per_impression,
        avg(clicks_at_k) AS clicks_at_k, avg(reciprocal_rank) AS click_mrr,
        median(seconds_to_click) FILTER (clicked > 0) AS median_seconds_to_click
    FROM searches GROUP BY label
), looks AS (
    SELECT {result_key} AS label, median(least(dwell_ms, $longest)) / 1e3 AS median_dwell_seconds,
        avg(least(dwell_ms, $longest)) / 1e3 AS mean_dwell_seconds, count(*) AS dwells
    FROM results {join} WHERE clicked_at IS NOT NULL AND dwell_ms IS NOT NULL GROUP BY ALL
), corrected AS (
    SELECT label, CASE WHEN (SELECT count(*) FROM propensities) = 0 THEN NULL ELSE sum(corrected_clicks) / sum(impressions) END
        AS corrected_click_through FROM (SELECT {key} AS label, * FROM searches) GROUP BY label
)
SELECT * FROM totals JOIN users USING (label) LEFT JOIN looks USING (label) LEFT JOIN corrected USING (label)
ORDER BY label
"""

_OF_POSITIONS = """
SELECT position AS label, count(DISTINCT query_id) AS searches, count(DISTINCT user_id) AS users, count(*) AS impressions,
    count(clicked_at) AS clicks, count(clicked_at) / count(*)::DOUBLE AS click_through_per_impression,
    count(clicked_at) / (max(propensity) * count(*)) AS corrected_click_through, max(propensity) AS propensity,
    median(least(dwell_ms, $longest)) FILTER (dwell_ms IS NOT NULL AND clicked_at IS NOT NULL) / 1e3 AS median_dwell_seconds,
    avg(least(dwell_ms, $longest)) FILTER (dwell_ms IS NOT NULL AND clicked_at IS NOT NULL) / 1e3 AS mean_dwell_seconds
FROM results LEFT JOIN propensities USING (position) GROUP BY position ORDER BY position
"""


def online_metrics(
    connection: duckdb.DuckDBPyConnection, dimension: Dimension, *, longest_dwell_ms: int = 300_000
) -> pa.Table:
    """Compute the metrics of the tables `results` and `searches`, a row for each value of a dimension.

    A search is a query that showed at least one result (see `service` for those that showed none). Columns: label,
    searches, impressions, clicks, users;
    click_through_per_query: share of searches with a click; abandonment is the rest of them;
    click_through_per_user: share of users with a click;
    click_through_per_impression: clicks / results shown;
    corrected_click_through: the same, each click weighted by 1 / (probability that its position was examined): the
        rate if every user examined every position; null where no propensities are known. Its expectation is the
        mean attraction of what was shown;
    clicks_at_k: clicks among the first k, per search; click_mrr: mean of 1 / position of the topmost click, 0 for none;
    median_seconds_to_click; median_dwell_seconds, mean_dwell_seconds: per click, winsorised at the longest dwell.

    By position there are no metrics of a whole search. An hour or day is that of the search's first event, UTC.

    Source: Joachims, Swaminathan, Schnabel (2017), Unbiased learning-to-rank with biased feedback, WSDM, section 4.1 (the
    weights); Chapelle, Metzler, Zhang, Grinspan (2009), Expected reciprocal rank for graded relevance, CIKM, section 5
    (click metrics).
    """
    if dimension == "position":
        query = _OF_POSITIONS
    else:
        by_time = dimension in {"hour", "day"}
        query = _OF_SEARCHES.format(
            key=_KEYS[dimension],
            result_key=_KEYS[dimension].replace("moment)", "searches.moment)") if by_time else _qualified(dimension),
            join="JOIN searches USING (query_id)",
        )
    return _arrow(connection, query, {"longest": longest_dwell_ms})


def _qualified(dimension: str) -> str:
    key = _KEYS[dimension]
    return key if dimension == "all" else key.replace(dimension, f"searches.{dimension}")


def _arrow(connection: duckdb.DuckDBPyConnection, query: str, values: dict[str, int]) -> pa.Table:
    return connection.sql(query, params=values).to_arrow_table()
