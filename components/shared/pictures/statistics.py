"""A few numbers that describe a picture; they reveal drift of the queries without keeping any picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from components.shared.pictures.preprocessing import resize

_SIDE = 128  # figures are measured at one size, so that sharpness does not depend on resolution


@dataclass(frozen=True)
class PictureStatistics:
    """Figures of one picture, each from 0 to 1 except `sharpness`.

    Attributes:
        brightness: mean of the luma (ITU-R BT.601).
        contrast: standard deviation of the luma, doubled: 1 for half black, half white.
        sharpness: variance of the Laplacian of the luma (0–1), with the longer side scaled to at most 128 pixels; ≥ 0.
        saturation: mean saturation in HSV.
    """

    brightness: float
    contrast: float
    sharpness: float
    saturation: float


def picture_statistics(picture: NDArray[np.uint8]) -> PictureStatistics:
    """Measure a picture, (h, w, 3) uint8 RGB.

    Source: Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy, 2000 (variance of the Laplacian).
    """
    height, width = picture.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))
    small = resize(picture, (max(1, round(width * scale)), max(1, round(height * scale))))
    luma = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    saturation = cv2.cvtColor(small, cv2.COLOR_RGB2HSV)[:, :, 1]
    return PictureStatistics(
        brightness=float(luma.mean()),
        contrast=float(2 * luma.std()),
        sharpness=float(cv2.Laplacian(luma, cv2.CV_32F).var()),
        saturation=float(saturation.mean() / 255),
    )
