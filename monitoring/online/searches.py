"""From events to searches: what was shown and clicked, without bots and without a picture found by itself.

Two tables are made in the connection: `results` (a row for each query and returned image) and `searches` (a row for each
query). Folding takes minima and maxima, so neither the order of the events nor a second delivery changes a row.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

import duckdb

from monitoring.online.parameters import OnlineParameters

BOT_RULES = ("rate", "clicks_per_query", "no_dwell")

_FOLD = """
CREATE OR REPLACE TABLE shown AS
SELECT query_id, returned_image_id AS image_id,
    min(user_id) AS user_id, min(query_image_id) AS query_image_id, min(country) AS country,
    min(position) FILTER (type = 'impression') AS position,
    min(arm) FILTER (type = 'impression') AS arm, min(release_id) FILTER (type = 'impression') AS release_id,
    min(moment) AS moment, min(moment) FILTER (type = 'click') AS clicked_at,
    max(dwell_ms) FILTER (type = 'dwell') AS dwell_ms
FROM log
WHERE type IN ('impression', 'click', 'dwell') AND position BETWEEN 1 AND $deepest
    AND query_id IS NOT NULL AND user_id IS NOT NULL AND returned_image_id IS NOT NULL
    AND moment >= $since AND moment < $until
GROUP BY query_id, returned_image_id
HAVING position IS NOT NULL
"""

_BOTS = """
CREATE OR REPLACE TABLE bots AS
WITH queries AS (
    SELECT query_id, min(user_id) AS user_id, date_trunc('minute', min(moment)) AS minute,
        count(clicked_at) AS clicks, count(*) FILTER (clicked_at IS NOT NULL AND dwell_ms >= $dwell) AS stays
    FROM shown GROUP BY query_id
), busiest AS (
    SELECT user_id, max(n) AS busiest FROM (SELECT user_id, minute, count(*) AS n FROM queries GROUP BY ALL) GROUP BY user_id
), volume AS (
    SELECT user_id, count(*) AS queries, sum(clicks) AS clicks, sum(stays) AS stays FROM queries GROUP BY user_id
), judged AS (
    SELECT user_id, busiest > $rate AS rate,
        queries >= $queries AND clicks > queries * $clicks_per_query AS clicks_per_query,
        clicks >= $clicks AND stays = 0 AND (SELECT count(dwell_ms) > 0 FROM shown) AS no_dwell
    FROM volume JOIN busiest USING (user_id)
)
SELECT * FROM judged WHERE rate OR clicks_per_query OR no_dwell
"""

_CLEAN = """
CREATE OR REPLACE TABLE results AS
SELECT * FROM shown ANTI JOIN bots USING (user_id) WHERE query_image_id IS DISTINCT FROM image_id
"""

_SEARCHES = """
CREATE OR REPLACE TABLE searches AS
SELECT query_id, min(user_id) AS user_id, min(arm) AS arm, count(DISTINCT arm) AS arms, min(release_id) AS release_id,
    min(country) AS country, min(moment) AS moment,
    count(*)::DOUBLE AS impressions,
    count(clicked_at)::DOUBLE AS clicks,
    count(clicked_at) FILTER (position <= $k)::DOUBLE AS clicks_at_k,
    (count(clicked_at) > 0)::INTEGER::DOUBLE AS clicked,
    coalesce(1.0 / min(position) FILTER (clicked_at IS NOT NULL), 0.0)::DOUBLE AS reciprocal_rank,
    CASE WHEN count(clicked_at) > 0
        THEN least(epoch_us(min(clicked_at)) - epoch_us(min(moment)), $slowest) / 1e6 ELSE 0.0 END::DOUBLE AS seconds_to_click,
    coalesce(sum(least(dwell_ms, $longest)) FILTER (clicked_at IS NOT NULL AND dwell_ms IS NOT NULL) / 1e3, 0.0)::DOUBLE
        AS dwell_seconds,
    count(dwell_ms) FILTER (clicked_at IS NOT NULL)::DOUBLE AS dwells,
    coalesce(sum(1.0 / propensity) FILTER (clicked_at IS NOT NULL), 0.0)::DOUBLE AS corrected_clicks
