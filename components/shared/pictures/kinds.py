"""Which format a file has, by its first bytes: one that the decoder reads, or another that a sentence names."""

from __future__ import annotations

from components.shared.errors import BadImageError

PICTURE_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng",
    ".webp", ".avif", ".avifs", ".gif", ".tif", ".tiff", ".bmp", ".dib",
)  # fmt: skip
# Pictures, too, but not for this decoder: they are offered, so that the quarantine can say what to do.
FOREIGN_SUFFIXES = (
    ".heic", ".heif", ".hif", ".jp2", ".j2k", ".jpx", ".jxl", ".svg", ".psd", ".ico",
    ".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".orf", ".raf", ".rw2", ".pef", ".srw", ".x3f",
)  # fmt: skip
_SIGNATURES = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"BM", "bmp"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),
    (b"MM\x00+", "tiff"),
)
_RAW = "a camera's raw file"
_FOREIGN = (
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "a JPEG XL picture"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "a JPEG 2000 picture"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (b"FUJIFILMCCD-RAW", _RAW),
    (b"IIRO", _RAW),
    (b"IIRS", _RAW),
    (b"MMOR", _RAW),
    (b"IIU\x00", _RAW),
    (b"FOVb", _RAW),
    (b"II\x1a\x00\x00\x00HEAP", _RAW),
    (b"\x00\x00\x01\x00", "an icon"),
    (b"8BPS", "a Photoshop file"),
    (b"%PDF", "a PDF"),
    (b"%!PS", "PostScript"),
    (b"<", "markup (HTML, SVG or XML)"),
)
_AVIF, _HEIF = {b"avif", b"avis"}, {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"mif2"}


def kind_of(data: bytes) -> str:
    """Return the format, one that the decoder reads.

    Source: for AVIF and HEIC, ISO/IEC 14496-12, 4.3 (file type box).

    Raises:
        BadImageError: the file is empty ("empty"), of another format ("unsupported_format") or none of a picture.
    """
    if not data:
        raise BadImageError("the file is empty", reason="empty")
    for magic, kind in _SIGNATURES:
        if data.startswith(magic):
            if kind == "tiff" and data[8:10] == b"CR":  # Canon's
                raise unsupported(_RAW)
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[4:8] == b"ftyp":
        return _kind_of_boxes(data)
    start = data[:64] if data[:1] in b"\x00\xff" else data.lstrip()[:64]
    found = next((name for magic, name in _FOREIGN if start.startswith(magic)), None)
    if found is None:
        raise BadImageError(
            "the file is not a picture (no signature of JPEG, PNG, WebP, AVIF, GIF, TIFF or BMP)", reason="not_an_image"
        )
    raise unsupported(found)


def unsupported(name: str) -> BadImageError:
    """Make the error for a file of a format that is known and not read."""
    return BadImageError(f"the file is {name}; convert it to JPEG, PNG or WebP", reason="unsupported_format")


def raw_file() -> BadImageError:
    """Make the error for a camera's raw file."""
    return unsupported(_RAW)


def _kind_of_boxes(data: bytes) -> str:
    size = min(int.from_bytes(data[:4], "big"), 512, len(data))
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, size - 3, 4))]
    if not _AVIF.isdisjoint(brands):
        return "avif"
    if brands[0] == b"crx ":
        raise unsupported(_RAW)
    raise unsupported("a HEIC picture" if not _HEIF.isdisjoint(brands) else "a video")
