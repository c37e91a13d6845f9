"""Limits that a picture must meet before it is decoded."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class DecodingLimits(BaseModel):
    """Limits of a picture, checked before it is decoded.

    Attributes:
        max_bytes: size of the encoded file.
        max_pixels: width × height.
        min_side: smallest width and height, pixels.
        max_side: largest width and height, pixels.
        max_aspect: longer side / shorter side.
        max_scans: scans in a JPEG file; a usual progressive one has 10.
        max_scanned_pixels: scans × pixels of a JPEG file, since a decoder visits every pixel once per scan.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_bytes: int = Field(default=32 * 1024 * 1024, ge=1024, le=1024**3)
    max_pixels: int = Field(default=50_000_000, ge=64, le=500_000_000)
    min_side: int = Field(default=8, ge=1, le=1024)
    max_side: int = Field(default=20_000, ge=64, le=65_535)
    max_aspect: float = Field(default=50.0, ge=1.0, le=10_000.0)
    max_scans: int = Field(default=64, ge=1, le=10_000)
    max_scanned_pixels: int = Field(default=750_000_000, ge=64, le=10**12)
