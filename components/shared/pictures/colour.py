"""Embedded colour profiles: from the colours that a file means to sRGB."""

from __future__ import annotations

import functools
import io

import numpy as np
from PIL import Image, ImageCms

_LARGEST_PROFILE = 4 * 1024 * 1024  # bytes; those of presses have 0.5 to 3 million
_SPACES = {"RGB": "RGB", "CMYK": "CMYK", "GRAY": "L"}


def in_srgb(image: Image.Image, profile: object) -> Image.Image:
    """Bring a picture to sRGB by its embedded profile.

    Args:
        image: in a mode without transparency or palette.
        profile: the file's ICC profile. One that is absent, damaged, for another kind of picture, or that of sRGB,
            changes nothing.

    Source: ICC.1:2022; relative colorimetric or perceptual as the profile prefers, through LittleCMS.
    """
    if not isinstance(profile, bytes) or not 128 <= len(profile) <= _LARGEST_PROFILE:
        return image
    mode = _SPACES.get(profile[16:20].decode("latin-1").strip())
    if mode != image.mode:
        return image
    transform = _transform(profile, mode)
    return image if transform is None else transform.apply(image)


@functools.lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        intent = ImageCms.Intent(ImageCms.getDefaultIntent(source))
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB", intent)
        return None if mode == "RGB" and _changes_nothing(transform) else transform
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(len(levels), -1, 3)
    found = np.asarray(transform.apply(Image.fromarray(cube)))
    return bool(np.abs(found.astype(int) - cube).max() <= 1)
