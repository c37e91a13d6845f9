"""The one decoder of the product: from the bytes of a picture file to upright RGB pixels.

Every limit is checked on the file's header, before anything is decoded, so that a bomb costs microseconds. Embedded
colour profiles are applied: the pixels are sRGB. A picture within the limits can still be made to take long; who decodes
for strangers does it in a process that can be killed.
"""

from __future__ import annotations

import io
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import Image, ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from components.shared.errors import BadImageError, ImageTooLargeError, SourceError
from components.shared.files.storage import read_bytes
from components.shared.pictures.colour import in_srgb
from components.shared.pictures.exif import orientation_of, turn_upright
from components.shared.pictures.jpeg import JpegHeader, read_jpeg_header
from components.shared.pictures.kinds import kind_of, raw_file, unsupported
from components.shared.pictures.limits import DecodingLimits
from components.shared.pictures.preprocessing import Pixels, PreprocessingSpec, preprocess

_READERS: dict[str, type[ImageFile.ImageFile]] = {
    "jpeg": JpegImageFile,
    "png": PngImageFile,
    "webp": WebPImageFile,
    "avif": AvifImageFile,
    "gif": GifImageFile,
    "tiff": TiffImageFile,
    "bmp": BmpImageFile,
}
_SUBFILE_TYPE, _PHOTOMETRY, _TILE_WIDTH, _TILE_HEIGHT, _DNG_VERSION = 254, 262, 322, 323, 50706
_SENSOR = frozenset({32803, 34892})  # colour filter array, linear raw
_warnings_lock = threading.Lock()


DEFAULT_LIMITS = DecodingLimits()


@dataclass(frozen=True)
class Picture:
    """A decoded picture.

    Attributes:
        pixels: (h, w, 3) uint8 RGB, upright, contiguous.
        width, height: size of the file in pixels, after EXIF orientation; `pixels` is smaller if decoded at reduced scale.
        format: "jpeg", "png", "webp", "avif", "gif", "tiff" or "bmp".
    """

    pixels: Pixels
    width: int
    height: int
    format: str


def decode_image(data: bytes, *, limits: DecodingLimits = DEFAULT_LIMITS, minimum_side: int | None = None) -> Pixels:
    """Decode a JPEG, PNG, WebP, AVIF, GIF, TIFF or BMP file; of several frames or pages, the first.

    EXIF orientation is applied, transparency is blended with white, CMYK, palettes and greys become RGB, and 16-bit
    channels keep their upper 8 bits.

    Args:
        data: the file's bytes.
        limits: limits that the picture must meet.
        minimum_side: if given, a JPEG file can be decoded at a reduced scale (n/8), but so that both sides keep at
            least this length; a file with a shorter side is decoded at full size.

    Returns:
        (h, w, 3) uint8 RGB, contiguous.

    Raises:
        ImageTooLargeError: a limit is exceeded.
        BadImageError: the bytes are not a picture that can be decoded.
    """
    return decode_picture(data, limits=limits, minimum_side=minimum_side).pixels


def decode_picture(data: bytes, *, limits: DecodingLimits = DEFAULT_LIMITS, minimum_side: int | None = None) -> Picture:
    """Decode as `decode_image` does, and return size and format of the file as well."""
    if len(data) > limits.max_bytes:
        raise ImageTooLargeError(
            f"the picture has {len(data)} bytes, at most {limits.max_bytes} are allowed", reason="too_many_bytes"
        )
    kind = kind_of(data)
    try:
        header = read_jpeg_header(data) if kind == "jpeg" else None
        if header is not None:
            pixels, size, orientation = _decode_jpeg(data, header, limits, minimum_side)
        else:
            pixels, size, orientation = _decode_with_pillow(data, kind, limits)
        pixels = turn_upright(pixels, orientation)
    except BadImageError:
        raise
    except Image.DecompressionBombError as error:  # Pillow's own limit, far above ours
        raise ImageTooLargeError(f"the {kind.upper()} file is too large: {error}", reason="too_many_pixels") from error
    except MemoryError as error:
        raise BadImageError("the picture needs more memory than is available", reason="out_of_memory") from error
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, EOFError and more
        if _is_truncated(data, kind, str(error)):
            raise BadImageError(
                f"the {kind.upper()} file is truncated (its end is missing); copy it again", reason="truncated"
            ) from error
        text = " ".join(str(error).split())[:200]
        text = text if re.search("[a-z]{3}", text) else "its data are damaged"  # some errors carry only the text -1
        raise BadImageError(f"the {kind.upper()} file cannot be decoded: {text}", reason="damaged") from error
    width, height = size[::-1] if orientation >= 5 else size
    return Picture(pixels, width, height, kind)


