"""Orientation, in all the ways that files give it, is the one that Pillow's `exif_transpose` applies."""

from __future__ import annotations

import functools
import io
import struct
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from components.shared.pictures.decoder import decode_image, decode_picture
from components.shared.pictures.exif import turn_upright
from support.inputs.encodings import png_chunk, save, smooth_picture

EXIF = b"Exif\x00\x00"
XMP = b"http://ns.adobe.com/xap/1.0/\x00"


def tiff_block(
    order: str = "<", kind: int = 3, count: int = 1, value: int = 6, extra: int = 0, magic: int = 42
) -> bytes:
    """A TIFF block with the orientation; `extra` entries stand before it."""
    packed = struct.pack(order + "HH", value, 0) if kind == 3 else struct.pack(order + "I", value)
    entries = [struct.pack(order + "HHII", 0x100 + i, 3, 1, 0) for i in range(extra)]
    entries.append(struct.pack(order + "HHI", 0x112, kind, count) + packed)
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(order + "HIH", magic, 8, len(entries))
    return head + b"".join(entries) + struct.pack(order + "I", 0)


def rational_block(value: int) -> bytes:
    entry = struct.pack("<HHII", 0x112, 5, 1, 26)
    return b"II*\x00" + struct.pack("<IH", 8, 1) + entry + struct.pack("<III", 0, value, 1)


def xmp_packet(value: object, *, as_element: bool = False) -> bytes:
    inner = (
        f"<rdf:Description><tiff:Orientation>{value}</tiff:Orientation></rdf:Description>"
        if as_element
        else f'<rdf:Description tiff:Orientation="{value}"/>'
    )
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" '
        f'xmlns:tiff="http://ns.adobe.com/tiff/1.0/">{inner}</rdf:RDF></x:xmpmeta>'
    ).encode()


def jpeg(*segments: bytes, mode: str = "RGB", **options: Any) -> bytes:
    data = save(Image.fromarray(smooth_picture()).convert(mode), "JPEG", quality=95, **options)
    framed = [b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment for segment in segments]
    return data[:2] + b"".join(framed) + data[2:]


def png(chunk: bytes, *, behind: bool = False, mode: str = "RGB") -> bytes:
    data = save(Image.fromarray(smooth_picture()).convert(mode), "PNG")
    at = data.index(b"IEND" if behind else b"IDAT") - 4
    return data[:at] + chunk + data[at:]


def legacy_profile(block: bytes, keyword: bytes = b"Raw profile type exif") -> bytes:
    text = b"\nexif\n%8d\n" % len(block) + block.hex().encode() + b"\n"
    return png_chunk(b"zTXt", keyword + b"\0\0" + zlib.compress(text))


def webp(exif: bytes = b"", **options: Any) -> bytes:
    return save(Image.fromarray(smooth_picture()), "WEBP", exif=exif, lossless=True, **options)


@functools.cache
def corpus() -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for value in range(1, 9):
        block = tiff_block(value=value)
        found |= {
            f"jpeg {value}": jpeg(EXIF + block),
            f"jpeg big endian {value}": jpeg(EXIF + tiff_block(">", value=value)),
            f"jpeg LONG {value}": jpeg(EXIF + tiff_block(kind=4, value=value)),
            f"jpeg XMP {value}": jpeg(XMP + xmp_packet(value)),
            f"png {value}": png(png_chunk(b"eXIf", block)),
            f"webp {value}": webp(block),
        }
    for value in (6, 8):
        block = tiff_block(value=value)
        found |= {
            f"jpeg doubled prefix {value}": jpeg(EXIF + EXIF + block),
            f"jpeg prefix padded with FF {value}": jpeg(b"Exif\x00\xff" + block),
            f"jpeg XMP before EXIF {value}": jpeg(XMP + b"<x/>", EXIF + block),
            f"jpeg EXIF and another XMP {value}": jpeg(EXIF + block, XMP + xmp_packet(3)),
            f"jpeg EXIF in two segments {value}": jpeg(EXIF + block[:14], EXIF + block[14:]),
            f"jpeg EXIF without, XMP with {value}": jpeg(EXIF + b"II*\0\x08\0\0\0" + bytes(6), XMP + xmp_packet(value)),
            f"jpeg two EXIF blocks {value}": jpeg(EXIF + tiff_block(value=3), EXIF + block),
            f"jpeg element in XMP {value}": jpeg(XMP + xmp_packet(value, as_element=True)),
            f"jpeg many entries {value}": jpeg(EXIF + tiff_block(value=value, extra=9)),
            f"jpeg RATIONAL {value}": jpeg(EXIF + rational_block(value)),
            f"jpeg BYTE {value}": jpeg(EXIF + tiff_block(kind=1, value=value)),
            f"jpeg signed {value}": jpeg(EXIF + tiff_block(kind=9, value=value)),
            f"jpeg two values {value}": jpeg(EXIF + tiff_block(count=2, value=value)),
            f"jpeg other magic {value}": jpeg(EXIF + tiff_block(value=value, magic=43)),
            f"jpeg progressive {value}": jpeg(EXIF + block, progressive=True),
            f"jpeg grey {value}": jpeg(EXIF + block, mode="L"),
            f"jpeg CMYK {value}": jpeg(EXIF + block, mode="CMYK"),
            f"png behind the pixels {value}": png(png_chunk(b"eXIf", block), behind=True),
            f"png with prefix {value}": png(png_chunk(b"eXIf", EXIF + block)),
            f"png raw profile {value}": png(legacy_profile(EXIF + block)),
            f"png raw profile APP1 {value}": png(legacy_profile(EXIF + block, b"Raw profile type APP1")),
            f"png XMP {value}": png(png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp_packet(value))),
            f"png palette {value}": png(png_chunk(b"eXIf", block), mode="P"),
            f"webp with prefix {value}": webp(EXIF + block),
            f"webp XMP {value}": webp(xmp=xmp_packet(value)),
        }  # fmt: skip
    for value in (0, 9, 99):
        found[f"jpeg no orientation {value}"] = jpeg(EXIF + tiff_block(value=value))
        found[f"png no orientation {value}"] = png(png_chunk(b"eXIf", tiff_block(value=value)))
    found["jpeg without"] = jpeg()
    found["jpeg truncated block"] = jpeg(EXIF + tiff_block()[:12])
    return found


def upright_by_pillow(data: bytes) -> np.ndarray:
    with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def test_the_corpus_is_large_and_turns_pictures():
    assert len(corpus()) >= 60
    assert sum(upright_by_pillow(data).shape[0] > 120 for data in corpus().values()) >= 30


@pytest.mark.parametrize("name", corpus())
def test_orientation_is_that_of_pillow(name):
    data = corpus()[name]
    expected, found = upright_by_pillow(data), decode_picture(data)
    assert found.pixels.shape == expected.shape
    assert np.abs(found.pixels.astype(int) - expected).max() <= 3
    assert (found.height, found.width) == expected.shape[:2]


@given(st.binary(max_size=200), st.sampled_from([b"", b"II*\x00\x08\x00\x00\x00", b"MM\x00*\x00\x00\x00\x08"]))
@settings(max_examples=60, deadline=None)
def test_noise_in_place_of_exif_data_leaves_the_picture(noise, head):
    assert decode_image(jpeg(EXIF + head + noise)).size == smooth_picture().size


@pytest.mark.parametrize("value", range(1, 9))
def test_turning_is_that_of_pillow(value):
    stored = Image.fromarray(smooth_picture())
    stored.getexif()[0x0112] = value
    np.testing.assert_array_equal(turn_upright(smooth_picture(), value), np.asarray(ImageOps.exif_transpose(stored)))
