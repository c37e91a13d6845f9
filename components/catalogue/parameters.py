"""Parameters of the catalogue step."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from components.shared.pictures.limits import DecodingLimits


class CatalogueParameters(BaseModel):
    """How pictures become a catalogue.

    Attributes:
        seed: seed of the split; the same seed gives every item the same split in every catalogue.
        validation_share: share of the items held out to steer training, where no split is given.
        test_share: share of the items held out to measure, where no split is given.
        duplicate_distance: near-duplicates differ in at most this number of 256 fingerprint bits (and have similar colours).
            Measured on 3,781 photographs: 40 finds every re-encoded, resized, brightened or noisy copy and 92 % of
            those cropped by 2 %, with no false pair in 7.1 million; 0 leaves nearly only identical pictures.
        limits: limits of one picture; pictures beyond them are quarantined.
        timeout_seconds: limit of processor time per picture; a slower one is quarantined.
        workers: processes that read and decode; 0: one per processor. Does not change the result.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    validation_share: float = Field(default=0.15, ge=0.0, le=0.8)
    test_share: float = Field(default=0.15, ge=0.0, le=0.8)
    duplicate_distance: int = Field(default=40, ge=0, le=64)
    limits: DecodingLimits = DecodingLimits()
    timeout_seconds: float = Field(default=10.0, ge=0.1, le=600.0)
    workers: int = Field(default=0, ge=0, le=256)

    @model_validator(mode="after")
    def _leave_something_to_train(self) -> Self:
        if self.validation_share + self.test_share > 0.9:
            raise ValueError("validation_share + test_share must be at most 0.9, so that something is left to train on")
        return self
