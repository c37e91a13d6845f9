"""Preprocessing of a decoded picture for the encoder: one implementation for training, indexing and serving."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Pixels = NDArray[np.uint8]

ENCODER_SIDE = 224


class PreprocessingSpec(BaseModel):
    """How a picture is made square; stored in the release and part of its space.

    Attributes:
        side: height and width of the result, pixels. An encoder may reduce it further inside its graph.
        fit: "pad" keeps the whole picture and its proportions on a square of `pad_level`; "crop" keeps the centre;
            "stretch" keeps the whole picture and gives up its proportions.
        pad_level: grey level of the padding, 0–255.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    side: int = Field(default=ENCODER_SIDE, ge=32, le=1024)
    fit: Literal["pad", "crop", "stretch"] = "pad"
    pad_level: int = Field(default=255, ge=0, le=255)


def preprocess(picture: Pixels, spec: PreprocessingSpec) -> Pixels:
    """Turn a picture into the square that an encoder takes.

    Args:
        picture: (h, w, 3) uint8 RGB, decoded.
        spec: size and method.

    Returns:
        (spec.side, spec.side, 3) uint8 RGB, contiguous. Shrinking averages areas (no aliasing), growing is bilinear.
    """
    height, width = picture.shape[:2]
    if spec.fit == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        picture = picture[top : top + side, left : left + side]
        target = (spec.side, spec.side)
    elif spec.fit == "stretch":
        target = (spec.side, spec.side)
    else:
        scale = spec.side / max(height, width)
        target = (max(1, round(width * scale)), max(1, round(height * scale)))
    resized = resize(picture, target)
    if resized.shape[:2] == (spec.side, spec.side):
        return np.ascontiguousarray(resized)
    canvas = np.full((spec.side, spec.side, 3), spec.pad_level, np.uint8)
    top, left = (spec.side - resized.shape[0]) // 2, (spec.side - resized.shape[1]) // 2
    canvas[top : top + resized.shape[0], left : left + resized.shape[1]] = resized
    return canvas


def resize(picture: Pixels, size: tuple[int, int]) -> Pixels:
    """Resize to (width, height) without aliasing: area averaging to shrink, bilinear interpolation to grow."""
    height, width = picture.shape[:2]
    if (width, height) == size:
        return picture
    shrinks = size[0] <= width and size[1] <= height
    resized = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8)
