"""The decoder: one picture in many encodings, hostile files, and mutants."""

from __future__ import annotations

import functools
import io
import re
import struct
import threading
import time
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from components.shared.errors import BadImageError, ImageTooLargeError
from components.shared.pictures.decoder import decode_image, decode_picture, load_image, read_picture
from components.shared.pictures.exif import turn_upright
from components.shared.pictures.jpeg import read_jpeg_header
from components.shared.pictures.limits import DecodingLimits
from components.shared.pictures.preprocessing import PreprocessingSpec, preprocess
from support.factories.basics import encode_picture, make_picture
from support.inputs.encodings import png_chunk, save, smooth_picture

ORIENTATION = 0x0112


def with_orientation(value: int, kind: str = "JPEG", **options: object) -> bytes:
    """The smooth picture, stored turned, with the tag that turns it back."""
    exif = Image.Exif()
    exif[ORIENTATION] = value
    undo = {2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}.get(value, 1)
    stored = Image.fromarray(turn_upright(smooth_picture(), undo))
    return save(stored, kind, exif=exif.tobytes(), **options)


def with_exif(body: bytes) -> bytes:
    return save(Image.new("RGB", (50, 40)), "JPEG", exif=b"Exif\x00\x00" + body)


def png_bomb(side: int, *extra: bytes) -> bytes:
    rows = zlib.compress(bytes(min((side * 3 + 1) * 64, 5_000_000)), 6)
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [png_chunk(b"IHDR", header), *extra, png_chunk(b"IDAT", rows), png_chunk(b"IEND", b"")]
    )


def scan_bomb(side: int, scans: int) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    data = encode_picture(np.full((side, side, 3), 90, np.uint8), progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def webp_of_size(width: int, height: int) -> bytes:
    """A lossless WebP whose header tells another size."""
    data = bytearray(save(Image.new("RGB", (16, 16)), "WEBP", lossless=True))
    start = data.index(b"VP8L") + 9
    word = int.from_bytes(data[start : start + 4], "little")
    word = (word & ~0xFFFFFFF) | (width - 1) | (height - 1) << 14
    data[start : start + 4] = word.to_bytes(4, "little")
    return bytes(data)


def gif_of_size(width: int, height: int, frame_width: int, frame_height: int) -> bytes:
    """A GIF whose canvas and first frame tell any size."""
    frame = b"," + struct.pack("<HHHH", 0, 0, frame_width, frame_height) + b"\0"
    return b"GIF89a" + struct.pack("<HH", width, height) + bytes(3) + frame + b"\2\2\x44\1\0;"


def bmp_of_size(side: int) -> bytes:
    """A BMP that tells any size and holds no rows."""
    return b"BM" + struct.pack("<IIIIiiHHIIiiII", 90, 0, 54, 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)


@functools.cache
def encodings() -> dict[str, bytes]:
    """One picture in 47 encodings."""
    picture = smooth_picture()
    image = Image.fromarray(picture)
    clear = np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)])
    palette = image.quantize(255, method=Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE)
    frames = [Image.fromarray(picture), Image.fromarray(255 - picture)]
    found = {f"exif-{value}": with_orientation(value, quality=95) for value in range(1, 9)}
    found |= {
        "png-exif-6": with_orientation(6, "PNG"),
        "webp-exif-8": with_orientation(8, "WEBP", lossless=True),
        "jpeg-444": save(image, "JPEG", quality=95, subsampling=0),
        "jpeg-420": save(image, "JPEG", quality=95, subsampling=2),
        "jpeg-progressive": save(image, "JPEG", quality=95, progressive=True),
        "jpeg-restarts": save(image, "JPEG", quality=95, restart_marker_blocks=3),
        "jpeg-cmyk": save(image.convert("CMYK"), "JPEG", quality=95),
        "jpeg-trailer": save(image, "JPEG", quality=95) + b"PK\x03\x04" + bytes(500) + b"\xff\xda" * 40,
        "mpo": save(image, "MPO", quality=95, save_all=True, append_images=frames[1:]),
        "png": save(image, "PNG"),
        "png-rgba": save(Image.fromarray(clear), "PNG"),
        "png-palette": save(palette, "PNG"),
        "png-palette-clear": save(palette, "PNG", transparency=255),
        "png-palette-alphas": save(palette, "PNG", transparency=bytes([255] * 256)),
        "png-48-bit": cv2.imencode(".png", picture[:, :, ::-1].astype(np.uint16) * 257)[1].tobytes(),
        "apng": save(frames[0], "PNG", save_all=True, append_images=frames[1:]),
        "avif": save(image, "AVIF", quality=95),
        "avif-exif-6": with_orientation(6, "AVIF", quality=95),
        "avif-alpha": save(Image.fromarray(clear), "AVIF", quality=95),
        "avif-frames": save(frames[0], "AVIF", quality=95, save_all=True, append_images=frames[1:]),
        "gif": save(palette, "GIF"),
        "gif-frames": save(palette, "GIF", save_all=True, append_images=frames[1:]),
        "bmp": save(image, "BMP"),
        "bmp-palette": save(palette, "BMP"),
        "tiff": save(image, "TIFF"),
        "tiff-exif-6": with_orientation(6, "TIFF"),
        "tiff-big": save(image, "TIFF", big_tiff=True),
        "tiff-cmyk": save(image.convert("CMYK"), "TIFF"),
        "tiff-pages": save(frames[0].copy(), "TIFF", save_all=True, append_images=[frames[1].copy()]),
        "tiff-alpha": save(Image.fromarray(clear), "TIFF", compression="tiff_adobe_deflate"),
        "tiff-48-bit": cv2.imencode(".tiff", picture[:, :, ::-1].astype(np.uint16) * 257)[1].tobytes(),
        **{f"tiff-{name}": save(image, "TIFF", compression=name) for name in ("tiff_lzw", "packbits", "jpeg", "zstd")},
        "webp": save(image, "WEBP", quality=95),
        "webp-lossless": save(Image.fromarray(clear), "WEBP", lossless=True),
        "webp-animated": save(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True),
    }
    return found


