"""Parameters of the registration step."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from components.shared.defaults import MODEL_NAME


class RegistrationParameters(BaseModel):
    """The samples stored in a release beside encoder and index, and the name under which it is registered.

    Attributes:
        model_name: MLflow's registered model.
        reference_rows: embeddings of the catalogue stored as the reference for drift, at most.
        golden_pictures: pictures that are checked wherever the release is loaded, at most.
        golden_neighbours: neighbours recorded for each of them.
        golden_max_bytes: size of a golden picture in bytes, at most; larger ones are passed over, or shrunk where
            there are no others.
        threads: threads of the encoder; 0 uses all cores.
        seed: seed of both samples.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model_name: str = Field(default=MODEL_NAME, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")
    reference_rows: int = Field(default=3_000, ge=1, le=100_000)
    golden_pictures: int = Field(default=8, ge=1, le=64)
    golden_neighbours: int = Field(default=10, ge=1, le=100)
    golden_max_bytes: int = Field(default=300_000, ge=10_000, le=5_000_000)
    threads: int = Field(default=0, ge=0, le=256)
    seed: int = Field(default=0, ge=0, lt=2**32)
