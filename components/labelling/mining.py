"""Click mining: from a log to pairs of images that users find similar."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.labelling import attraction, bots, click_log, preferences
from components.labelling.attraction import BetaPrior
from components.labelling.click_log import ClickLog
from components.labelling.engine import Column, Engine, Frame
from components.labelling.judgements import UNKNOWN_EXAMPLES
from components.labelling.parameters import LabellingParameters
from components.labelling.propensities import Propensities, estimate_propensities
from components.shared.errors import SourceError
from components.shared.files.ids import find_id
from components.shared.files.progress import progress_bar

SIGNALS = ("attraction", "preference", "together")

MINED = pa.schema(
    [
        ("query_image_id", pa.string()),
        ("image_id", pa.string()),
        ("value", pa.float64()),  # lower bound of the attraction
        *((signal, pa.int64()) for signal in SIGNALS),  # 1: this signal supports the pair
    ]
)


@dataclass(frozen=True)
class MinedClicks:
    """The results of mining a click log.

    Attributes:
        pairs: MINED, sorted by images; both images are in the catalogue and trainable.
        propensities: propensities of the positions.
        bots: ids of users classed as bots.
        cells: counts of genuine results per query image, image and position, in the engine.
        shown: all results shown, bots included, in the engine.
        spec: counts for `labels.json`.
    """

    pairs: pa.Table
    propensities: Propensities
    prior: BetaPrior
    bots: list[str]
    cells: Frame
    shown: Frame
    spec: dict[str, Any] = field(default_factory=dict)


def mine_clicks(engine: Engine, log: ClickLog, images: pa.Table, parameters: LabellingParameters) -> MinedClicks:
    """Mine a log.

    Each of three signals makes a pair, from at least `minimum_clicks` clicks of several users:
    attraction: the lower bound of the posterior attraction of an image for a query exceeds the average attraction.
    preference: the image is clicked over skipped ones more often than skipped over clicked ones, and its attraction is
        above average, though not credibly so.
    together: of two images shown in the same query, one is clicked more often than average if the other was clicked.

    Args:
        engine: engine that runs the queries.
        log: output of `open_click_log`.
        images: image_id, item_id, category, duplicate_group, trainable (0 or 1).
        parameters: limits and thresholds.
    """
    with progress_bar(range(6), "mining clicks", unit="stage") as bar:
        shown, counts, unknown = _read(engine, log, set(images.column("image_id").to_pylist()), parameters)
        bar.update()
        robots = bots.find_bots(engine, shown, parameters)
        robot_counts = bots.count_bots(engine, shown, robots)
        bar.update()
        catalogue = engine.small("images", images)
        genuine = engine.keep("genuine", attraction.genuine_results(engine, shown, robots))
        cells = engine.keep("cells", attraction.result_cells(engine, genuine, catalogue))
        bar.update()
        propensities = estimate_propensities(
            engine, cells.where(engine.functions.col("relation") != "self"), parameters
        )
        looks = attraction.propensity_table(engine, propensities, parameters.propensity_floor)
        bar.update()
        rates = engine.keep("rates", attraction.attraction_rates(engine, cells, looks, parameters))
        prior = attraction.fit_prior(engine, rates)
        bar.update()
        wins = engine.keep("wins", preferences.clicked_over_skipped(engine, genuine))
        beside = engine.keep("beside", preferences.clicked_together(engine, genuine, looks, prior, parameters))
        alone = engine.cut(_attractive(engine, rates, wins, prior, parameters))
        pairs = _union(engine, alone, engine.cut(_together(engine, beside, catalogue, prior, parameters)))
        bar.update()
    spec = {
        "files": len(log.files),
        **{name: counts[name] for name in ("events", "impressions", "clicks", "short_clicks")},
        "dropped": _dropped(engine, counts, robot_counts, shown, cells),
        **({"unknown_examples": unknown} if unknown else {}),
        "bots": robot_counts,
        "propensities": propensities.spec(),
        "prior": attraction.prior_spec(prior),
        "mined": {"pairs": pairs.num_rows, **{name: sum(pairs.column(name).to_pylist()) for name in SIGNALS}},
        "warnings": propensities.warnings,
    }
    users = sorted(row["user_id"] for row in engine.rows(robots.select("user_id")))
    return MinedClicks(pairs, propensities, prior, users, cells, shown, spec)


def _read(
    engine: Engine, log: ClickLog, known: set[str], parameters: LabellingParameters
) -> tuple[Frame, dict[str, int], list[str]]:
    """Return the results shown, the counts, and a few ids that match no image. Images may also be named by their path."""
    try:
        events = click_log.read_events(engine, log)
        shown = engine.keep("shown", click_log.shown_results(engine, events, parameters))
        foreign = click_log.foreign_ids(engine, shown, known)
        found = {written: image_id for written in foreign if (image_id := find_id(written, known)) is not None}
        if found:
            events = click_log.with_ids(engine, events, found)
            shown = engine.keep("shown_by_id", click_log.shown_results(engine, events, parameters))
        unknown = [written for written in foreign if written not in found]
        return shown, click_log.count_events(engine, events, shown, parameters), unknown[:UNKNOWN_EXAMPLES]
    except engine.damages as error:
        name = click_log.damaged_file(log) or log.uri
        raise SourceError(
            f"{name} cannot be read to its end ({str(error).strip().splitlines()[0]}): it is damaged; copy it again, or "
            "remove it, and run labelling again",
            source=name,
        ) from error


def _enough(engine: Engine, parameters: LabellingParameters) -> Column:
    col = engine.functions.col
    enough = col("clicks") >= parameters.minimum_clicks
    return enough & (col("first_user") != col("last_user")) if parameters.several_users else enough


def _attractive(engine: Engine, rates: Frame, wins: Frame, prior: BetaPrior, parameters: LabellingParameters) -> Frame:
    F = engine.functions  # noqa: N806
    col, when = F.col, F.when
    bar = prior.mean * parameters.attraction_lift
    mean, lower = prior.posterior(engine, col("trials") * col("rate"), col("trials"), parameters.credibility_z)
    _, preferred = BetaPrior(1.0, 1.0).posterior(
        engine,
        col("wins").cast("double"),
        (col("wins") + col("losses")).cast("double"),
        parameters.credibility_z,
    )
    compared = wins.select("query_image_id", "image_id", preferred.alias("preferred"))
    scored = (
        rates.where((col("trainable") == 1) & _enough(engine, parameters))
        .select("query_image_id", "image_id", mean.alias("mean"), lower.alias("lower"))
        .join(compared, ["query_image_id", "image_id"], "left")
        .select("query_image_id", "image_id", "mean", "lower", F.coalesce("preferred", F.lit(0.0)).alias("preferred"))
    )
    return scored.select(
        "query_image_id",
        "image_id",
        F.greatest(col("lower"), F.lit(0.05 * prior.mean)).alias("value"),
        when(col("lower") > bar, 1).otherwise(0).alias("attraction"),
        when((col("preferred") > 0.5) & (col("mean") > bar), 1).otherwise(0).alias("preference"),
        F.lit(0).alias("together"),
    ).where(col("attraction") + col("preference") > 0)


def _together(
    engine: Engine, together: Frame, catalogue: Frame, prior: BetaPrior, parameters: LabellingParameters
) -> Frame:
    F = engine.functions  # noqa: N806
    col = F.col
    trainable = catalogue.where(col("trainable") == 1)
    one = trainable.select(col("image_id").alias("query_image_id"), col("duplicate_group").alias("one_group"))
    other = trainable.select("image_id", col("duplicate_group").alias("other_group"))
    return (
        together.where(_enough(engine, parameters) & (col("lower") > prior.mean * parameters.attraction_lift))
        .join(one, "query_image_id")
        .join(other, "image_id")
        .where(col("one_group") != col("other_group"))
        .select(
            "query_image_id",
            "image_id",
            col("lower").alias("value"),
            F.lit(0).alias("attraction"),
            F.lit(0).alias("preference"),
            F.lit(1).alias("together"),
        )
    )


def _union(engine: Engine, alone: Frame, together: Frame) -> pa.Table:
    F = engine.functions  # noqa: N806
    merged = (
        alone.unionAll(together)
        .groupBy("query_image_id", "image_id")
        .agg(F.max("value").alias("value"), *(F.max(signal).cast("bigint").alias(signal) for signal in SIGNALS))
    )
    engine.keep("mined", merged)
    table = pq.read_table(engine.scratch / "mined.parquet").select(MINED.names).cast(MINED)
    return table.sort_by([("query_image_id", "ascending"), ("image_id", "ascending")]).combine_chunks()


def _dropped(
    engine: Engine, counts: dict[str, int], robots: dict[str, Any], shown: Frame, cells: Frame
) -> dict[str, int]:
    """Count the events left out, per reason; clicks on the query itself include those on its near-duplicates."""
    F = engine.functions  # noqa: N806
    col, when, total = F.col, F.when, engine.total
    itself = col("position").isNotNull() & (col("query_image_id") == col("image_id"))
    same = engine.rows(shown.where(itself).agg(total(col("clicked")).alias("clicks")))[0]["clicks"] or 0
    by_relation = engine.rows(
        cells.agg(
            total(when(col("relation") == "self", col("c")).otherwise(0)).alias("near"),
            total(
                when((col("relation") == "unknown") & col("query_image_id").isNotNull(), col("c")).otherwise(0)
            ).alias("unknown"),
            total(when(col("query_image_id").isNull(), col("c")).otherwise(0)).alias("uploaded"),
        )
    )[0]
    names = ("incomplete", "unknown_type", "position_below_1", "too_deep", "repeated", "without_impression")
    return {
        **{name: counts[name] for name in names},
        "bot_clicks": robots["clicks"],
        "self_clicks": int(same) + int(by_relation["near"] or 0),
        "clicks_on_unknown_images": int(by_relation["unknown"] or 0),
        "clicks_for_uploaded_pictures": int(by_relation["uploaded"] or 0),
    }
