"""Descriptions without learning."""

from __future__ import annotations

import colorsys

import numpy as np

from components.evaluation.baselines import centred_pixels, colour_histogram
from support.factories.basics import make_picture

PICTURES = np.stack([make_picture(seed, size=(64, 64)) for seed in range(6)])


def test_rows_are_unit_vectors():
    for describe, length in ((colour_histogram, 512), (centred_pixels, 768)):
        vectors = describe(PICTURES)
        assert vectors.dtype == np.float32
        assert vectors.shape == (6, length)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_histogram_equals_counting_by_hand():
    picture = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [0, 0, 255]]], np.uint8)
    expected = np.zeros((8, 8, 8))
    for r, g, b in picture.reshape(-1, 3) / 255:
        hue, saturation, value = colorsys.rgb_to_hsv(r, g, b)
        expected[int(hue * 8), min(7, int(saturation * 8)), min(7, int(value * 8))] += 1
    np.testing.assert_allclose(colour_histogram(picture[None])[0], np.sqrt(expected.ravel() / 4), atol=1e-6)


def test_histogram_knows_no_places_and_pixels_know_no_brightness():
    np.testing.assert_allclose(colour_histogram(PICTURES), colour_histogram(PICTURES[:, ::-1]), atol=1e-6)
    brighter = (PICTURES // 2 + 100).astype(np.uint8)
    assert (np.einsum("nd,nd->n", centred_pixels(PICTURES), centred_pixels(brighter)) > 0.99).all()


def test_a_picture_of_one_colour_has_no_pixels_to_compare():
    assert not centred_pixels(np.full((1, 64, 64, 3), 77, np.uint8)).any()
