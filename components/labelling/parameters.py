"""Parameters of the labelling step."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from components.shared.truth.clicks import ClickLogLimits


class LabellingParameters(ClickLogLimits):
    """Parameters of the labelling step.

    The defaults of the weights rank the sources by how often they are right: a person who looked (1), the catalogue's
    own item ids (0.8), clicks and categories (0.5), an altered copy of the picture itself (0.3: never wrong, but it
    teaches little). Only their ratios matter.

    Attributes:
        seed: chooses the item and category pairs.
        categories_as_judgements: images of one category count as similar (grade 2), for folders of pictures that
            come without items or judgements.
        private_images: also train on images that are not public. Off: a picture shared with few people should not
            shape, or be recovered from, an encoder that all users share.
        inappropriate_images: also train on images that are not appropriate. Off: they are never shown, so there
            is nothing to gain. Both kinds are still embedded, judged and counted.
        human_weight: weight of a pair that judges agree on with grade 3.
        item_weight: weight of two images of one item.
        click_weight: upper end of the weight of a pair mined from clicks.
        category_weight: weight of two images of one category.
        augmentation_weight: weight of an image and its own altered copy.
        item_pairs_per_image: pairs of one item in which an image is the query, at most.
        category_pairs_per_image: pairs of one category in which an image is the query, at most.
        engine: engine of the click mining: DuckDB in this process, or Spark.
        spark_master: Spark master ("local[2]", "spark://host:7077", "k8s://…") or Spark Connect address ("sc://host").
        memory_gigabytes: memory limit of DuckDB or of a local Spark driver; DuckDB spills beyond it to the workspace.
        threads: threads of DuckDB; 0 takes all cores.
        bot_position_evidence: log-likelihood ratio, in nats, from which a user's clicks count as spread over the
            positions without looking (rule "positions"); a person is classed as a bot with probability below e^−x.
        short_dwell_ms: a click after which the user left sooner, in milliseconds, is discounted.
        short_dwell_weight: weight of such a click.
        propensity_minimum_clicks: clicks on images shown at several positions that a position needs to be estimated
            by intervention harvesting; below, the position-based model fills in.
        propensity_floor: smallest propensity that clicks are divided by (clipping of the inverse propensities).
        credibility_z: standard deviations between posterior mean and lower bound (1.64: 95 % one-sided).
        minimum_clicks: clicks that a mined pair needs.
        several_users: whether these must come from at least two users.
        attraction_lift: how many times the average attraction a mined pair's lower bound must exceed.
        coclick_largest_query: queries with more clicked images give no co-click pairs.
    """

    seed: int = Field(default=0, ge=0, lt=2**31)
    categories_as_judgements: bool = False
    private_images: bool = False
    inappropriate_images: bool = False

    human_weight: float = Field(default=1.0, gt=0, le=10)
    item_weight: float = Field(default=0.8, gt=0, le=10)
    click_weight: float = Field(default=0.5, gt=0, le=10)
    category_weight: float = Field(default=0.5, gt=0, le=10)
    augmentation_weight: float = Field(default=0.3, gt=0, le=10)
    item_pairs_per_image: int = Field(default=4, ge=0, le=100)
    category_pairs_per_image: int = Field(default=4, ge=0, le=100)

    engine: Literal["duckdb", "spark"] = "duckdb"
    spark_master: str = Field(default="local[*]", min_length=1)
    memory_gigabytes: float = Field(default=2.0, ge=0.1, le=4096)
    threads: int = Field(default=0, ge=0, le=1024)

    bot_position_evidence: float = Field(default=10.0, gt=0)
    short_dwell_ms: int = Field(default=1500, ge=0)
    short_dwell_weight: float = Field(default=0.3, ge=0, le=1)
    propensity_minimum_clicks: float = Field(default=50.0, gt=0)
    propensity_floor: float = Field(default=0.05, gt=0, le=1)
    credibility_z: float = Field(default=1.64, ge=0, le=6)
    minimum_clicks: int = Field(default=2, ge=1)
    several_users: bool = True
    attraction_lift: float = Field(default=0.8, gt=0, le=100)
    coclick_largest_query: int = Field(default=20, ge=2, le=1000)