@pytest.mark.parametrize("name", encodings())
def test_same_picture_same_pixels(name):
    found = decode_image(encodings()[name])
    assert found.shape == (120, 160, 3)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    difference = np.abs(found.astype(int) - smooth_picture())
    assert difference.mean() <= 3, difference.mean()
    assert decode_picture(encodings()[name]).width == 160


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_grey_pictures_become_three_equal_channels(kind):
    grey = smooth_picture()[:, :, 0]
    options = {"lossless": True} if kind == "WEBP" else {}
    found = decode_image(save(Image.fromarray(grey), kind, **options))
    assert (found[:, :, 0] == found[:, :, 2]).all()
    assert np.abs(found[:, :, 1].astype(int) - grey).mean() <= 3


def test_sixteen_bit_grey_keeps_the_upper_byte():
    levels = (smooth_picture()[:, :, 0].astype(np.uint16) << 8) | 0x7F
    found = decode_image(save(Image.fromarray(levels), "PNG"))
    np.testing.assert_array_equal(found, np.repeat((levels >> 8)[:, :, None], 3, axis=2))


def test_black_and_white_and_its_transparency():
    bits = Image.fromarray((np.indices((20, 20)).sum(0) % 2 * 255).astype(np.uint8)).convert("1")
    assert set(np.unique(decode_image(save(bits, "PNG")))) == {0, 255}


def test_transparency_lies_on_white_by_the_blending_formula():
    picture, alpha = smooth_picture(), smooth_picture()[:, :, :1]
    expected = np.round(picture * (alpha / 255.0) + 255 * (1 - alpha / 255.0))
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True})):
        found = decode_image(save(Image.fromarray(np.concatenate([picture, alpha], 2)), kind, **options))
        assert np.abs(found - expected).max() <= 1
    grey = Image.merge("LA", [Image.fromarray(picture[:, :, 1]), Image.fromarray(alpha[:, :, 0])])
    assert np.abs(decode_image(save(grey, "PNG")) - expected[:, :, 1:2]).max() <= 1


def test_fully_transparent_black_is_white():
    clear = np.zeros((40, 40, 4), np.uint8)
    assert (decode_image(save(Image.fromarray(clear), "PNG")) == 255).all()


