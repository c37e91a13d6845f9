"""Preferences between images of one query: clicked over skipped, and clicked together."""

from __future__ import annotations

from components.labelling.attraction import BetaPrior
from components.labelling.engine import SCALE, Engine, Frame
from components.labelling.parameters import LabellingParameters


def clicked_over_skipped(engine: Engine, genuine: Frame) -> Frame:
    """Count how often a result was clicked below skipped ones, and skipped above clicked ones.

    A user who clicked at some position has examined the results above it, so both comparisons are free of position bias:
    per query an image wins once if it was clicked below a skipped one, and loses once if it was skipped above a
    clicked one.

    Returns:
        query_image_id, image_id, wins, losses.

    Source: Joachims (2002), Optimizing search engines using clickthrough data, KDD, section 2.2 ("click > skip above").
    """
    F = engine.functions  # noqa: N806
    col, when = F.col, F.when
    known = genuine.where(col("query_image_id").isNotNull())
    bounds = (
        known.groupBy("query_id")
        .agg(
            F.min(when(col("clicked") == 0, col("position"))).alias("first_skipped"),
            F.max(when(col("clicked") == 1, col("position"))).alias("last_clicked"),
        )
        .where(col("first_skipped").isNotNull() & col("last_clicked").isNotNull())
    )
    looked = known.select("query_id", "query_image_id", "image_id", "position", "clicked").join(bounds, "query_id")
    won = (col("clicked") == 1) & (col("position") > col("first_skipped"))
    lost = (col("clicked") == 0) & (col("position") < col("last_clicked"))
    seen = engine.cut(
        looked.select(
            "query_image_id",
            "image_id",
            when(won, 1).otherwise(0).alias("won"),
            when(lost, 1).otherwise(0).alias("lost"),
        )
    )
    return (
        seen.groupBy("query_image_id", "image_id")
        .agg(
            engine.total(col("won")).alias("wins"),
            engine.total(col("lost")).alias("losses"),
        )
        .where(col("wins") > 0)
    )


def clicked_together(
    engine: Engine, genuine: Frame, propensities: Frame, prior: BetaPrior, parameters: LabellingParameters
) -> Frame:
    """Return pairs of images that were clicked in the same query, with the posterior of their mutual attraction.

    If one image of the pair was clicked, the other, if shown too, had a trial that counts with the propensity of its
    position, and a success if it was clicked as well. A query in which both were clicked therefore counts twice. Queries
    whose picture is not in the catalogue count too.

    Returns:
        query_image_id < image_id (by id), clicks (queries in which both were clicked), lower (bound of the posterior),
        first_user, last_user.
    """
    F = engine.functions  # noqa: N806
    col, total = F.col, engine.total
    clicked = engine.keep("clicked", genuine.where(col("clicked") == 1).select("query_id", "image_id", "user_id"))
    modest = (
        clicked.groupBy("query_id")
        .agg(F.count("*").alias("clicks"))
        .where(col("clicks").between(2, parameters.coclick_largest_query))
        .select("query_id")
    )
    several = engine.cut(clicked.join(modest, "query_id", "left_semi"))
    together = engine.keep(
        "together",
        several.select("query_id", "user_id", col("image_id").alias("one"))
        .join(several.select("query_id", col("image_id").alias("other")), "query_id")
        .where(col("one") < col("other"))
        .groupBy("one", "other")
        .agg(F.count("*").alias("clicks"), F.min("user_id").alias("first_user"), F.max("user_id").alias("last_user"))
        .where(col("clicks") >= parameters.minimum_clicks),
    )
    either_way = together.select("one", "other").unionAll(
        together.select(col("other").alias("one"), col("one").alias("other"))
    )
    shown = genuine.select("query_id", col("image_id").alias("other"), "position")
    trials = engine.cut(
        clicked.select("query_id", col("image_id").alias("one"))
        .join(either_way, "one")
        .join(shown, ["query_id", "other"])
        .join(propensities, "position")
        .select(F.least("one", "other").alias("one"), F.greatest("one", "other").alias("other"), "p")
        .groupBy("one", "other")
        .agg(total(engine.fixed(col("p"))).alias("looks"))
    )
    successes = col("clicks").cast("double") * 2.0
    looks = F.greatest(col("looks").cast("double") / SCALE, successes)
    _, lower = prior.posterior(engine, successes, looks, parameters.credibility_z)
    joined = together.join(trials, ["one", "other"]).select(
        "one", "other", "clicks", "looks", "first_user", "last_user"
    )
    return joined.select(
        col("one").alias("query_image_id"),
        col("other").alias("image_id"),
        "clicks",
        lower.alias("lower"),
        "first_user",
        "last_user",
    )
