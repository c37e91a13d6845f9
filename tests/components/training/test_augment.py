from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional

from components.training.augment import DRAWS, Augmentation, augment, draw
from components.training.parameters import TrainingParameters
from support.factories.basics import make_picture

STILL = Augmentation(side=64, crop_area=1, rotation_degrees=0, flip=0, colour=0, hue=0, grey=0, blur=0, erase=0)
MIDDLE = np.full(DRAWS, 0.5, np.float32)


def picture(side: int = 64) -> np.ndarray:
    return cv2.GaussianBlur(make_picture(3, size=(side, side)), (0, 0), 2)


def with_(**changes: object) -> Augmentation:
    return Augmentation(**{**STILL.__dict__, **changes})


def test_nothing_asked_nothing_changed() -> None:
    assert np.abs(augment(picture(), MIDDLE, STILL).astype(int) - picture()).max() <= 1


def test_shrinks_like_area_averaging_by_two() -> None:
    expected = cv2.resize(picture(128), (64, 64), interpolation=cv2.INTER_AREA)
    assert np.abs(augment(picture(128), MIDDLE, STILL).astype(int) - expected).max() <= 1


def test_mirrors() -> None:
    view = augment(picture(), MIDDLE, with_(flip=1.0))
    assert np.abs(view.astype(int) - picture()[:, ::-1]).max() <= 1


def test_crops_the_part_that_the_numbers_name() -> None:
    draws = MIDDLE.copy()
    draws[[0, 2, 3]] = 0.0  # the smallest area, in the upper left corner
    view = augment(picture(128), draws, with_(crop_area=0.25))
    assert np.abs(view.astype(int) - picture(128)[:64, :64]).max() <= 2


def test_rotates_about_the_middle_and_pads() -> None:
    draws = MIDDLE.copy()
    draws[4] = 1.0
    view = augment(picture(), draws, with_(rotation_degrees=90.0))
    assert np.abs(view.astype(int) - np.rot90(picture(), 1)).max() <= 1 or (
        np.abs(view.astype(int) - np.rot90(picture(), -1)).max() <= 1
    )
    tilted = augment(np.zeros((64, 64, 3), np.uint8), draws, with_(rotation_degrees=45.0, pad_level=200))
    assert (tilted[0, 0] == 200).all()


@pytest.mark.parametrize(
    ("place", "reference"),
    [
        (6, functional.adjust_brightness),
        (7, functional.adjust_contrast),
        (8, functional.adjust_saturation),
    ],
)
@pytest.mark.parametrize("number", [0.0, 1.0])
def test_colour_changes_are_those_of_torchvision(place: int, reference, number: float) -> None:  # type: ignore[no-untyped-def]
    source = (picture().astype(np.float32) * 0.5 + 50).astype(np.uint8)  # nothing saturates on the way
    draws = MIDDLE.copy()
    draws[place] = number
    expected = reference(torch.from_numpy(source).permute(2, 0, 1), 1 + 0.4 * (2 * number - 1)).permute(1, 2, 0).numpy()
    assert np.abs(augment(source, draws, with_(colour=0.4)).astype(int) - expected).max() <= 3


def test_grey_has_no_colour_and_hue_keeps_the_brightness() -> None:
    grey = augment(picture(), MIDDLE, with_(grey=1.0)).astype(int)
    assert np.abs(grey.max(2) - grey.min(2)).max() <= 1
    source = (picture().astype(np.float32) * 0.3 + 90).astype(np.uint8)
    draws = MIDDLE.copy()
    draws[9] = 1.0
    turned = augment(source, draws, with_(hue=0.3))
    before, after = (cv2.cvtColor(p, cv2.COLOR_RGB2GRAY).astype(int) for p in (source, turned))
    assert np.abs(before - after).max() <= 2
    assert np.abs(turned.astype(int) - source).max() > 10


def test_blur_and_erasing_happen_when_asked() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    assert augment(noise, MIDDLE, with_(blur=1.0)).std() < 0.9 * noise.std()
    covered = (augment(noise, MIDDLE, with_(erase=1.0)) != noise).all(2)
    assert 0.02 < covered.mean() < 0.26


def test_views_depend_on_their_numbers_alone() -> None:
    full = Augmentation.of(TrainingParameters(erase=1.0, blur=1.0), side=48)
    draws = draw(1, 2, 3, 6)
    source = picture(200)
    views = [augment(source, numbers, full) for numbers in draws]
    assert all((augment(source, numbers, full) == view).all() for numbers, view in zip(draws, views, strict=True))
    assert all(view.shape == (48, 48, 3) and view.dtype == np.uint8 for view in views)
    assert (draw(1, 2, 3, 6) == draws).all()
    assert all((draw(*other, 6) != draws).any() for other in ((0, 2, 3), (1, 3, 3), (1, 2, 4)))
