"""The part of a click log that counts, for training as for monitoring: how many positions, and which users."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ClickLogLimits(BaseModel):
    """Limits that labelling and monitoring share, so that both class the same users as bots."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    deepest_position: int = Field(
        default=100, ge=1, le=1000, description="Results shown below this position are left out."
    )
    bot_queries_per_minute: int = Field(
        default=20, ge=1, description='A user with more queries within one minute of the clock is a bot (rule "rate").'
    )
    bot_clicks_per_query: float = Field(
        default=4.0,
        gt=0,
        description='A user with more clicks per query on average is a bot (rule "clicks_per_query").',
    )
    bot_minimum_queries: int = Field(
        default=5, ge=1, description='Queries that a user needs before the rule "clicks_per_query" applies.'
    )
