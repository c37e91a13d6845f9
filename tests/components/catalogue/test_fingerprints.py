"""Fingerprints: copies are close, other pictures are not, and the bits are those of the definition."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from components.catalogue.fingerprints import _ORDER, FINGERPRINT_BYTES, fingerprint_of, hashes_of, look_alike
from support.inputs.photographs import copies_of, make_photograph


def as_array(*prints: bytes | None) -> np.ndarray:
    assert all(found is not None and len(found) == FINGERPRINT_BYTES for found in prints)
    return np.frombuffer(b"".join(found or b"" for found in prints), np.uint8).reshape(len(prints), -1)


def distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.unpackbits(hashes_of(one) ^ hashes_of(other), axis=1).sum(axis=1)


def test_copies_of_a_photograph_are_close_and_look_alike():
    for seed in range(8):
        picture = make_photograph(seed)
        original = as_array(fingerprint_of(picture))
        for name, copy in copies_of(picture).items():
            found = as_array(fingerprint_of(copy))
            assert distances(original, found)[0] <= 40, (seed, name)
            assert look_alike(original, found)[0], (seed, name)
            assert look_alike(found, original)[0], (seed, name)


def test_other_photographs_are_far():
    prints = as_array(*[fingerprint_of(make_photograph(seed)) for seed in range(120)])
    for row in range(1, len(prints)):
        assert distances(prints[:-row], prints[row:]).min() > 60


def test_the_same_shirt_in_another_colour_is_not_a_duplicate():
    """The bits see grey levels only; the second look sees the colour."""
    picture = make_photograph(3)
    hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)
    hsv[:, :, 0] = (hsv[:, :, 0].astype(int) + 60) % 180
    turned = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).astype(np.float64)
    weights = np.array([0.299, 0.587, 0.114])
    turned += (picture @ weights - turned @ weights)[:, :, None]  # the same grey level everywhere
    other = np.clip(turned, 0, 255).astype(np.uint8)
    one, two = as_array(fingerprint_of(picture)), as_array(fingerprint_of(other))
    assert distances(one, two)[0] <= 40
    assert not look_alike(one, two)[0]


def test_the_same_outline_with_other_light_is_not_a_duplicate():
    picture = make_photograph(4)
    darker = picture.copy()
    darker[60:120, 80:160] //= 3
    assert not look_alike(as_array(fingerprint_of(picture)), as_array(fingerprint_of(darker)))[0]


@pytest.mark.parametrize("level", [0, 127, 255])
def test_a_flat_picture_has_no_fingerprint(level):
    picture = np.full((90, 120, 3), level, np.uint8)
    assert fingerprint_of(picture) is None
    picture[0, 0] = 255 - level
    assert fingerprint_of(picture) is None


def test_bits_are_those_of_an_explicit_cosine_transform():
    """DCT-II by its sum, 16 × 16 frequencies without the constant ones, above the median."""
    picture = make_photograph(5, size=(64, 64))
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float64)
    places = np.arange(64)
    waves = np.stack([np.cos(np.pi * (2 * places + 1) * k / 128) for k in range(1, 17)])
    expected = (waves @ grey @ waves.T).reshape(-1)
    bits = np.unpackbits(hashes_of(as_array(fingerprint_of(picture)))[0]).astype(bool)
    wrong = bits != (expected > np.median(expected))[_ORDER]
    assert wrong.sum() <= 2  # float32 against float64 at the median


def test_a_tiny_picture_has_a_fingerprint():
    noise = np.random.default_rng(0).integers(0, 256, (9, 8, 3)).astype(np.uint8)
    assert fingerprint_of(noise) is not None
