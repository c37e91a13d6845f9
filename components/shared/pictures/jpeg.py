"""The header of a JPEG file, read without decoding the picture."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import simplejpeg

_START_OF_SCAN = 0xDA
_END = 0xD9
_DESCRIPTIONS = frozenset({0xE1, 0xE2})  # EXIF and XMP; colour profiles
_MARKER = re.compile(rb"\xff+([^\x00\xff])")
# Within a scan, FF is followed by 00 or a restart marker; anything else ends it.
_MARKER_AFTER_SCAN = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
_BARE = frozenset({0x01, 0xD8, *range(0xD0, 0xD8)})  # markers without a length
_USUAL_SCANS = 10  # in a progressive file
_PLAIN = frozenset({"Gray", "YCbCr", "RGB"})


@dataclass(frozen=True)
class JpegHeader:
    """Facts of a JPEG file.

    Attributes:
        width, height: pixels, as stored.
        is_plain: grey or three colours, which libjpeg converts to RGB by itself.
        scans: passes over the picture; 1 in a baseline file, about 10 in a progressive one.
        is_described: there may be EXIF or XMP data or a colour profile.
    """

    width: int
    height: int
    is_plain: bool
    scans: int
    is_described: bool


def read_jpeg_header(data: bytes) -> JpegHeader | None:
    """Read the facts of a JPEG file; None if its header is not valid for libjpeg.

    Source: ITU-T T.81, annex B (markers and their segments).
    """
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except ValueError:
        return None
    scans = data.count(b"\xff\xda")  # an upper bound: thumbnails and trailers can contain these bytes too
    if scans > _USUAL_SCANS:
        scans = _count_scans(data)
    return JpegHeader(width, height, colours in _PLAIN, scans, _is_described(data))


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of the content of each segment."""
    position, form = 2, _MARKER
    while (match := form.search(data, position)) is not None:
        marker, position = match[1][0], match.end()
        if marker == _END:
            return
        if marker in _BARE:
            continue
        end = position + max(2, int.from_bytes(data[position : position + 2], "big"))
        yield marker, position + 2, end
        position = end
        form = _MARKER_AFTER_SCAN if marker == _START_OF_SCAN else _MARKER


def _count_scans(data: bytes) -> int:
    return sum(marker == _START_OF_SCAN for marker, _, _ in _segments(data))


def _is_described(data: bytes) -> bool:
    for marker, _, _ in _segments(data):
        if marker == _START_OF_SCAN:
            break
        if marker in _DESCRIPTIONS:
            return True
    return False
