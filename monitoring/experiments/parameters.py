"""Parameters of an experiment. Fixed before it starts; changed afterwards, its promises are void."""

from __future__ import annotations

import datetime
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from monitoring.online.parameters import OnlineParameters

MetricName = Literal[
    "click_through_per_query",
    "click_through_per_user",
    "click_through_per_impression",
    "corrected_click_through",
    "clicks_at_k",
    "click_mrr",
    "seconds_to_click",
    "dwell_seconds",
]
GuardrailName = Literal["errors", "slow", "zero_results"]


class Guardrail(BaseModel):
    """A rate of the servers that the challenger may not worsen.

    Attributes:
        name: name of the counter.
        margin: allowed excess of the challenger's rate; if a one-sided sequence shows more, it is rolled back.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: GuardrailName
    margin: float = Field(default=0.0, ge=0, lt=1)


class ExperimentParameters(BaseModel):
    """Parameters of an A/B test.

    Attributes:
        control: the arm that is there.
        treatment: the arm that may replace it.
        treatment_share: share of users that the treatment should have (for the sample-ratio test).
        start: beginning; earlier events serve as the covariate of CUPED. None: the first event.
        until: end of the period; None: the latest event.
        metric: the one metric that decides.
        cuped: adjust by what the users did before, where there are events from before.
        minimum_lift: the smallest relative improvement worth having; tunes the intervals and the forecast.
        alpha: probability that the metric's interval ever misses the truth, over all looks together.
        guardrail_alpha: probability that any guardrail ever alarms without reason, over all guardrails and looks.
        sample_ratio_alpha: probability that the sample-ratio test ever alarms without reason.
        power: share of real improvements of `minimum_lift` that the plan wants found.
        minimum_users: users that each arm needs before its figures are examined.
        minimum_clicks: searches with a click that each arm needs before its figures are examined.
        minimum_windows: windows of counters that each arm needs before guardrails are examined.
        minimum_requests: requests of the treatment that guardrails need.
        look_hours: time between two looks.
        minimum_days: no promotion earlier: a week has weekends.
        maximum_days: after it, no more waiting.
        not_worse_margin: if set, a treatment that is shown to lose less than this share is promoted at the end, though
            not shown to be better.
        guardrails: rates that must not get worse.
        online: how events become searches.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    control: str = "champion"
    treatment: str = "challenger"
    treatment_share: float = Field(default=0.5, gt=0, lt=1)
    start: AwareDatetime | None = None
    until: AwareDatetime | None = None
    metric: MetricName = "click_through_per_query"
    cuped: bool = True
    minimum_lift: float = Field(default=0.05, gt=0, le=10)
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    guardrail_alpha: float = Field(default=0.05, gt=0, lt=0.5)
    sample_ratio_alpha: float = Field(default=0.001, gt=0, lt=0.5)
    power: float = Field(default=0.8, gt=0.5, lt=1)
    minimum_users: int = Field(default=200, ge=2)
    minimum_clicks: int = Field(default=50, ge=1)
    minimum_windows: int = Field(default=10, ge=2)
    minimum_requests: int = Field(default=50, ge=1)
    look_hours: float = Field(default=24.0, gt=0)
    minimum_days: float = Field(default=0.0, ge=0)
    maximum_days: float = Field(default=28.0, gt=0)
    not_worse_margin: float | None = Field(default=None, gt=0, lt=1)
    guardrails: tuple[Guardrail, ...] = (
        Guardrail(name="errors"),
        Guardrail(name="slow"),
        Guardrail(name="zero_results"),
    )
    online: OnlineParameters = OnlineParameters()

    @model_validator(mode="after")
    def _make_sense(self) -> ExperimentParameters:
        if self.control == self.treatment:
            raise ValueError("control and treatment are the same arm; name two")
        if self.start is not None and self.until is not None and self.start >= self.until:
            raise ValueError("start is not before until; give an earlier start")
        if len({guardrail.name for guardrail in self.guardrails}) < len(self.guardrails):
            raise ValueError("a guardrail occurs twice; leave one out")
        return self

    @property
    def look(self) -> datetime.timedelta:
        """Time between two looks."""
        return datetime.timedelta(hours=self.look_hours)
