"""Statistics of pictures against figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from components.shared.pictures.statistics import picture_statistics


def test_half_black_half_white():
    picture = np.zeros((60, 80, 3), np.uint8)
    picture[:, 40:] = 255
    found = picture_statistics(picture)
    assert found.brightness == pytest.approx(0.5)
    assert found.contrast == pytest.approx(1.0)
    assert found.saturation == 0
    # The Laplacian is ±1 in the two columns at the edge, 0 elsewhere: variance 2/80.
    assert found.sharpness == pytest.approx(2 / 80)


def test_flat_colour():
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[:, :, 0] = 200
    found = picture_statistics(picture)
    assert found.saturation == 1.0
    assert found.contrast == found.sharpness == 0
    assert found.brightness == pytest.approx(0.299 * 200 / 255, abs=0.002)


def test_blurring_lowers_sharpness_and_size_hardly_matters():
    rng = np.random.default_rng(0)
    coarse = np.kron(rng.integers(0, 256, (16, 16, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    large = np.kron(coarse, np.ones((6, 6, 1))).astype(np.uint8)
    assert picture_statistics(large).sharpness == pytest.approx(picture_statistics(coarse).sharpness, rel=0.05)
    blurred = np.asarray((coarse.astype(int) + np.roll(coarse, 3, 1) + np.roll(coarse, 3, 0)) // 3, np.uint8)
    assert picture_statistics(blurred).sharpness < picture_statistics(coarse).sharpness
