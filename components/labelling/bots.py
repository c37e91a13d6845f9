"""Users who are programs, found by three rules: how fast they query, how much they click, and at which positions."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa

from components.labelling.engine import SCALE, Engine, Frame
from components.labelling.parameters import LabellingParameters

RULES = ("rate", "clicks_per_query", "positions")


def find_bots(engine: Engine, shown: Frame, parameters: LabellingParameters) -> Frame:
    """Return the users classed as bots: user_id and one column per rule, 0 or 1.

    rate: more than `bot_queries_per_minute` queries within one minute of the clock.
    clicks_per_query: more than `bot_clicks_per_query` on average, over at least `bot_minimum_queries` queries.
    positions: people click results that they examine, mostly at the top; a program clicks anywhere. Each click at position k
        adds log(share of results shown at k / share of other users' clicks at k); a user whose sum exceeds
        `bot_position_evidence` clicks as if all positions were equal. A person's sum exceeds x with probability below e^−x.

    Args:
        engine: engine that runs the query.
        shown: output of `shown_results`; rows that were never shown are ignored.
        parameters: the limits.

    Source: the third rule is the likelihood ratio test; its bound is Ville's inequality (as in Wald, 1945, Sequential
        tests of statistical hypotheses, section 2).
    """
    F = engine.functions  # noqa: N806
    col, when, total = F.col, F.when, engine.total
    results = shown.where(col("position").isNotNull())
    queries = engine.keep(
        "queries",
        results.groupBy("query_id").agg(
            F.min("user_id").alias("user_id"),
            F.date_trunc("minute", F.min("at")).alias("minute"),
            total(col("clicked")).alias("clicks"),
        ),
    )
    busiest = (
        queries.groupBy("user_id", "minute")
        .agg(F.count("*").alias("queries"))
        .groupBy("user_id")
        .agg(F.max("queries").alias("busiest"))
    )
    volume = queries.groupBy("user_id").agg(F.count("*").alias("queries"), total(col("clicks")).alias("clicks"))
    many = (col("queries") >= parameters.bot_minimum_queries) & (
        col("clicks") > col("queries") * parameters.bot_clicks_per_query
    )
    suspects = engine.keep(
        "suspects",
        volume.join(busiest, "user_id").select(
            "user_id",
            when(col("busiest") > parameters.bot_queries_per_minute, 1).otherwise(0).alias("rate"),
            when(many, 1).otherwise(0).alias("clicks_per_query"),
        ),
    )
    evidence = _position_evidence(engine, results, suspects)
    strong = math.floor(parameters.bot_position_evidence * SCALE)
    scattered = (
        results.where(col("clicked") == 1)
        .join(evidence, "position")
        .groupBy("user_id")
        .agg(total(col("evidence")).alias("evidence"))
        .where(col("evidence") > strong)
        .select("user_id", F.lit(1).alias("scattered"))
    )
    flagged = suspects.join(scattered, "user_id", "left").select(
        "user_id", "rate", "clicks_per_query", F.coalesce(col("scattered"), F.lit(0)).alias("positions")
    )
    return engine.keep("bots", flagged.where(col("rate") + col("clicks_per_query") + col("positions") > 0))


def _position_evidence(engine: Engine, results: Frame, suspects: Frame) -> Frame:
    """Return position → evidence (fixed point) of a click there for a user who clicks without examining."""
    col = engine.functions.col
    others = suspects.where(col("rate") + col("clicks_per_query") == 0).select("user_id")
    counts = engine.rows(
        results.join(others, "user_id")
        .groupBy("position")
        .agg(engine.functions.count("*").alias("shown"), engine.total(col("clicked")).alias("clicks"))
    )
    counts.sort(key=lambda row: row["position"])
    shown, clicks = (sum(row[name] for row in counts) for name in ("shown", "clicks"))
    values: dict[str, list[int]] = {"position": [], "evidence": []}
    for row in counts:
        share = (row["clicks"] + 0.5) / (clicks + 0.5 * len(counts))
        values["position"].append(int(row["position"]))
        values["evidence"].append(math.floor(math.log(row["shown"] / shown / share) * SCALE + 0.5))
    return engine.small(
        "position_evidence", pa.table(values, pa.schema([("position", pa.int64()), ("evidence", pa.int64())]))
    )


def count_bots(engine: Engine, shown: Frame, bots: Frame) -> dict[str, Any]:
    """Count users and bots, per rule, and the clicks of each."""
    F = engine.functions  # noqa: N806
    col, total = F.col, engine.total
    by_rule = engine.rows(bots.agg(F.count("*").alias("bots"), *(total(col(rule)).alias(rule) for rule in RULES)))[0]
    users = engine.rows(shown.where(col("position").isNotNull()).agg(F.countDistinct("user_id").alias("users")))[0]
    theirs = engine.rows(
        shown.where(col("position").isNotNull())
        .join(bots.select("user_id"), "user_id")
        .agg(F.count("*").alias("impressions"), total(col("clicked")).alias("clicks"))
    )[0]
    return {
        "users": int(users["users"]),
        "bots": int(by_rule["bots"]),
        "by_rule": {rule: int(by_rule[rule] or 0) for rule in RULES},
        "impressions": int(theirs["impressions"]),
        "clicks": int(theirs["clicks"] or 0),
    }
