"""How attractive a result is for a query, independent of its position: corrected click rates, shrunk if evidence is thin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from components.labelling.engine import SCALE, Column, Engine, Frame
from components.labelling.parameters import LabellingParameters
from components.labelling.propensities import Propensities


@dataclass(frozen=True)
class BetaPrior:
    """The distribution of attraction among all pairs: Beta(alpha, beta)."""

    alpha: float
    beta: float

    @property
    def mean(self) -> float:
        """Average attraction."""
        return self.alpha / (self.alpha + self.beta)

    def posterior(self, engine: Engine, successes: Column, trials: Column, z: float) -> tuple[Column, Column]:
        """Return the posterior's mean, and mean − z standard deviations, at least 0.

        For a Beta-distributed rate after `successes` in `trials`, which can be fractions. Both grow with the successes
        and, at an equal rate above the prior mean, with the trials.
        """
        a, b = successes + self.alpha, trials - successes + self.beta
        mean = a / (a + b)
        deviation = engine.functions.sqrt(a * b / ((a + b) * (a + b) * (a + b + 1.0)))
        return mean, engine.functions.greatest(mean - deviation * z, engine.functions.lit(0.0))


def genuine_results(engine: Engine, shown: Frame, bots: Frame) -> Frame:
    """Return the results shown to people: without bots, results never shown, and the query image itself."""
    col = engine.functions.col
    other = col("query_image_id").isNull() | (col("query_image_id") != col("image_id"))
    return engine.cut(
        shown.where(col("position").isNotNull() & other).join(bots.select("user_id"), "user_id", "left_anti")
    )


def result_cells(engine: Engine, genuine: Frame, catalogue: Frame) -> Frame:
    """Count by query image, image and position.

    Returns:
        query_image_id (null: not in the catalogue), image_id, position, n (times shown), c (clicks), s (short clicks),
        first_user and last_user (by id, of the users who clicked), relation ("self": a near-duplicate of the query;
        "item", "category", "other", or "unknown" if one is not in the catalogue), trainable (1 if both are trainable, else 0).
    """
    F = engine.functions  # noqa: N806
    col, when, total = F.col, F.when, engine.total
    counted = genuine.groupBy("query_image_id", "image_id", "position").agg(
        F.count("*").alias("n"),
        total(col("clicked")).alias("c"),
        total(col("short")).alias("s"),
        F.min(when(col("clicked") == 1, col("user_id"))).alias("first_user"),
        F.max(when(col("clicked") == 1, col("user_id"))).alias("last_user"),
    )
    query = catalogue.select(
        col("image_id").alias("query_image_id"),
        col("item_id").alias("q_item"),
        col("category").alias("q_category"),
        col("duplicate_group").alias("q_group"),
        col("trainable").alias("q_trainable"),
    )
    relation = (
        when(col("q_group").isNull() | col("duplicate_group").isNull(), "unknown")
        .when(col("q_group") == col("duplicate_group"), "self")
        .when(col("q_item") == col("item_id"), "item")
        .when(col("q_category") == col("category"), "category")
        .otherwise("other")
    )
    return (
        counted.join(catalogue, "image_id", "left")
        .join(query, "query_image_id", "left")
        .select(
            *("query_image_id", "image_id", "position", "n", "c", "s", "first_user", "last_user"),
            relation.alias("relation"),
            F.coalesce(col("trainable") * col("q_trainable"), F.lit(0)).alias("trainable"),
        )
    )


def propensity_table(engine: Engine, propensities: Propensities, floor: float) -> Frame:
    """Pass position → propensity, at least `floor`, to the engine."""
    values = {"position": propensities.positions, "p": [max(value, floor) for value in propensities.values]}
    return engine.small("propensities", pa.table(values, pa.schema([("position", pa.int64()), ("p", pa.float64())])))


def attraction_rates(engine: Engine, cells: Frame, propensities: Frame, parameters: LabellingParameters) -> Frame:
    """Return the inverse-propensity-weighted click rate of each pair and its effective number of trials.

    rate = Σ clicks / p over the times shown (clipped: p is at least the floor; the rate at most 1). The effective number
    of trials is shown² / Σ (1 / p): equal to shown · p at a single position, and smaller if much of the weight comes from
    a few deep positions. Clicks with a short dwell count less.

    Returns:
        query_image_id, image_id, n, clicks, rate, trials, first_user, last_user, trainable.

    Source: Joachims, Swaminathan, Schnabel (2017), Unbiased learning-to-rank with biased feedback, WSDM, sections 4
        and 5 (clipping); Kish (1965), Survey sampling, section 11.7 (effective sample size).
    """
    F = engine.functions  # noqa: N806
    col, total = F.col, engine.total
    good = col("c").cast("double") - col("s").cast("double") * (1.0 - parameters.short_dwell_weight)
    sums = (
        cells.where(col("query_image_id").isNotNull() & ~col("relation").isin("self", "unknown"))
        .join(propensities, "position")
        .groupBy("query_image_id", "image_id")
        .agg(
            total(col("n")).alias("n"),
            total(col("c")).alias("clicks"),
            total(engine.fixed(good / col("p"))).alias("weighted"),
            total(engine.fixed(col("n").cast("double") / col("p"))).alias("spread"),
            F.min("first_user").alias("first_user"),
            F.max("last_user").alias("last_user"),
            F.max("trainable").alias("trainable"),
        )
    )
    n = col("n").cast("double")
    return sums.select(
        *("query_image_id", "image_id", "n", "clicks", "first_user", "last_user", "trainable"),
        F.least(col("weighted").cast("double") / SCALE / n, F.lit(1.0)).alias("rate"),
        (n * n * SCALE / col("spread").cast("double")).alias("trials"),
    )


def fit_prior(engine: Engine, rates: Frame) -> BetaPrior:
    """Fit the prior to all pairs by moments (empirical Bayes).

    Source: Kleinman (1973), Proportions with extraneous variance: single and independent samples, JASA 68, equations
        for mean and variance with weights equal to the numbers of trials.
    """
    F = engine.functions  # noqa: N806
    rate, trials = F.col("rate"), F.col("trials")
    sums = engine.rows(
        rates.agg(
            F.count("*").alias("pairs"),
            engine.fixed_total(trials).alias("trials"),
            engine.fixed_total(trials * rate).alias("successes"),
            engine.fixed_total(trials * rate * rate).alias("squares"),
            engine.fixed_total(trials * trials).alias("trials_squared"),
        )
    )[0]
    return prior_from_moments(**{name: float(value or 0) for name, value in sums.items()})


def prior_from_moments(
    *, pairs: float, trials: float, successes: float, squares: float, trials_squared: float
) -> BetaPrior:
    """Return the Beta prior whose beta-binomial has the given moments.

    Args:
        pairs: number of pairs, k.
        trials: Σ n.
        successes: Σ n · rate.
        squares: Σ n · rate².
        trials_squared: Σ n².

    The strength alpha + beta is limited to 1 … 1000: below, a handful of clicks would decide alone; above, the pairs do
    not differ measurably.
    """
    if trials <= 0:
        return BetaPrior(0.5, 0.5)
    mean = min(max(successes / trials, 1e-4), 1 - 1e-4)
    within = mean * (1 - mean)
    between = squares - trials * mean * mean  # Σ n (rate − mean)²
    room = within * (trials - trials_squared / trials - (pairs - 1))
    correlation = (between - within * (pairs - 1)) / room if room > 0 else 0.0
    strength = min(max(1 / correlation - 1, 1.0), 1000.0) if correlation > 0 else 1000.0
    return BetaPrior(round(mean * strength, 6), round((1 - mean) * strength, 6))


def prior_spec(prior: BetaPrior) -> dict[str, Any]:
    """Return the prior for `labels.json`."""
    return {"alpha": prior.alpha, "beta": prior.beta, "mean": round(prior.mean, 6)}