def read_picture(uri: str, *, limits: DecodingLimits = DEFAULT_LIMITS, minimum_side: int | None = None) -> Pixels:
    """Read a file from anywhere and decode it as `decode_image` does.

    Raises:
        BadImageError: the file is missing ("missing"), cannot be read ("unreadable") or decoded; the message names it.
    """
    try:
        data = read_bytes(uri, limit_bytes=limits.max_bytes)
    except SourceError as error:
        reason = "missing" if isinstance(error.__cause__, FileNotFoundError) else "unreadable"
        raise BadImageError(str(error), reason=reason) from error
    try:
        return decode_image(data, limits=limits, minimum_side=minimum_side)
    except BadImageError as error:
        raise type(error)(f"{uri}: {error}", reason=error.reason) from error


def load_image(uri: str, preprocessing: PreprocessingSpec, *, limits: DecodingLimits = DEFAULT_LIMITS) -> Pixels:
    """Read, decode and preprocess a picture, as training, embedding and evaluation do.

    Returns:
        (side, side, 3) uint8 RGB.

    Raises:
        BadImageError: the file is missing, unreadable or cannot be decoded.
    """
    return preprocess(read_picture(uri, limits=limits, minimum_side=decoding_side(preprocessing)), preprocessing)


def decoding_side(preprocessing: PreprocessingSpec) -> int:
    """Return the `minimum_side` for decoding before preprocessing: twice the side of the result.

    At least half of the reduction is then done by area averaging, and the result differs from that of a full decode by
    less than one grey level on average.
    """
    return 2 * preprocessing.side


def _is_truncated(data: bytes, kind: str, text: str) -> bool:
    """Whether an undecodable file lacks its end, judged by the decoder's message or by the file's end marker."""
    if "truncated" in text.lower():
        return True
    if kind == "webp":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    if kind == "avif":
        return "buffer size" in text.lower()
    mark = {"png": b"IEND", "jpeg": b"\xff\xd9"}.get(kind)
    return mark is not None and mark not in data


def _check_size(width: int, height: int, limits: DecodingLimits, scans: int = 1) -> None:
    shorter, longer = sorted((width, height))
    size, pixels = f"{width} × {height} pixels", width * height
    if shorter < limits.min_side:
        raise BadImageError(f"the picture has {size}, each side needs at least {limits.min_side}", reason="too_small")
    if longer > limits.max_side:
        raise ImageTooLargeError(
            f"the picture has {size}, a side may have at most {limits.max_side}", reason="side_too_long"
        )
    if pixels > limits.max_pixels:
        raise ImageTooLargeError(
            f"the picture has {size}, at most {limits.max_pixels} in all are allowed", reason="too_many_pixels"
        )
    if longer > limits.max_aspect * shorter:
        raise ImageTooLargeError(
            f"the picture has {size}, the longer side may be at most {limits.max_aspect:g} times the shorter",
            reason="too_elongated",
        )
    if scans > limits.max_scans or (scans * pixels > limits.max_scanned_pixels and scans > 1):
        raise ImageTooLargeError(
            f"the JPEG file has {scans} scans of {size}, at most {limits.max_scans} scans and "
            f"{limits.max_scanned_pixels} scanned pixels are allowed; save it as baseline JPEG",
            reason="too_many_scans",
        )