FROM results LEFT JOIN propensities USING (position)
GROUP BY query_id
"""

BEGINNING = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
END = datetime.datetime(2200, 1, 1, tzinfo=datetime.UTC)


@dataclass(frozen=True)
class Cleaning:
    """Counts of events that cleaning left out.

    Attributes:
        results: query–image rows that were shown, before cleaning.
        bots: users taken for programs, by rule; a user may break several.
        bot_users: users that count as bots.
        bot_results: results shown to bots.
        self_results: rows in which a picture found itself.
    """

    results: int
    bots: dict[str, int]
    bot_users: int
    bot_results: int
    self_results: int


def clean_results(
    connection: duckdb.DuckDBPyConnection,
    parameters: OnlineParameters,
    *,
    since: datetime.datetime = BEGINNING,
    until: datetime.datetime = END,
) -> Cleaning:
    """Make the table `results`: a row for each query and image that was shown.

    Its columns: query_id, image_id, user_id, query_image_id, country, position, arm, release_id, moment, clicked_at, dwell_ms.

    The rules of bots are simpler kin of those that labelling mines clicks by: too fast, too many clicks, and clicks
    without ever staying. They apply to the period given, so being a bot in another week does not exclude a user this week.
    """
    connection.execute(_FOLD, {"deepest": parameters.deepest_position, "since": _naive(since), "until": _naive(until)})
    connection.execute(
        _BOTS,
        {
            "rate": parameters.bot_queries_per_minute,
            "queries": parameters.bot_minimum_queries,
            "clicks_per_query": parameters.bot_clicks_per_query,
            "clicks": parameters.bot_minimum_clicks,
            "dwell": parameters.bot_dwell_ms,
        },
    )
    connection.execute(_CLEAN)
    rules = ", ".join(f"count(*) FILTER ({rule})" for rule in BOT_RULES)
    users, *by_rule = _row(connection, f"SELECT count(*), {rules} FROM bots")  # noqa: S608
    shown, kept, robotic = _row(
        connection,
        "SELECT (SELECT count(*) FROM shown), (SELECT count(*) FROM results), "
        "(SELECT count(*) FROM shown SEMI JOIN bots USING (user_id))",
    )
    connection.execute("DROP TABLE shown")
    return Cleaning(
        results=shown,
        bots=dict(zip(BOT_RULES, by_rule, strict=True)),
        bot_users=users,
        bot_results=robotic,
        self_results=shown - kept - robotic,
    )


def fold_searches(
    connection: duckdb.DuckDBPyConnection, parameters: OnlineParameters, propensities: dict[int, float] | None = None
) -> None:
    """Make the table `searches` from `results`.

    Args:
        connection: holds `results`.
        parameters: depth and the longest times.
        propensities: position → probability of examination; where None, `corrected_clicks` is 0 and says nothing.
    """
    connection.execute("CREATE OR REPLACE TABLE propensities (position INTEGER, propensity DOUBLE)")
    if propensities:
        floor = parameters.propensity_floor
        rows = [(position, max(value, floor)) for position, value in propensities.items()]
        connection.executemany("INSERT INTO propensities VALUES (?, ?)", rows)
    connection.execute(
        _SEARCHES,
        {
            "k": parameters.k,
            "slowest": int(parameters.longest_seconds_to_click * 1e6),
            "longest": parameters.longest_dwell_ms,
        },
    )


def _row(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[int, ...]:
    return tuple(int(value) for value in connection.execute(query).fetchall()[0])


def _naive(moment: datetime.datetime) -> datetime.datetime:
    return moment.astimezone(datetime.UTC).replace(tzinfo=None)
