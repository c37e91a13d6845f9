"""Files that were made to hurt whoever decodes them, each with a name that says how."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import zlib
from collections.abc import Callable
from functools import cache

import numpy as np
from PIL import Image

from support.factories.basics import encode_picture, make_picture

SCRIPT = b"<script>alert(1)</script>"


def png_chunk(kind: bytes, data: bytes, *, length: int | None = None, crc: int | None = None) -> bytes:
    """One chunk of a PNG; `length` and `crc` may lie."""
    size = len(data) if length is None else length
    return struct.pack(">I", size) + kind + data + struct.pack(">I", zlib.crc32(kind + data) if crc is None else crc)


def png(*chunks: bytes) -> bytes:
    """A PNG of these chunks."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def png_head(width: int, height: int, depth: int = 8, colour: int = 2, interlace: int = 0) -> bytes:
    """The first chunk of a PNG."""
    return png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))


def png_bomb(side: int) -> bytes:
    """A PNG of side × side black pixels, in a few hundred kilobytes or less."""
    packer = zlib.compressobj(9)
    row = b"\0" * (side + 1)
    packed = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    return png(png_head(side, side, colour=0), png_chunk(b"IDAT", packed), png_chunk(b"IEND", b""))


def scan_bomb(side: int, scans: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again; each costs as much as the whole picture."""
    data = encode_picture(np.full((side, side, 3), 90, np.uint8), progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def text_bomb(kind: bytes = b"zTXt", unpacked_bytes: int = 100_000_000) -> bytes:
    """A PNG with much compressed text, or such a colour profile."""
    small = png_bomb(64)
    return small[:33] + png_chunk(kind, b"Comment\0\0" + zlib.compress(b"\0" * unpacked_bytes, 9)) + small[33:]


def webp_bomb(width: int, height: int) -> bytes:
    """A WebP of a few bytes that declares many pixels."""
    bits = (width - 1) | (height - 1) << 14
    body = b"\x2f" + struct.pack("<I", bits) + b"\x00" * 8
    return webp(webp_chunk(b"VP8L", body))


def webp_chunk(kind: bytes, data: bytes, *, length: int | None = None) -> bytes:
    """One chunk of a WebP; `length` may lie."""
    return kind + struct.pack("<I", len(data) if length is None else length) + data + b"\0" * (len(data) % 2)


def webp(*chunks: bytes, length: int | None = None) -> bytes:
    """A WebP of these chunks."""
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if length is None else length) + body


def canvas(width: int, height: int, flags: int = 0) -> bytes:
    """The chunk of an extended WebP that declares its size."""
    return webp_chunk(
        b"VP8X", bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    )


def jpeg_segment(marker: int, data: bytes) -> bytes:
    """One segment of a JPEG."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


@cache
def hostile_pictures() -> dict[str, bytes]:
    """Name → file; all are small, and none may be answered but by results or a refusal."""
    return {**_jpegs(), **_pngs(), **_webps(), **_others()}


@cache
def bombs() -> dict[str, bytes]:
    """Twenty files of at most a megabyte or two that would cost seconds or gigabytes if they were decoded as they ask."""
    found = {f"PNG of {side} × {side}": png_bomb(side) for side in (7_200, 9_400, 12_000, 16_000, 19_000, 30_000)}
    found |= {
        f"JPEG {side} × {side} of {scans} scans": scan_bomb(side, scans)
        for side, scans in ((300, 5_000), (600, 70), (1_000, 900), (1_500, 400), (2_500, 150), (4_000, 60))
    }
    found |= {f"WebP of {w} × {h}": webp_bomb(w, h) for w, h in ((16_383, 16_383), (16_383, 2_600), (6_600, 6_600))}
    found["WebP canvas of 16,777,216"] = webp(canvas(1 << 24, 1 << 24), webp_chunk(b"VP8L", b"\x2f" + b"\0" * 12))
    found["JPEG of 65,500 × 65,500"] = _jpeg_of_size(65_500, 65_500)
    found["PNG of 1 bit, 20,000 × 20,000"] = png(
        png_head(20_000, 20_000, 1, 0), png_chunk(b"IDAT", zlib.compress(b"\0"))
    )
    found["PNG of 2,147,483,647 × 1"] = png(png_head(0x7FFFFFFF, 1), png_chunk(b"IDAT", zlib.compress(b"\0")))
    found["PNG whose rows never end"] = png(
        png_head(20_000, 19_999), png_chunk(b"IDAT", zlib.compress(b"\0" * 200_000_000, 9)), png_chunk(b"IEND", b"")
    )
    return found


def _jpeg_of_size(width: int, height: int) -> bytes:
    data = bytearray(encode_picture(make_picture(1)))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def _patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def _jpegs() -> dict[str, bytes]:
    plain = encode_picture(make_picture(1))
    progressive = encode_picture(make_picture(1), progressive=True)
    frame, tables, scan = plain.index(b"\xff\xc0"), plain.index(b"\xff\xdb"), plain.index(b"\xff\xda")
    huffman = plain.index(b"\xff\xc4")

    def exif(body: bytes) -> bytes:
        return plain[:2] + jpeg_segment(0xE1, b"Exif\0\0" + body) + plain[2:]

    def orientation(value: int, count: int = 1) -> bytes:
        return exif(b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHH", 0x0112, 3, count, value, 0) + b"\0\0\0\0")

    def icc(body: bytes, number: int = 1, of: int = 1) -> bytes:
        return plain[:2] + jpeg_segment(0xE2, b"ICC_PROFILE\0" + bytes([number, of]) + body) + plain[2:]

    return {
        "jpeg: two bytes": b"\xff\xd8",
        "jpeg: three bytes": b"\xff\xd8\xff",
        "jpeg: a start and an end": b"\xff\xd8\xff\xd9",
        "jpeg: cut in the header": plain[: frame + 4],
        "jpeg: cut in the tables": plain[: huffman + 8],
        "jpeg: cut in the scan": plain[: scan + 200],
        "jpeg: without an end": plain[:-2],
        "jpeg: without quantisation tables": plain[:tables] + plain[frame:],
        "jpeg: without Huffman tables": plain[:huffman] + plain[scan:],
        "jpeg: without a frame": plain[:frame] + plain[huffman:],
        "jpeg: height 0": _patched(plain, frame + 5, b"\0\0"),
        "jpeg: width 0": _patched(plain, frame + 7, b"\0\0"),
        "jpeg: 65,535 square": _jpeg_of_size(65_535, 65_535),
        "jpeg: far higher than its data": _jpeg_of_size(96, 4_000),
        "jpeg: 12 bits": _patched(plain, frame + 4, b"\x0c"),
        "jpeg: 0 bits": _patched(plain, frame + 4, b"\0"),
        "jpeg: lossless frame": _patched(plain, frame + 1, b"\xc3"),
        "jpeg: arithmetic coding": _patched(plain, frame + 1, b"\xc9"),
        "jpeg: hierarchical": _patched(plain, frame + 1, b"\xc5"),
        "jpeg: 255 components": _patched(plain, frame + 9, b"\xff"),
        "jpeg: sampling 0": _patched(plain, frame + 11, b"\0"),
        "jpeg: sampling 15 × 15": _patched(plain, frame + 11, b"\xff"),
        "jpeg: table that is not there": _patched(plain, frame + 12, b"\x03"),
        "jpeg: Huffman table too full": _patched(plain, huffman + 5, b"\xff" * 16),
        "jpeg: segment of length 0": plain[:2] + b"\xff\xe0\0\0" + plain[2:],
        "jpeg: segment longer than the file": plain[:2] + b"\xff\xe5\xff\xff" + plain[2:],
        "jpeg: two frames": plain[:scan] + plain[frame:huffman] + plain[scan:],
        "jpeg: progressive, half of it": progressive[: len(progressive) // 2],
        "jpeg: 100 scans": scan_bomb(64, 100),
        "jpeg: scan of zeros": plain[: scan + 14] + b"\0" * 5_000 + b"\xff\xd9",
        "jpeg: scan of markers": plain[: scan + 14] + b"\xff\xd0" * 5_000 + b"\xff\xd9",
        "jpeg: restart interval 65,535": plain[:scan] + jpeg_segment(0xDD, b"\xff\xff") + plain[scan:],
        "jpeg: 500 comments": plain[:2] + jpeg_segment(0xFE, b"x" * 1_000) * 500 + plain[2:],
        "jpeg: a script as comment": plain[:2] + jpeg_segment(0xFE, SCRIPT) + plain[2:],
        "jpeg: a page behind it": plain + b"<html>" + SCRIPT,
        "jpeg: an archive behind it": plain + b"PK\x05\x06" + b"\0" * 18,
        "jpeg: EXIF that is empty": exif(b""),
        "jpeg: EXIF that is no TIFF": exif(b"\0" * 60),
        "jpeg: EXIF that points behind itself": exif(b"MM\0*\xff\xff\xff\xf0"),
        "jpeg: EXIF in a circle": exif(b"MM\0*\0\0\0\x08\0\0\0\0\0\x08"),
        "jpeg: EXIF of 65,535 entries": exif(b"MM\0*\0\0\0\x08\xff\xff" + b"\0" * 40),
        "jpeg: orientation 0": orientation(0),
        "jpeg: orientation 65,535": orientation(65_535),
        "jpeg: four thousand million orientations": orientation(6, count=0xFFFFFFFF),
        "jpeg: colour profile of noise": icc(bytes(range(256)) * 20),
        "jpeg: colour profile that declares 4 GB": icc(b"\xff\xff\xff\xff" + b"acsp" * 40),
        "jpeg: part 9 of 3 of a profile": icc(b"x" * 200, 9, 3),
    }


def _pngs() -> dict[str, bytes]:
    plain = encode_picture(make_picture(2), "PNG")
    head, end = png_head(64, 64), png_chunk(b"IEND", b"")
    rows = zlib.compress((b"\0" + b"\x55" * 192) * 64)
    data = png_chunk(b"IDAT", rows)
    return {
        "png: eight bytes": plain[:8],
        "png: cut in the header": plain[:20],
        "png: cut in the data": plain[: len(plain) // 2],
        "png: without an end": png(head, data),
        "png: without data": png(head, end),
        "png: data before the header": png(data, head, end),
        "png: two headers": png(head, png_head(9_999, 9_999), data, end),
        "png: 0 × 0": png(png_head(0, 0), data, end),
        "png: 4,294,967,295 wide": png(png_head(0xFFFFFFFF, 8), data, end),
        "png: 1 × 10,000": png(png_head(1, 10_000), data, end),
        "png: depth 3": png(png_head(64, 64, depth=3), data, end),
        "png: colours of type 7": png(png_head(64, 64, colour=7), data, end),
        "png: interlaced by 9": png(png_head(64, 64, interlace=9), data, end),
        "png: interlaced, not enough": png(png_head(64, 64, interlace=1), data, end),
        "png: filter 200": png(head, png_chunk(b"IDAT", zlib.compress((b"\xc8" + b"\0" * 192) * 64)), end),
        "png: too little data": png(head, png_chunk(b"IDAT", zlib.compress(b"\0" * 100)), end),
        "png: far too much data": png(head, png_chunk(b"IDAT", zlib.compress(b"\0" * 50_000_000, 9)), end),
        "png: data that is not packed": png(head, png_chunk(b"IDAT", b"\0" * 500), end),
        "png: wrong checksum": png(head, png_chunk(b"IDAT", rows, crc=1), end),
        "png: chunk of 2 GB": png(head, png_chunk(b"IDAT", rows, length=0x7FFFFFFF), end),
        "png: chunk of −1 bytes": png(head, png_chunk(b"IDAT", rows, length=0xFFFFFFFF), end),
        "png: palette that is missing": png(png_head(64, 64, colour=3), png_chunk(b"IDAT", zlib.compress(b"\0" * 65 * 64)), end),
        "png: palette too short": png(
            png_head(64, 64, colour=3), png_chunk(b"PLTE", b"\1\2\3"),
            png_chunk(b"IDAT", zlib.compress((b"\0" + b"\xff" * 64) * 64)), end,
        ),
        "png: palette of 2 bytes": png(png_head(64, 64, colour=3), png_chunk(b"PLTE", b"\1\2"), data, end),
        "png: transparency too long": png(head, png_chunk(b"tRNS", b"\0" * 9_000), data, end),
        "png: 100 MB of text": text_bomb(),
        "png: colour profile of 100 MB": text_bomb(b"iCCP"),
        "png: colour profile of noise": png(head, png_chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(range(256)))), data, end),
        "png: a script as text": png(head, png_chunk(b"tEXt", b"Title\0" + SCRIPT), data, end),
        "png: EXIF of noise": png(head, png_chunk(b"eXIf", bytes(range(200))), data, end),
        "png: gamma 0": png(head, png_chunk(b"gAMA", b"\0\0\0\0"), data, end),
        "png: 2 thousand million frames": png(head, png_chunk(b"acTL", b"\x7f\xff\xff\xff\0\0\0\0"), data, end),
        "png: 20,000 empty chunks": png(head, png_chunk(b"teSt", b"") * 20_000, data, end),
    }  # fmt: skip


def _webps() -> dict[str, bytes]:
    lossy, lossless = (encode_picture(make_picture(3), "WEBP", lossless=flag) for flag in (False, True))
    frame = webp_chunk(b"ANMF", b"\0" * 6 + b"\x5f\0\0\x4f\0\0" + b"\1\0\0\0" + lossy[12:])
    return {
        "webp: twelve bytes": lossy[:12],
        "webp: cut, lossy": lossy[: len(lossy) // 2],
        "webp: cut, lossless": lossless[: len(lossless) // 2],
        "webp: RIFF of 4 GB": webp(lossy[12:], length=0xFFFFFFFF),
        "webp: RIFF of 0 bytes": webp(lossy[12:], length=0),
        "webp: chunk of 4 GB": webp(webp_chunk(b"VP8 ", lossy[20:], length=0xFFFFFFFE)),
        "webp: canvas larger than its frame": webp(canvas(9_000, 4_000), lossy[12:]),
        "webp: 16,383 square in 25 bytes": webp_bomb(16_383, 16_383),
        "webp: 96 × 80 in 25 bytes": webp_bomb(96, 80),
        "webp: transparency of noise": webp(canvas(96, 80, 0x10), webp_chunk(b"ALPH", bytes(range(256))), lossy[12:]),
        "webp: animation without a frame": webp(canvas(96, 80, 2), webp_chunk(b"ANIM", b"\0" * 6)),
        "webp: animation of 3,000 frames": webp(canvas(96, 80, 2), webp_chunk(b"ANIM", b"\0" * 6), frame * 400),
        "webp: profile of noise": webp(canvas(96, 80, 0x20), webp_chunk(b"ICCP", bytes(range(256))), lossy[12:]),
        "webp: EXIF of noise": webp(canvas(96, 80, 8), lossy[12:], webp_chunk(b"EXIF", bytes(range(256)))),
        "webp: only an empty chunk": webp(webp_chunk(b"VP8 ", b"")),
        "webp: bits turned": _patched(lossy, 60, bytes(255 - each for each in lossy[60:90])),
        "webp: really a sound": b"RIFF\x24\0\0\0WAVEfmt " + b"\0" * 40,
    }


def _others() -> dict[str, bytes]:
    def by_pillow(kind: str) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(make_picture(4)).save(buffer, kind)
        return buffer.getvalue()

    laughs = b"".join(b'<!ENTITY l%d "%s">' % (n, b"&l%d;" % (n - 1) * 10 if n else b"ha") for n in range(10))
    made: dict[str, Callable[[], bytes]] = {
        kind: lambda kind=kind: by_pillow(kind)
        for kind in ("GIF", "BMP", "TIFF", "ICO", "PPM", "TGA", "PDF", "JPEG2000")  # type: ignore[misc]
    }
    return {
        **{f"other: {kind}": make() for kind, make in made.items()},
        "other: SVG with a script": b"<svg xmlns='http://www.w3.org/2000/svg'>" + SCRIPT + b"</svg>",
        "other: SVG that laughs": b"<!DOCTYPE s [" + laughs + b"]><svg>&l9;</svg>",
        "other: SVG that reads a file": b'<!DOCTYPE s [<!ENTITY f SYSTEM "file:///etc/passwd">]><svg>&f;</svg>',
        "other: PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) run\n",
        "other: a page": b"<!doctype html>" + SCRIPT,
        "other: an archive": b"PK\x03\x04" + b"\0" * 60,
        "other: gzip of 50 MB": gzip.compress(b"\0" * 50_000_000),
        "other: a program": b"\x7fELF" + b"\0" * 60,
        "other: a pickle": pickle.dumps({"a": 1}),
        "other: HEIC": b"\0\0\0\x18ftypheic" + b"\0" * 40,
        "other: AVIF": b"\0\0\0\x18ftypavif" + b"\0" * 40,
        "other: a film": b"\0\0\0\x18ftypmp42" + b"\0" * 40,
        "other: a megabyte of zeros": b"\0" * 1_000_000,
        "other: a megabyte of ones": b"\xff" * 1_000_000,
        "other: one byte": b"\0",
        "other: noise": np.random.default_rng(0).bytes(100_000),
    }
