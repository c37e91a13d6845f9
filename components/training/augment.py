"""SimCLR-style augmentation of one picture by OpenCV: one warp, one colour matrix, and seldom a blur or a covered part.

Crop, rotation, mirroring and the reduction to the training side are a single `warpAffine`; brightness, contrast,
saturation, hue and the loss of colour are a single 3 × 4 matrix. Both release the interpreter's lock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from components.shared.pictures.preprocessing import Pixels
from components.training.parameters import TrainingParameters

Draws = NDArray[np.float32]

DRAWS = 20  # random numbers of one view
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]], np.float64)
_RGB = np.linalg.inv(_YIQ)
_ASPECT = float(np.log(4 / 3))
_HALVE_FROM = float(np.sqrt(2.0))


@dataclass(frozen=True)
class Augmentation:
    """How far a view may be from its picture. See `TrainingParameters` for the meaning and range of each field.

    Source:
        SimCLR, arXiv:2002.05709, appendix A (which changes, and their order of importance).
    """

    side: int
    pad_level: int = 255
    crop_area: float = 0.3
    rotation_degrees: float = 10.0
    flip: float = 0.5
    colour: float = 0.4
    hue: float = 0.05
    grey: float = 0.1
    blur: float = 0.1
    erase: float = 0.2

    @classmethod
    def of(cls, parameters: TrainingParameters, *, side: int) -> Augmentation:
        """Take the fields of the same name from the parameters.

        Args:
            parameters: the dials.
            side: pixels per side of the views.
        """
        names = ("pad_level", "crop_area", "rotation_degrees", "flip", "colour", "hue", "grey", "blur", "erase")
        return cls(side=side, **{name: getattr(parameters, name) for name in names})


def draw(seed: int, epoch: int, step: int, views: int) -> Draws:
    """Return the (views, DRAWS) float32 random numbers in [0, 1) of one batch; equal arguments give equal numbers."""
    return np.random.default_rng((seed, epoch, step, 0xA6)).random((views, DRAWS), np.float32)


def augment(picture: Pixels, draws: Draws, augmentation: Augmentation) -> Pixels:
    """Return a random view of a picture.

    Args:
        picture: (h, w, 3) uint8 RGB.
        draws: (DRAWS,) float32 in [0, 1); they alone decide what happens.
        augmentation: how far to go.

    Returns:
        (side, side, 3) uint8 RGB.
    """
    numbers: list[float] = draws.tolist()
    view = _warp(picture, numbers, augmentation)
    view = _recolour(view, numbers, augmentation)
    if numbers[14] < augmentation.blur:
        sigma = (0.1 + 1.9 * numbers[15]) * augmentation.side / 224 * 1.5
        view = cast(Pixels, cv2.GaussianBlur(view, (0, 0), max(sigma, 0.2)))
    if numbers[16] < augmentation.erase:
        _cover(view, numbers)
    return view


def _warp(picture: Pixels, numbers: list[float], augmentation: Augmentation) -> Pixels:
    height, width = picture.shape[:2]
    area = augmentation.crop_area + (1 - augmentation.crop_area) * numbers[0]
    stretch = np.exp(_ASPECT * (numbers[1] - 0.5))  # √aspect, aspect between 3/4 and 4/3
    crop_width = min(width, width * np.sqrt(area) * stretch)
    crop_height = min(height, height * np.sqrt(area) / stretch)
    x = crop_width / 2 + (width - crop_width) * numbers[2] - 0.5
    y = crop_height / 2 + (height - crop_height) * numbers[3] - 0.5
    if min(crop_width, crop_height) >= _HALVE_FROM * augmentation.side:  # or the warp would skip pixels: aliasing
        picture = cast(Pixels, cv2.resize(picture, (width // 2, height // 2), interpolation=cv2.INTER_AREA))
        crop_width, crop_height, x, y = crop_width / 2, crop_height / 2, x / 2 - 0.25, y / 2 - 0.25
    angle = np.deg2rad(augmentation.rotation_degrees) * (2 * numbers[4] - 1)
    across = crop_width / augmentation.side * (-1 if numbers[5] < augmentation.flip else 1)
    down = crop_height / augmentation.side
    cosine, sine = np.cos(angle), np.sin(angle)
    matrix = np.array([[cosine * across, -sine * down, x], [sine * across, cosine * down, y]])
    matrix[:, 2] -= matrix[:, :2].sum(1) * (augmentation.side - 1) / 2
    warped = cv2.warpAffine(
        picture,
        matrix,
        (augmentation.side, augmentation.side),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(augmentation.pad_level,) * 3,
    )
    return cast(Pixels, warped)


def _recolour(view: Pixels, numbers: list[float], augmentation: Augmentation) -> Pixels:
    brightness, contrast, saturation = (1 + augmentation.colour * (2 * numbers[k] - 1) for k in (6, 7, 8))
    if numbers[10] < augmentation.grey:
        saturation = 0.0
    angle = 2 * np.pi * augmentation.hue * (2 * numbers[9] - 1)
    cosine, sine = np.cos(angle), np.sin(angle)
    matrix = (
        _RGB
        @ np.array(
            [[1, 0, 0], [0, saturation * cosine, -saturation * sine], [0, saturation * sine, saturation * cosine]]
        )
        @ _YIQ
    )
    level = float(np.dot(cv2.mean(view)[:3], _LUMA))
    affine = np.empty((3, 4))
    affine[:, :3] = brightness * contrast * matrix
    affine[:, 3] = brightness * (1 - contrast) * level
    return cast(Pixels, cv2.transform(view, affine))


def _cover(view: Pixels, numbers: list[float]) -> None:
    side = view.shape[0]
    width, height = (int(side * (0.15 + 0.35 * numbers[k])) for k in (17, 18))
    left, top = int((side - width) * numbers[19]), int((side - height) * numbers[13])
    view[top : top + height, left : left + width] = tuple(int(256 * numbers[k]) for k in (11, 12, 15))
