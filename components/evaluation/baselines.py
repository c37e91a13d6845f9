"""Baselines without learning: descriptions of a picture that a trained encoder must beat."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from components.shared.pictures.preprocessing import Pixels
from components.shared.vectors.embeddings import Vectors

HISTOGRAM_BINS = 8  # per channel of hue, saturation, value
PIXEL_SIDE = 16


def colour_histogram(pictures: Pixels) -> Vectors:
    """Describe pictures, (b, h, w, 3) uint8 RGB, by their colours: 8 × 8 × 8 bins of hue, saturation and value.

    The square roots of the shares are unit vectors whose inner product is the Bhattacharyya coefficient, so ranking by it
    equals ranking by Hellinger distance.

    Returns:
        (b, 512) float32, rows of unit L2 norm.
    """
    return np.stack([_histogram(picture) for picture in pictures])


def centred_pixels(pictures: Pixels) -> Vectors:
    """Describe pictures by their pixels: 16 × 16 × 3 values minus their mean per channel, scaled to unit norm.

    Returns:
        (b, 768) float32, rows of unit L2 norm; zero for a picture of one colour, whose similarity to others is then 0.
    """
    size = (PIXEL_SIDE, PIXEL_SIDE)
    small = np.stack([cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in pictures]).astype(
        np.float32
    )
    flat = (small - small.mean(axis=(1, 2), keepdims=True)).reshape(len(pictures), -1)
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.where(norms > 1e-3, flat / np.maximum(norms, 1e-3), np.float32(0)).astype(np.float32)


def _histogram(picture: NDArray[np.uint8]) -> Vectors:
    hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)
    ranges = [0, 180, 0, 256, 0, 256]  # OpenCV's hue goes to 180
    counts = cv2.calcHist([hsv], [0, 1, 2], None, [HISTOGRAM_BINS] * 3, ranges).ravel()
    return np.asarray(np.sqrt(counts / counts.sum()), np.float32)
