"""Preprocessing of a decoded picture for the encoder: one implementation for training, indexing and serving."""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

Pixels = NDArray[np.uint8]

LARGEST_SIDE = 518  # for encoders up to a ViT with 37 patches of 14 pixels
Interpolation = Literal["area", "bilinear", "bicubic"]

_ADDED_FIELDS = {"crop": 1.0, "interpolation": "area"}  # with the values that older specs imply
_PILLOW_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class PreprocessingSpec(BaseModel):
    """How a picture is made square; stored in the release and part of its space.

    Attributes:
        side: height and width of the result, pixels: the input size of the encoder's graph.
        fit: "pad" keeps the whole picture and its proportions on a square of `pad_level`; "crop" keeps the centre;
            "stretch" keeps the whole picture and gives up its proportions.
        pad_level: grey level of the padding, 0–255.
        crop: share of the shorter side that the centre square of "crop" keeps.
        interpolation: "area" averages areas when shrinking and is bilinear when growing; "bilinear" and "bicubic" are
            Pillow's filters, which widen when shrinking, as torchvision's and timm's do.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    side: int = Field(default=224, ge=32, le=1024)
    fit: Literal["pad", "crop", "stretch"] = "pad"
    pad_level: int = Field(default=255, ge=0, le=255)
    crop: float = Field(default=1.0, gt=0, le=1)
    interpolation: Interpolation = "area"

    @model_serializer(mode="wrap")
    def _without_added_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out added fields at their defaults, so that earlier releases keep their digests and spaces."""
        fields: dict[str, Any] = handler(self)
        return {name: value for name, value in fields.items() if _ADDED_FIELDS.get(name) != value}


def preprocess(picture: Pixels, spec: PreprocessingSpec) -> Pixels:
    """Turn a decoded picture, (h, w, 3) uint8 RGB, into the square that an encoder takes.

    Returns:
        (spec.side, spec.side, 3) uint8 RGB, contiguous, without aliasing.

    Example:
        >>> preprocess(np.zeros((100, 50, 3), np.uint8), PreprocessingSpec()).shape
        (224, 224, 3)
    """
    height, width = picture.shape[:2]
    if spec.fit == "crop":
        side = max(1, round(spec.crop * min(height, width)))
        top, left = (height - side) // 2, (width - side) // 2
        picture = picture[top : top + side, left : left + side]
        target = (spec.side, spec.side)
    elif spec.fit == "stretch":
        target = (spec.side, spec.side)
    else:
        scale = spec.side / max(height, width)
        target = (max(1, round(width * scale)), max(1, round(height * scale)))
    resized = resize(picture, target, spec.interpolation)
    if resized.shape[:2] == (spec.side, spec.side):
        return np.ascontiguousarray(resized)
    canvas = np.full((spec.side, spec.side, 3), spec.pad_level, np.uint8)
    top, left = (spec.side - resized.shape[0]) // 2, (spec.side - resized.shape[1]) // 2
    canvas[top : top + resized.shape[0], left : left + resized.shape[1]] = resized
    return canvas


def resize(picture: Pixels, size: tuple[int, int], interpolation: Interpolation = "area") -> Pixels:
    """Resize to (width, height) without aliasing; see `PreprocessingSpec.interpolation`."""
    height, width = picture.shape[:2]
    if (width, height) == size:
        return picture
    if interpolation != "area":
        return np.asarray(Image.fromarray(picture).resize(size, _PILLOW_FILTERS[interpolation]), np.uint8)
    shrinks = size[0] <= width and size[1] <= height
    resized = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8)