def _decode_jpeg(
    data: bytes, header: JpegHeader, limits: DecodingLimits, minimum_side: int | None
) -> tuple[Pixels, tuple[int, int], int]:
    _check_size(header.width, header.height, limits, header.scans)
    size = (header.width, header.height)
    if header.is_plain:
        least = 0 if minimum_side is None or minimum_side > min(size) else minimum_side
        try:
            pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=least, min_width=least)
        except ValueError:  # a warning or an error of libjpeg; Pillow accepts more, so try it
            pass
        else:
            if not header.is_described:
                return pixels, size, 1
            pixels, orientation = _described(data, pixels)
            return pixels, size, orientation
    return _decode_with_pillow(data, "jpeg", limits)


def _described(data: bytes, pixels: Pixels) -> tuple[Pixels, int]:
    """Apply what the descriptions of a JPEG file, decoded by another library, say of colour; return its orientation."""
    try:
        with _quiet(), JpegImageFile(io.BytesIO(data)) as image:
            mode, profile, orientation = image.mode, image.info.get("icc_profile"), orientation_of(image)
    except Exception:  # Pillow refuses some headers that libjpeg decodes
        return pixels, 1
    if profile is not None:
        stored = Image.fromarray(pixels[:, :, 0] if mode == "L" else pixels)
        found = in_srgb(stored, profile)
        if found is not stored:
            pixels = np.array(found)
    return pixels, orientation


def _decode_with_pillow(data: bytes, kind: str, limits: DecodingLimits) -> tuple[Pixels, tuple[int, int], int]:
    with _quiet():  # headers only
        image = _READERS[kind](io.BytesIO(data))
    with image:
        _check_size(*image.size, limits)
        if isinstance(image, TiffImageFile):
            _check_tiff(image, limits)
            with _quiet():
                image.load()
        pixels = _rgb_of(image)
        with _quiet():
            return pixels, image.size, orientation_of(image)


def _check_tiff(image: TiffImageFile, limits: DecodingLimits) -> None:
    """Refuse what only looks like a usual picture, and tiles that ask for more memory than the picture may.

    Source: TIFF 6.0, sections 8 and 15; DNG 1.7 (DNGVersion, CFA photometry); TIFF/EP (a preview comes first).
    """
    tags = image.tag_v2
    if _DNG_VERSION in tags or tags.get(_PHOTOMETRY) in _SENSOR or tags.get(_SUBFILE_TYPE, 0) == 1:
        raise raw_file()
    if image.mode in {"F", "I"}:
        raise unsupported("a TIFF with 32 bits a channel")
    if int(tags.get(_TILE_WIDTH, 1)) * int(tags.get(_TILE_HEIGHT, 1)) > limits.max_pixels:
        raise ImageTooLargeError(
            f"the TIFF file has tiles of more than {limits.max_pixels} pixels; save it without tiles",
            reason="too_many_pixels",
        )


def _rgb_of(image: Image.Image) -> Pixels:
    if image.mode.startswith("I"):  # 16-bit grey; Pillow's own conversion clips it to white
        levels = np.asarray(image).astype(np.int64)
        grey = np.clip(levels >> 8, 0, 255).astype(np.uint8)
        clear = image.info.get("transparency")
        if isinstance(clear, int):
            grey[levels == clear] = 255
        return np.repeat(grey[:, :, None], 3, axis=2)
    profile = image.info.get("icc_profile")
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        grey = image.mode == "LA"
        layers = image if image.mode == "RGBA" else image.convert("RGBA")
        image = Image.new("RGB", layers.size, "white")
        image.paste(layers, mask=layers)
        image = image.convert("L") if grey else image
    elif image.mode not in {"RGB", "CMYK", "L"}:
        image = image.convert("RGB")
    image = in_srgb(image, profile)
    if image.mode != "RGB":
        image = image.convert("RGB")
    return np.array(image)


@contextmanager
def _quiet() -> Iterator[None]:
    # Pillow warns about odd metadata, which is irrelevant here; `catch_warnings` swaps global state, so a lock is needed.
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
