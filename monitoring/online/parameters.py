"""Parameters of the online metrics."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class OnlineParameters(BaseModel):
    """Parameters of the online metrics.

    Attributes:
        k: depth of clicks@k.
        deepest_position: results shown below this position are left out.
        bot_queries_per_minute: a user with more queries within one minute of the clock is a bot.
        bot_clicks_per_query: a user with more clicks per query on average is a bot …
        bot_minimum_queries: … after at least this number of queries.
        bot_minimum_clicks: a user with at least this number of clicks, who never stayed `bot_dwell_ms` after one, is a bot.
        bot_dwell_ms: see above; the rule rests where the log holds no dwell at all.
        longest_dwell_ms: longer dwells count as this (winsorised): a tab left open shows no interest.
        longest_seconds_to_click: longer times to the first click count as this.
        propensity_minimum_clicks: clicks on images shown at several positions that a position needs to be estimated.
        propensity_floor: smallest propensity that a click is divided by.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    k: int = Field(default=10, ge=1, le=200)
    deepest_position: int = Field(default=100, ge=1, le=1_000)
    bot_queries_per_minute: int = Field(default=20, ge=1)
    bot_clicks_per_query: float = Field(default=4.0, gt=0)
    bot_minimum_queries: int = Field(default=5, ge=1)
    bot_minimum_clicks: int = Field(default=20, ge=1)
    bot_dwell_ms: int = Field(default=500, ge=0)
    longest_dwell_ms: int = Field(default=300_000, gt=0)
    longest_seconds_to_click: float = Field(default=120.0, gt=0)
    propensity_minimum_clicks: int = Field(default=50, ge=1)
    propensity_floor: float = Field(default=0.02, gt=0, le=1)
