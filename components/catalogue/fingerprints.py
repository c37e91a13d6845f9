"""Fingerprints that identify copies of a photograph: re-encoded, resized, brightened or slightly cropped.

A fingerprint has two parts. 256 bits mark the low frequencies of the grey picture that are above their median; copies of a
photograph differ in few bits, other photographs in about 128. An 8 × 8 thumbnail confirms a match: two shirts of one
cut on the same table agree in many bits, but not in light and colour.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from components.shared.pictures.preprocessing import Pixels

Fingerprints = NDArray[np.uint8]

BITS = 256
FINGERPRINT_BYTES = BITS // 8 + 8 * 8 * 3
_HASH_SIDE = 64
_FREQUENCIES = 16
_THUMBNAIL_SIDE = 8
_LEAST_CONTRAST = 2.0  # standard deviation of grey levels, below which the bits would be noise
_MAX_LIGHT_RESIDUAL = 8.0  # grey levels, root mean square, after brightness and contrast are made equal
_MAX_COLOUR_DIFFERENCE = 12  # levels of Cb or Cr
_COLOUR_OUTLIERS = 5  # of 64 cells
# Neighbouring frequencies flip together; this order spreads them over the parts of the hash.
_ORDER = np.random.default_rng(20260101).permutation(BITS)


def fingerprint_of(picture: Pixels) -> bytes | None:
    """Return the 224 bytes of a picture's fingerprint; None for a picture too flat to be distinguished from others.

    Source: the bits follow the PDQ hash (discrete cosine transform of a 64 × 64 picture, 16 × 16 frequencies without
    the constant ones, median), Davis and Rosen, "The TMK+PDQF video-hashing algorithm and the PDQ image-hashing
    algorithm", 2019; without its quality measure and its filter of the picture.

    Args:
        picture: (h, w, 3) uint8 RGB.
    """
    small = cv2.resize(picture, (_HASH_SIDE, _HASH_SIDE), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    if float(grey.std()) < _LEAST_CONTRAST:
        return None
    frequencies = cv2.dct(grey)[1 : _FREQUENCIES + 1, 1 : _FREQUENCIES + 1].reshape(-1)
    bits = np.packbits((frequencies > np.median(frequencies))[_ORDER])
    thumbnail = cv2.resize(small, (_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    return bits.tobytes() + cv2.cvtColor(thumbnail, cv2.COLOR_RGB2YCrCb).tobytes()


def hashes_of(fingerprints: Fingerprints) -> Fingerprints:
    """Return the (n, 32) bits of (n, 224) fingerprints, contiguous."""
    return np.ascontiguousarray(fingerprints[:, : BITS // 8])


def look_alike(one: Fingerprints, other: Fingerprints) -> NDArray[np.bool_]:
    """Whether light and colour agree as well, for pairs whose bits are close.

    Maps two arrays of (p, 224) fingerprints to (p,) bool; the order of the two does not matter.
    """
    first, second = (_thumbnails(values) for values in (one, other))
    colour = np.abs(first[:, :, 1:] - second[:, :, 1:]).max(axis=2)
    cells = np.sort(colour, axis=1)[:, -1 - _COLOUR_OUTLIERS]
    light = _standardised(first[:, :, 0]) - _standardised(second[:, :, 0])
    scale = np.maximum(first[:, :, 0].std(axis=1), second[:, :, 0].std(axis=1))
    residual = np.sqrt(np.mean(light**2, axis=1)) * scale
    agrees: NDArray[np.bool_] = (cells <= _MAX_COLOUR_DIFFERENCE) & (residual <= _MAX_LIGHT_RESIDUAL)
    return agrees


def _thumbnails(fingerprints: Fingerprints) -> NDArray[np.float32]:
    return fingerprints[:, BITS // 8 :].reshape(len(fingerprints), _THUMBNAIL_SIDE**2, 3).astype(np.float32)


def _standardised(light: NDArray[np.float32]) -> NDArray[np.float32]:
    spread = np.maximum(light.std(axis=1, keepdims=True), 1e-6)
    result: NDArray[np.float32] = (light - light.mean(axis=1, keepdims=True)) / spread
    return result