def test_transparent_colour_of_a_png_without_alpha_is_white():
    picture = np.full((30, 30, 3), (10, 20, 30), np.uint8)
    picture[:10] = (200, 100, 50)
    found = decode_image(save(Image.fromarray(picture), "PNG", transparency=(10, 20, 30)))
    assert (found[20] == 255).all()
    assert (found[5] == (200, 100, 50)).all()


@pytest.mark.parametrize("name", [n for n in encodings() if n.startswith(("jpeg", "exif", "mpo"))])
def test_fast_path_gives_what_pillow_gives(name):
    data = encodings()[name]
    with Image.open(io.BytesIO(data)) as image:
        reference = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert np.abs(decode_image(data).astype(int) - reference).max() <= 2


@given(width=st.integers(20, 700), height=st.integers(20, 700), side=st.integers(16, 300), quality=st.integers(30, 95))
@settings(max_examples=40)
def test_reduced_scale_keeps_the_minimum_and_the_proportions(width, height, side, quality):
    data = encode_picture(cv2.resize(make_picture(width), (width, height)), quality=quality)
    picture = decode_picture(data, minimum_side=side)
    assert (picture.width, picture.height) == (width, height)
    found = picture.pixels.shape[:2]
    assert min(found) >= min(side, width, height)
    assert found[0] <= height
    assert abs(found[0] * width - found[1] * height) <= max(width, height)


def test_reduced_scale_is_used_and_hardly_changes_the_encoder_input(tmp_path):
    rng = np.random.default_rng(0)
    tiles = [cv2.resize(make_picture(i), (100, 100)) for i in range(24 * 18)]
    big = np.concatenate([np.concatenate(tiles[i * 24 : (i + 1) * 24], 1) for i in range(18)], 0)
    big = np.clip(big + rng.normal(0, 10, big.shape), 0, 255).astype(np.uint8)
    path = tmp_path / "big picture.jpg"
    path.write_bytes(encode_picture(big, quality=90))
    spec = PreprocessingSpec()
    assert decode_image(path.read_bytes(), minimum_side=448).shape[0] < 1000
    full = preprocess(decode_image(path.read_bytes()), spec).astype(int)
    assert np.abs(load_image(str(path), spec) - full).mean() < 1.5


