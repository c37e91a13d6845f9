"""Embedded colour profiles: a picture stored in another colour space is the picture."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from components.shared.pictures.decoder import decode_image
from support.inputs.encodings import save, smooth_picture

SPACES = {  # primaries x, y of red, green, blue, adapted to D50 as XYZ columns (ICC profiles of the two standards)
    "Display P3": ([[0.51512, 0.24120, -0.00105], [0.29198, 0.69225, 0.04189], [0.15710, 0.06657, 0.78407]], 2.2),
    "Adobe RGB": ([[0.60974, 0.31111, 0.01947], [0.20528, 0.62567, 0.06087], [0.14919, 0.06322, 0.74457]], 563 / 256),
}


def matrix_profile(name: str) -> bytes:
    """An ICC profile, version 2, of three primaries and a gamma."""
    columns, gamma = SPACES[name]

    def xyz(values: list[float]) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(v * 65536)) for v in values)

    text = name.encode() + b"\0"
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    described = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78)
    parts = {b"desc": described, b"cprt": b"text\0\0\0\0none\0", b"wtpt": xyz([0.9642, 1.0, 0.82491])}
    parts |= dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), map(xyz, columns), strict=True))
    parts |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, body, at = struct.pack(">I", len(parts)), b"", 128 + 4 + 12 * len(parts)
    for tag, part in parts.items():
        padded = part + bytes(-len(part) % 4)
        table += tag + struct.pack(">II", at + len(body), len(part))
        body += padded
    head = struct.pack(">I4sI4s4s4s", at + len(body), b"none", 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">iii", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + table + body


def stored_in(name: str) -> Image.Image:
    """The smooth picture, softened so that both spaces hold its colours, in the numbers of another space."""
    soft = Image.fromarray(soft_picture())
    profile = ImageCms.ImageCmsProfile(io.BytesIO(matrix_profile(name)))
    found = ImageCms.profileToProfile(soft, ImageCms.createProfile("sRGB"), profile, outputMode="RGB")
    assert found is not None
    return found


def soft_picture() -> np.ndarray:
    return (smooth_picture() * 0.6 + 50).astype(np.uint8)


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {"quality": 97, "subsampling": 0}),
        ("JPEG", {"quality": 97, "subsampling": 0, "progressive": True}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("AVIF", {"quality": 100, "subsampling": "4:4:4"}),
        ("TIFF", {}),
    ],
)
def test_a_copy_in_another_space_has_the_colours_of_srgb(name, kind, options):
    copy = stored_in(name)
    data = save(copy, kind, icc_profile=matrix_profile(name), **options)
    assert np.abs(np.asarray(copy).astype(int) - soft_picture()).max() > 10  # the numbers alone are other colours
    difference = np.abs(decode_image(data).astype(int) - soft_picture())
    assert difference.mean() <= 1.5
    # AVIF has rounded to 8 bits of YCbCr in the wider space, which the way to sRGB makes larger
    assert np.percentile(difference, 98 if kind == "AVIF" else 99) <= (4 if kind == "AVIF" else 3)


def test_transparency_and_profile_go_together():
    layers = stored_in("Adobe RGB").convert("RGBA")
    layers.putalpha(Image.fromarray((np.indices((120, 160))[0] < 60).astype(np.uint8) * 255))
    found = decode_image(save(layers, "PNG", icc_profile=matrix_profile("Adobe RGB"))).astype(int)
    assert np.abs(found[:60] - soft_picture()[:60]).max() <= 3
    assert (found[60:] >= 254).all()


def test_a_profile_of_srgb_changes_nothing():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = save(Image.fromarray(smooth_picture()), "PNG", icc_profile=profile)
    np.testing.assert_array_equal(decode_image(data), smooth_picture())


@pytest.mark.parametrize(
    "profile",
    [b"x" * 300, b"", matrix_profile("Adobe RGB")[:200], matrix_profile("Adobe RGB").replace(b"RGB XYZ ", b"CMYKXYZ ")],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_profile_that_cannot_be_used_is_passed_over(profile, kind):
    picture = Image.fromarray(soft_picture())
    plain, described = save(picture, kind, quality=95), save(picture, kind, quality=95, icc_profile=profile)
    np.testing.assert_array_equal(decode_image(described), decode_image(plain))
