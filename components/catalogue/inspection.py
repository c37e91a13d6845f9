"""Facts about one picture's file: digest, size and fingerprint, or the reason why it is unusable."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from components.catalogue.fingerprints import fingerprint_of
from components.shared.errors import BadImageError
from components.shared.pictures.decoder import decode_picture
from components.shared.pictures.limits import DecodingLimits

# The fingerprint uses 64 × 64 pixels; three times that leaves enough for area averaging.
_DECODED_SIDE = 192


@dataclass(frozen=True, slots=True)
class Inspection:
    """Facts of one file; if `reason` is set, all facts but sha256 are missing.

    Attributes:
        sha256: hexadecimal digest of the file's bytes; empty if they could not be read.
        width, height: pixels, after EXIF orientation.
        fingerprint: None for a flat picture.
        reason: short word for the cause of a failure.
        message: the cause in a sentence.
    """

    sha256: str = ""
    width: int = 0
    height: int = 0
    fingerprint: bytes | None = None
    reason: str | None = None
    message: str | None = None

    @property
    def is_final(self) -> bool:
        """Whether the file's bytes alone decided; an unreachable file could be reachable tomorrow."""
        return bool(self.sha256)


def inspect_bytes(data: bytes, limits: DecodingLimits) -> Inspection:
    """Decode a file's bytes and describe them; never raises because of their contents."""
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        picture = decode_picture(data, limits=limits, minimum_side=_DECODED_SIDE)
    except BadImageError as error:
        return Inspection(sha256=sha256, reason=error.reason, message=str(error))
    return Inspection(sha256, picture.width, picture.height, fingerprint_of(picture.pixels))