HOSTILE = {
    "empty": (b"", "empty"),
    "text": (b"hello, I am a picture" * 20, "not_an_image"),
    "html": (b"<html><script>alert(1)</script>", "unsupported_format"),
    "svg": (b'  <svg xmlns="http://www.w3.org/2000/svg"/>', "unsupported_format"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "unsupported_format"),
    "pdf": (b"%PDF-1.7\n", "unsupported_format"),
    "gif": (b"GIF89a" + bytes(50), None),
    "bmp": (b"BM" + bytes(60), None),
    "tiff-le": (b"II*\x00" + bytes(60), None),
    "tiff-be": (b"MM\x00*" + bytes(60), None),
    "jxl": (b"\x00\x00\x00\x0cJXL \r\n\x87\n" + bytes(60), "unsupported_format"),
    "jxl-bare": (b"\xff\x0a" + bytes(60), "unsupported_format"),
    "jp2": (b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(60), "unsupported_format"),
    "cr2": (b"II*\x00\x10\x00\x00\x00CR\x02\x00" + bytes(60), "unsupported_format"),
    "cr3": (b"\x00\x00\x00\x18ftypcrx \x00\x00\x00\x01crx isom" + bytes(60), "unsupported_format"),
    "dng": (save(Image.new("RGB", (16, 16)), "TIFF", tiffinfo={50706: b"\1\4\0\0"}), "unsupported_format"),
    "nef": (save(Image.new("RGB", (16, 16)), "TIFF", tiffinfo={254: 1}), "unsupported_format"),
    "tiff-float": (save(Image.new("F", (16, 16)), "TIFF"), "unsupported_format"),
    "avif-header": (b"\x00\x00\x00\x18ftypavif" + bytes(60), None),
    "avif-half": (encodings()["avif"][:-400], None),
    "gif-20001": (gif_of_size(20_001, 20_001, 9, 9), "side_too_long"),
    "gif-frame-65535": (gif_of_size(9, 9, 65_535, 900), "side_too_long"),
    "bmp-50000": (bmp_of_size(50_000), "side_too_long"),
    "bmp-no-rows": (bmp_of_size(5_000), None),
    "tiff-9400": (save(Image.new("1", (9_400, 9_400)), "TIFF", compression="group4"), "too_many_pixels"),
    "tiff-half": (encodings()["tiff"][:900], None),
    "ico": (b"\x00\x00\x01\x00" + bytes(60), "unsupported_format"),
    "psd": (b"8BPS" + bytes(60), "unsupported_format"),
    "heic": (b"\x00\x00\x00\x18ftypheic" + bytes(60), "unsupported_format"),
    "zeros": (bytes(1000), "not_an_image"),
    "wav": (b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(30), "not_an_image"),
    "jpeg-signature": (b"\xff\xd8\xff", None),
    "jpeg-two-markers": (b"\xff\xd8\xff\xd9", None),
    "jpeg-ends-in-length": (b"\xff\xd8\xff\xe1\xff", None),
    "jpeg-only-padding": (b"\xff\xd8" + b"\xff" * 5000, None),
    "png-signature": (b"\x89PNG\r\n\x1a\n", None),
    "png-no-header": (b"\x89PNG\r\n\x1a\n" + png_chunk(b"IEND", b""), None),
    "png-zero-side": (png_bomb(0), None),
    "png-huge-chunk": (b"\x89PNG\r\n\x1a\n" + b"\x7f\xff\xff\xffIHDR" + bytes(40), None),
    "png-negative": (b"\x89PNG\r\n\x1a\n" + b"\xff\xff\xff\xffIHDR" + bytes(40), None),
    "png-missing-rows": (png_bomb(100), "?"),
    "png-12000": (png_bomb(12_000), "too_many_pixels"),
    "png-9400": (png_bomb(9_400), "too_many_pixels"),
    "png-60000": (png_bomb(60_000), "side_too_long"),
    "png-2-31": (png_bomb(2**31 - 1), "side_too_long"),
    "png-iccp-bomb": (png_bomb(64, png_chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(50_000_000), 1))), None),
    "png-ztxt-bomb": (png_bomb(64, *[png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(9_000_000), 1))] * 20), None),
    "webp-signature": (b"RIFF\x10\x00\x00\x00WEBP", None),
    "webp-vp8x-only": (b"RIFF\x16\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00" + bytes(10), None),
    "webp-13000": (webp_of_size(13_000, 13_000), "too_many_pixels"),
    "webp-16383": (webp_of_size(16_383, 16_383), "too_many_pixels"),
    "scans-300": (scan_bomb(2_000, 300), "too_many_scans"),
    "scans-1000": (scan_bomb(1_500, 1_000), "too_many_scans"),
    "one-pixel": (save(Image.new("RGB", (1, 1)), "PNG"), "too_small"),
    "line": (save(Image.new("L", (4, 20_000)), "PNG"), "too_small"),
    "ribbon": (save(Image.new("L", (10, 1_000)), "PNG"), "too_elongated"),
    "ribbon-jpeg": (save(Image.new("L", (2_000, 20)), "JPEG"), "too_elongated"),
    "long-jpeg": (save(Image.new("L", (30_000, 1_000)), "JPEG"), "side_too_long"),
    "truncated-jpeg": (encodings()["jpeg-420"][:2_000], "truncated"),
    "truncated-jpeg-tail": (encodings()["jpeg-420"][:-60], "truncated"),
    "truncated-png": (encodings()["png"][:300], "truncated"),
    "truncated-webp": (encodings()["webp"][:300], None),
    "jpeg-header-only": (encodings()["jpeg-420"][:300], None),
    "jpeg-12-bit": (encodings()["jpeg-420"].replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c"), None),
    "jpeg-zero-height": (re.sub(rb"(\xff\xc0\x00\x11\x08)..", lambda m: m[1] + bytes(2), encodings()["jpeg-420"]), None),
    "jpeg-lossless-marker": (encodings()["jpeg-420"].replace(b"\xff\xc0", b"\xff\xc3", 1), None),
    "jpeg-no-tables": (b"\xff\xd8" + encodings()["jpeg-420"][encodings()["jpeg-420"].index(b"\xff\xc0") :], None),
    "jpeg-two-frames": (encodings()["jpeg-420"][:-2] + encodings()["jpeg-444"][2:], "?"),
    "jpeg-in-jpeg": (encodings()["jpeg-420"] + encodings()["jpeg-444"], "?"),
    "gifar": (encodings()["jpeg-420"] + b"PK\x05\x06" + bytes(18), "?"),
    "png-bad-crc": (encodings()["png"][:40] + b"\x00" + encodings()["png"][41:], "?"),
    "apng-no-frames": (
        encodings()["apng"].replace(
            encodings()["apng"][33:53], png_chunk(b"acTL", struct.pack(">II", 0, 0)), 1
        ),
        "?",
    ),
    "apng-two-controls": (
        encodings()["apng"][:33] + png_chunk(b"acTL", struct.pack(">II", 2, 0)) * 2 + encodings()["apng"][33:],
        "?",
    ),
    "exif-garbage": (with_exif(b"MM\x00*\x00\x00\x00\x08\xff\xff" + b"\xaa" * 90), "?"),
    "exif-loop": (with_exif(b"II*\x00\x08\x00\x00\x00\x00\x00\x08\x00\x00\x00"), "?"),
    "exif-orientation-99": (with_orientation(99), "?"),
    "mpo-malformed": (encodings()["mpo"].replace(b"MPF\x00", b"MPF\x00\x00", 1), "?"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_is_refused_cheaply_or_decoded(name):
    """None: refused for whatever reason; "?": may be decoded as well."""
    data, reason = HOSTILE[name]
    started = time.process_time()
    refusal: BadImageError | None = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            decode_image(data)
        except BadImageError as error:
            refusal = error
    assert not caught
    limit = 0.1 if reason and reason.startswith(("too_", "side_")) else 2.0
    assert time.process_time() - started < limit
    if refusal is None:
        assert reason == "?"
        return
    assert reason in {None, "?", refusal.reason}, (refusal.reason, str(refusal))
    assert re.fullmatch(r"[a-z_]+", refusal.reason)
    assert "\n" not in str(refusal)
    assert len(str(refusal)) < 400
    assert "0x7f" not in str(refusal)
    exceeds = refusal.reason.startswith(("too_many", "side_too", "too_elongated"))
    assert isinstance(refusal, ImageTooLargeError) == exceeds


def test_there_are_sixty_hostile_files():
    assert len(HOSTILE) >= 60


def test_limits_are_those_that_were_given():
    data = encode_picture(make_picture(1, size=(120, 90)))
    for limits, reason in (
        (DecodingLimits(max_pixels=10_000), "too_many_pixels"),
        (DecodingLimits(max_side=100), "side_too_long"),
        (DecodingLimits(min_side=100), "too_small"),
        (DecodingLimits(max_aspect=1.2), "too_elongated"),
        (DecodingLimits(max_bytes=1024), "too_many_bytes"),
    ):
        with pytest.raises(BadImageError) as caught:
            decode_image(data, limits=limits)
        assert caught.value.reason == reason
    progressive = encode_picture(make_picture(1, size=(120, 90)), progressive=True)
    with pytest.raises(ImageTooLargeError, match="10 scans"):
        decode_image(progressive, limits=DecodingLimits(max_scans=9))
    with pytest.raises(ImageTooLargeError, match="scanned pixels"):
        decode_image(progressive, limits=DecodingLimits(max_scanned_pixels=10 * 120 * 90 - 1))
    decode_image(progressive, limits=DecodingLimits(max_scanned_pixels=10 * 120 * 90, max_scans=10))


def test_scans_are_counted_exactly_and_not_in_metadata():
    picture = make_picture(3)
    hidden = b"\xff\xe5" + struct.pack(">H", 2 + 80) + b"\xff\xda" * 40
    for options, scans in (({}, 1), ({"progressive": True}, 10)):
        data = encode_picture(picture, **options)
        header = read_jpeg_header(data[:2] + hidden + data[2:])
        assert header is not None
        assert (header.scans, header.width, header.height) == (scans, 96, 80)
    assert read_jpeg_header(scan_bomb(100, 51)).scans == 60


def test_mutants_are_decoded_or_refused_and_nothing_else():
    """3,000 mutants: flipped bits, overwritten words, cuts and doubled pieces; only BadImageError may come."""
    rng = np.random.default_rng(0)
    seeds = [d for d in encodings().values() if len(d) < 40_000]
    outcomes: dict[str, int] = {}
    started = time.process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for number in range(3_000):
            data = bytearray(seeds[number % len(seeds)])
            for _ in range(int(rng.integers(1, 4))):
                at, kind = int(rng.integers(len(data))), rng.integers(5)
                if kind == 0:
                    data[at] ^= 1 << int(rng.integers(8))
                elif kind == 1:
                    data[at : at + 4] = rng.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"])
                elif kind == 2:
                    del data[max(20, at) :]
                elif kind == 3:
                    data[at:at] = data[at : at + int(rng.integers(1, 200))]
                else:
                    early = int(rng.integers(min(len(data), 120)))
                    data[early] = int(rng.integers(256))
            try:
                pixels = decode_image(bytes(data), minimum_side=None if number % 2 else 40)
                assert pixels.dtype == np.uint8
                assert pixels.ndim == 3
                outcome = "decoded"
            except BadImageError as error:
                outcome = error.reason
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
    assert not caught
    assert time.process_time() - started < 60
    assert outcomes["decoded"] > 300, outcomes
    assert outcomes["damaged"] > 100, outcomes
    assert outcomes["truncated"] > 100, outcomes


@pytest.mark.parametrize("name", ["jpeg-420", "png", "webp"])
def test_a_file_without_its_end_is_said_to_be_truncated(name):
    data = encodings()[name]
    for kept in (len(data) // 20, len(data) // 2, len(data) - 40):
        with pytest.raises(
            BadImageError, match=r"^the \w+ file is truncated \(its end is missing\); copy it again$"
        ) as caught:
            decode_image(data[:kept])
        assert caught.value.reason == "truncated"


def test_a_sentence_says_more_than_a_number():
    whole = encodings()["jpeg-420"]
    sentences = set()
    for place in range(20, 700):
        try:
            decode_image(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        except BadImageError as error:
            sentences.add(str(error))
    assert len(sentences) > 3
    assert all(re.search("[a-z]{3}", sentence.rpartition(":")[2]) for sentence in sentences), sentences


def test_size_of_a_turned_picture_is_that_of_what_people_see():
    picture = decode_picture(with_orientation(6), minimum_side=32)
    assert (picture.width, picture.height, picture.format) == (160, 120, "jpeg")
    assert picture.pixels.shape[0] < picture.pixels.shape[1] < 160


def test_read_picture_names_the_file_and_the_reason(tmp_path: Path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no")
    big = tmp_path / "big.jpg"
    big.write_bytes(bytes(3_000))
    for path, reason in ((bad, "not_an_image"), (tmp_path / "gone.jpg", "missing"), (tmp_path, "unreadable")):
        with pytest.raises(BadImageError, match=re.escape(str(path))) as caught:
            read_picture(str(path))
        assert caught.value.reason == reason
    with pytest.raises(ImageTooLargeError, match=re.escape(str(big))):
        read_picture(str(big), limits=DecodingLimits(max_bytes=2_000))
    good = tmp_path / "good.png"
    good.write_bytes(encodings()["png"])
    np.testing.assert_array_equal(read_picture(str(good)), smooth_picture())
    spec = PreprocessingSpec(side=64)
    np.testing.assert_array_equal(load_image(str(good), spec), preprocess(smooth_picture(), spec))


def test_threads_decode_at_once_without_a_word_from_pillow():
    """Many threads, files that make Pillow warn: no warning escapes, and everybody gets the right pixels."""
    data, noisy = encodings()["png"], HOSTILE["apng-two-controls"][0]
    wrong: list[str] = []

    def work() -> None:
        for _ in range(30):
            if not np.array_equal(decode_image(data), smooth_picture()):
                wrong.append("pixels")
            try:
                decode_image(noisy)
            except BadImageError as error:
                wrong.append(str(error))

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong
    assert not caught
