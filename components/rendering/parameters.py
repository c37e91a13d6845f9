"""Parameters of the rendered shop: its look and its size."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class ClickBehaviour(BaseModel):
    """How simulated users and the simulated production ranker behave; written into `truth.json`.

    A genuine user clicks the result at position p with probability `propensity(p) × attractiveness(grade)`: the
    position-based model, exactly.

    Source: Craswell et al. (2008), An experimental comparison of click position-bias models, section 3.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    results: int = Field(default=10, ge=2, le=50, description="results shown for a search")
    eta: float = Field(
        default=1.0, ge=0, le=3, description="the result at position p is examined with probability p**-eta"
    )
    appeal: tuple[float, float, float, float] = Field(
        default=(0.02, 0.12, 0.45, 0.8), description="probability of a click on an examined result, by true grade 0–3"
    )
    noise: float = Field(
        default=0.02, ge=0, lt=1, description="probability of a click by mistake on an examined result"
    )
    self_appeal: float = Field(
        default=0.6, ge=0, le=1, description="probability of a click on the examined query image"
    )
    self_share: float = Field(default=0.3, ge=0, le=1, description="share of searches whose results include the query")
    swap_share: float = Field(
        default=0.15, ge=0, le=1, description="share of searches with two results exchanged at random"
    )
    ranker_noise: tuple[float, float] = Field(
        default=(0.9, 1.2), description="how far the two arms' rankings stray from the true grades, in grades"
    )
    jitter: float = Field(
        default=0.5, ge=0, le=10, description="how far the scores of one pair vary between searches, in grades"
    )
    upload_share: float = Field(
        default=0.03, ge=0, le=1, description="share of searches whose picture is not in the catalogue"
    )
    bot_share: float = Field(default=0.05, ge=0, le=0.9, description="share of searches that bots make")
    searches_per_user: float = Field(default=8.0, gt=0, description="mean number of searches of a genuine user")
    dwell_share: float = Field(default=0.85, ge=0, le=1, description="share of clicks whose dwell time is reported")
    days: int = Field(default=28, ge=1, le=3650, description="length of the log")

    @model_validator(mode="after")
    def _are_probabilities(self) -> Self:
        if not all(0 <= value <= 1 for value in self.appeal):
            raise ValueError(f"appeal must hold probabilities, got {self.appeal}")
        if not all(value >= 0 for value in self.ranker_noise):
            raise ValueError(f"ranker_noise must not be negative, got {self.ranker_noise}")
        return self


class RenderingParameters(BaseModel):
    """Dials of the rendered shop."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, ge=0, lt=2**31, description="seed of the rendered shop")
    items: int = Field(
        default=360, ge=2, le=100_000, description="products; they are spread evenly over the categories"
    )
    views: int = Field(default=6, ge=1, le=100, description="photographs of a product, near-duplicates not counted")
    side: int = Field(default=256, ge=64, le=1024, description="longer side of a photograph, pixels")
    duplicate_share: float = Field(
        default=0.04, ge=0, le=1, description="near-duplicates added, as a share of the photographs"
    )
    private_share: float = Field(default=0.03, ge=0, le=1, description="share of products that are not public")
    inappropriate_share: float = Field(
        default=0.01, ge=0, le=1, description="share of photographs marked inappropriate"
    )
    judgements: int = Field(default=3000, ge=0, le=10_000_000, description="graded pairs")
    judges: int = Field(default=5, ge=1, le=1000, description="simulated people who grade")
    searches: int = Field(default=20_000, ge=0, le=10_000_000, description="searches in the click log")
    clicks: ClickBehaviour = Field(default=ClickBehaviour(), description="how users and bots click")
    processes: int = Field(default=0, ge=0, le=256, description="processes that render; 0: one for each core")
