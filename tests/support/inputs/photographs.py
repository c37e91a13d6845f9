"""Seeded pictures with the spectrum of photographs, and what people do to photographs."""

from __future__ import annotations

import io

import cv2
import numpy as np
from PIL import Image


def make_photograph(seed: int, *, size: tuple[int, int] = (240, 180)) -> np.ndarray:
    """Return an (h, w, 3) uint8 picture: clouds of colour in octaves and a few shapes; another seed, another picture."""
    rng, (width, height) = np.random.default_rng(seed), size
    picture = np.full((height, width, 3), 128.0)
    for cells in (3, 6, 12, 24, 48):
        field = rng.normal(0, 110 / cells**0.7, (cells, cells, 3)).astype(np.float32)
        picture += cv2.resize(field, size, interpolation=cv2.INTER_CUBIC)
    picture = np.ascontiguousarray(np.clip(picture, 0, 255).astype(np.uint8))
    for _ in range(4):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        colour = tuple(int(level) for level in rng.integers(0, 256, 3))
        cv2.circle(picture, centre, int(rng.integers(8, 40)), colour, -1)
    return picture


def recompress(picture: np.ndarray, quality: int) -> np.ndarray:
    """Save as JPEG and read again."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def copies_of(picture: np.ndarray) -> dict[str, np.ndarray]:
    """What is still the same photograph: re-encoded, resized, brightened, noisy, cropped by 1 %."""
    height, width = picture.shape[:2]
    noise = np.random.default_rng(0).normal(0, 6, picture.shape)
    return {
        "quality 75": recompress(picture, 75),
        "quality 30": recompress(picture, 30),
        "half": cv2.resize(picture, (width // 2, height // 2), interpolation=cv2.INTER_AREA),
        "double": cv2.resize(picture, (width * 2, height * 2), interpolation=cv2.INTER_CUBIC),
        "stretched": cv2.resize(picture, (width, width), interpolation=cv2.INTER_AREA),
        "brighter": np.clip(picture * 1.08 + 6, 0, 255).astype(np.uint8),
        "noisy": np.clip(picture + noise, 0, 255).astype(np.uint8),
        "cropped": picture[1:-1, 1:-1].copy(),
    }
