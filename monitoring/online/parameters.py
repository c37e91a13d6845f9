"""Parameters of the online metrics."""

from __future__ import annotations

from pydantic import Field

from components.shared.truth.clicks import ClickLogLimits


class OnlineParameters(ClickLogLimits):
    """Parameters of the online metrics.

    Attributes:
        k: depth of clicks@k.
        bot_minimum_clicks: a user with at least this number of clicks, who never stayed `bot_dwell_ms` after one, is a bot.
        bot_dwell_ms: see above; the rule rests where the log holds no dwell at all.
        longest_dwell_ms: longer dwells count as this (winsorised): a tab left open shows no interest.
        longest_seconds_to_click: longer times to the first click count as this.
        propensity_minimum_clicks: clicks on images shown at several positions that a position needs to be estimated.
        propensity_floor: smallest propensity that a click is divided by.
    """

    k: int = Field(default=10, ge=1, le=200)
    bot_minimum_clicks: int = Field(default=20, ge=1)
    bot_dwell_ms: int = Field(default=500, ge=0)
    longest_dwell_ms: int = Field(default=300_000, gt=0)
    longest_seconds_to_click: float = Field(default=120.0, gt=0)
    propensity_minimum_clicks: int = Field(default=50, ge=1)
    propensity_floor: float = Field(default=0.02, gt=0, le=1)
