"""The process that decodes strangers' pictures: started by `decoding`, expendable, killed with its parent.

What crashes a decoder kills this process only; the kernel's timer kills one that computes too long; memory is limited. It
talks through a socket whose number is the only argument, in the frames of `frames`.
"""

from __future__ import annotations

import ctypes
import hashlib
import io
import json
import math
import resource
import signal
import socket
import sys
from dataclasses import asdict
from typing import Any

import cv2
from PIL import Image

from components.shared.errors import BadImageError, ImageTooLargeError, SourceError
from components.shared.files.storage import read_bytes
from components.shared.pictures.decoder import decode_picture, decoding_side
from components.shared.pictures.limits import DecodingLimits
from components.shared.pictures.preprocessing import Pixels, PreprocessingSpec, preprocess, resize
from components.shared.pictures.statistics import picture_statistics
from components.shared.pictures.worker import run_worker
from serving.transformer.encoding.frames import PREFIX, frame_of, sizes_of

_PR_SET_PDEATHSIG = 1
_QUALITY = 82


def serve(connection: socket.socket) -> None:
    """Answer one job after the other until the parent hangs up."""
    first, _ = _receive(connection)
    limits = DecodingLimits.model_validate(first["limits"])
    resource.setrlimit(resource.RLIMIT_AS, (first["memory_bytes"],) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    connection.sendall(frame_of({"ready": True}))
    while True:
        head, data = _receive(connection)
        # No handler is set for this signal, so the kernel ends the process even inside native code.
        signal.setitimer(signal.ITIMER_PROF, first["cpu_seconds"])
        answer, body = _answer(head, data, limits)
        signal.setitimer(signal.ITIMER_PROF, 0)
        connection.sendall(frame_of(answer, body) + body)


def _answer(head: dict[str, Any], data: bytes, limits: DecodingLimits) -> tuple[dict[str, Any], bytes]:
    try:
        if head["job"] == "thumbnail":
            return {}, make_thumbnail(read_bytes(head["uri"], limit_bytes=limits.max_bytes), head["side"], limits)
        spec = PreprocessingSpec.model_validate(head["preprocessing"])
        return prepare_query(data, spec, head["crop"], limits, statistics=head["statistics"])
    except BadImageError as error:
        return {"reason": error.reason, "message": str(error), "too_large": isinstance(error, ImageTooLargeError)}, b""
    except SourceError as error:
        missing = isinstance(error.__cause__, FileNotFoundError)
        return {"reason": "missing" if missing else "unreadable", "message": str(error)}, b""
    except (MemoryError, cv2.error):  # OpenCV's failed allocations are errors of its own
        return {"reason": "out_of_memory", "message": "the picture needs more memory than is available"}, b""


def prepare_query(
    data: bytes, preprocessing: PreprocessingSpec, crop: list[float] | None, limits: DecodingLimits, *, statistics: bool
) -> tuple[dict[str, Any], bytes]:
    """Decode, crop and preprocess a query's picture and say what it looks like.

    Args:
        data: the encoded picture.
        preprocessing: preprocessing of the release.
        crop: x, y, width and height as fractions of the upright picture; None: all of it.
        limits: limits of the picture.
        statistics: whether to measure the picture as well.

    Returns:
        Facts of the picture, and the pixels of the (side, side, 3) uint8 square.
    """
    side = decoding_side(preprocessing)
    if crop is not None:
        side = min(limits.max_side, math.ceil(side / min(crop[2], crop[3])))  # the part keeps its resolution
    picture = decode_picture(data, limits=limits, minimum_side=side)
    part = picture.pixels if crop is None else _cut(picture.pixels, crop)
    facts = {
        "sha256": hashlib.sha256(data).hexdigest(),
        "width": picture.width,
        "height": picture.height,
        "format": picture.format,
        "bytes": len(data),
        **(asdict(picture_statistics(picture.pixels)) if statistics else {}),
    }
    return facts, preprocess(part, preprocessing).tobytes()


def make_thumbnail(data: bytes, side: int, limits: DecodingLimits) -> bytes:
    """Decode a picture and re-encode it as WebP that fits into side × side pixels; stored bytes are never served."""
    picture = decode_picture(data, limits=limits, minimum_side=side).pixels
    height, width = picture.shape[:2]
    scale = min(1.0, side / max(height, width))
    small = resize(picture, (max(1, round(width * scale)), max(1, round(height * scale))))
    encoded = io.BytesIO()
    Image.fromarray(small).save(encoded, "WEBP", quality=_QUALITY, method=2)
    return encoded.getvalue()


def _cut(pixels: Pixels, crop: list[float]) -> Pixels:
    height, width = pixels.shape[:2]
    x, y, w, h = crop
    left, top = min(width - 1, math.floor(x * width)), min(height - 1, math.floor(y * height))
    right, bottom = min(width, math.ceil((x + w) * width)), min(height, math.ceil((y + h) * height))
    return pixels[top : max(bottom, top + 1), left : max(right, left + 1)]


def _receive(connection: socket.socket) -> tuple[dict[str, Any], bytes]:
    head, body = sizes_of(_receive_bytes(connection, PREFIX.size))
    return json.loads(_receive_bytes(connection, head)), _receive_bytes(connection, body)


def _receive_bytes(connection: socket.socket, count: int) -> bytes:
    buffer = bytearray(count)
    view, done = memoryview(buffer), 0
    while done < count:
        received = connection.recv_into(view[done:])
        if not received:
            raise EOFError
        done += received
    return bytes(buffer)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # Linux only; elsewhere the closed socket must do


if __name__ == "__main__":
    if sys.platform == "linux":
        _die_with_parent()
    run_worker(lambda descriptor: serve(socket.socket(fileno=descriptor)))
