"""What the camera, and what stands in front of it, do to a picture: leaves, stickers, blur, exposure, tone, noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Pixels = NDArray[np.uint8]

COVERS = ("leaves", "edge", "sticker")

_TONES = 4096  # levels of linear light from 0 to 2
_LAYER_SIDE = 128
_SHARP = 0.32  # a blur below this many pixels is none
_GRAIN_MARGIN = 64
_STICKERS = ((0.75, 0.03, 0.04), (0.95, 0.6, 0.03), (0.02, 0.25, 0.55), (0.03, 0.4, 0.12))


@dataclass(frozen=True)
class Lens:
    """What the camera does to the picture.

    Attributes:
        exposure: factor.
        tint: (3,) remaining colour cast.
        contrast: exponent about mid-grey.
        blur: standard deviation, pixels of the final picture.
        motion: length of a shake, pixels.
        noise: standard deviation at mid-grey, of 255.
        vignette: darkening of the corners.
        saturation: factor.
    """

    exposure: float
    tint: tuple[float, float, float]
    contrast: float
    blur: float
    motion: float
    noise: float
    vignette: float
    saturation: float


def cover(picture: Floats, kind: str, rng: np.random.Generator) -> None:
    """Put something in front of everything: one of COVERS.

    Args:
        picture: (side, side, 3) float32 linear RGB, changed in place.
        kind: "leaves" of a plant near the camera, the blurred "edge" of something, or a "sticker".
        rng: decides where and how.
    """
    layer = np.zeros((_LAYER_SIDE, _LAYER_SIDE, 4), np.float32)  # colour times coverage, coverage
    {"leaves": _draw_leaves, "edge": _draw_edge, "sticker": _draw_sticker}[kind](layer, rng)
    blur = {"leaves": rng.uniform(0.8, 2.0), "edge": rng.uniform(2, 5), "sticker": 0.4}[kind]
    blurred = cv2.GaussianBlur(layer, (0, 0), float(blur))
    planes = cv2.split(cv2.resize(blurred, picture.shape[:2], interpolation=cv2.INTER_LINEAR))
    free = 1 - np.asarray(planes[3])
    picture *= cv2.merge([free, free, free])
    picture += cv2.merge(planes[:3])


def _draw_leaves(layer: Floats, rng: np.random.Generator) -> None:
    side = layer.shape[0]
    corner = rng.integers(0, 2, 2) * side
    inward = float(np.rad2deg(np.arctan2(side / 2 - corner[1], side / 2 - corner[0])))
    green = np.array([0.05, 0.16, 0.03]) + np.array([0.08, 0.2, 0.06]) * rng.random(3)
    for _ in range(int(rng.integers(3, 7))):
        angle, length = inward + float(rng.normal(0, 28)), float(rng.uniform(22, 42))
        x, y = corner + length * 0.9 * np.array([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))])
        colour = (*(green * rng.uniform(0.6, 1.3)).tolist(), 1.0)
        cv2.ellipse(layer, (int(x), int(y)), (int(length), int(length * 0.24)), angle, 0, 360, colour, -1)


def _draw_edge(layer: Floats, rng: np.random.Generator) -> None:
    side = layer.shape[0]
    colour = (*(rng.uniform(0.05, 0.7, 3) ** 1.5).tolist(), 1.0)
    size = int(rng.integers(12, 28))
    if rng.random() < 0.4:
        cv2.rectangle(layer, (0, side - size), (side, side), colour, -1)
    else:
        x, y = (int(v) for v in rng.integers(0, 2, 2) * side)
        cv2.circle(layer, (x, y), size + 14, colour, -1)


def _draw_sticker(layer: Floats, rng: np.random.Generator) -> None:
    x, y = (int(v) for v in np.where(rng.integers(0, 2, 2) > 0, layer.shape[0] - 24, 24))
    colour, white = (*_STICKERS[int(rng.integers(0, len(_STICKERS)))], 1.0), (0.95, 0.95, 0.95, 1.0)
    cv2.circle(layer, (x, y), 16, colour, -1, cv2.LINE_AA)
    cv2.line(layer, (x - 6, y + 8), (x + 6, y - 8), white, 2, cv2.LINE_AA)
    for spot in ((x - 6, y - 5), (x + 6, y + 5)):
        cv2.circle(layer, spot, 4, white, 2, cv2.LINE_AA)


def develop(picture: Floats, lens: Lens, aspect: float, rng: np.random.Generator) -> Pixels:
    """Turn linear light into pixels: crop, blur, exposure, tone, noise.

    Args:
        picture: (side, side, 3) float32 linear RGB.
        lens: what the camera does.
        aspect: width : height of the result; the longer side is kept.
        rng: decides about the noise.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    side = picture.shape[0]
    width, height = (side, round(side / aspect)) if aspect >= 1 else (round(side * aspect), side)
    top, left = (side - height) // 2, (side - width) // 2
    light = np.ascontiguousarray(picture[top : top + height, left : left + width], np.float32)
    if lens.blur >= _SHARP:
        light = np.asarray(cv2.GaussianBlur(light, (0, 0), lens.blur))
    if lens.motion:
        light = np.asarray(cv2.filter2D(light, -1, _shake(lens.motion, float(rng.uniform(0, np.pi)))))
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
    gain = np.float32(lens.exposure) * (1 - np.float32(lens.vignette / 2) * (x[None] ** 2 + y[:, None] ** 2))
    light *= cv2.merge([gain * np.float32(tint * _TONES / 2) for tint in lens.tint])
    np.minimum(light, _TONES - 1, out=light)
    tone = _tone_curve(lens.contrast).take(light.astype(np.int16))
    mixing = lens.saturation * np.eye(3) + (1 - lens.saturation) * np.array([0.3, 0.59, 0.11])
    tone = np.asarray(cv2.transform(tone, mixing.astype(np.float32)))
    dy, dx = rng.integers(0, _GRAIN_MARGIN, 2)
    tone += _grain(side)[dy : dy + height, dx : dx + width] * np.float32(lens.noise)
    return np.asarray(np.clip(tone, 0, 255).astype(np.uint8))


def _shake(length: float, angle: float) -> Floats:
    """Return the kernel of a short movement of the camera."""
    size = int(length) | 1
    kernel = np.zeros((size, size), np.float32)
    x, y = (round(size // 2 * value) for value in (np.cos(angle), np.sin(angle)))
    middle = size // 2
    cv2.line(kernel, (middle - x, middle - y), (middle + x, middle + y), 1.0)
    return np.asarray(kernel / kernel.sum())


def _tone_curve(contrast: float) -> Floats:
    """Return the pixel value for each of _TONES levels of linear light from 0 to 2: roll-off, gamma, contrast."""
    light = np.linspace(0, 2, _TONES)
    light = light / (1 + np.maximum(light - 0.75, 0) * 0.9)
    tone = np.clip(light, 0, 1) ** (1 / 2.2)
    return np.asarray((0.5 + (tone - 0.5) * contrast) * 255, np.float32)


@lru_cache(maxsize=4)
def _grain(side: int) -> Floats:
    """Return noise of unit variance, partly common to the channels, from which every photograph cuts its own."""
    noise = np.random.default_rng(41).standard_normal((side + _GRAIN_MARGIN, side + _GRAIN_MARGIN, 3), np.float32)
    return np.asarray(noise + noise.mean(-1, keepdims=True))
