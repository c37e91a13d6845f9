"""Parameters of the embedding step."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class EmbeddingParameters(BaseModel):
    """How to embed a catalogue. None of them changes a vector by more than rounding."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shard_images: int = Field(
        default=4_096, ge=1, le=1_000_000, description="Images per shard; a shard is written as a whole or not at all."
    )
    batch_images: int = Field(default=16, ge=1, le=1_024, description="Images per batch of the encoder.")
    workers: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Threads that run the encoder, each on its own batch; 0: one for every core.",
    )
    readers: int = Field(
        default=0,
        ge=0,
        le=1_024,
        description="Threads that fetch and decode images; 0: one for every core, eight for images in an object store.",
    )
    max_failed_share: float = Field(
        default=0.5, ge=0.0, le=1.0, description="The step stops if a larger share of the images fails."
    )
