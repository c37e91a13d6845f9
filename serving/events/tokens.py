"""Impression tokens: what was shown to whom and where, signed, so that a click can vouch for itself."""

from __future__ import annotations

import base64
import binascii
import datetime
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from components.shared.errors import ParameterError
from serving.events.errors import TokenError

LONGEST_TOKEN = 8192  # characters; the longest ids of a catalogue (twice 512 characters of 4 bytes) fit
SHORTEST_KEY = 32  # bytes: as long as the hash, RFC 2104 §3
_VERSION = "1"
_MAC_BYTES = 16  # truncated to half of the hash, the least that RFC 2104 §5 allows: 128 bits
_CLOCK_SKEW_SECONDS = 300.0  # of the machine that signed, ahead of ours
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_URL_SAFE = bytes.maketrans(b"+/", b"-_")  # RFC 4648 §5, and without padding
_MICROSECOND = datetime.timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Impression:
    """One result that was shown.

    Attributes:
        user_id: pseudonym of the person who searched.
        query_image_id: the query picture, if it is in the catalogue.
        image_id: image that was shown.
        position: 1 is the first.
        arm: arm of an A/B test that answered.
        at: when, with a time zone.
        country: two letters, if known.
    """

    query_id: str
    user_id: str
    query_image_id: str | None
    image_id: str
    position: int
    release_id: str
    arm: str
    at: datetime.datetime
    country: str | None


class TokenSigner:
    """Sign impressions and verify tokens: HMAC-SHA256 (FIPS 198-1) over the text of the token.

    To rotate keys without refusing anybody: give all servers the new key as the last one, then move it to the front,
    and drop the old one when its last tokens have expired.

    Args:
        keys: at least 32 bytes each. The first one signs, all verify.
        lifetime_seconds: how long after the impression its clicks are taken.

    Raises:
        ParameterError: no key, or one that is too short.
    """

    def __init__(self, keys: Sequence[bytes], lifetime_seconds: float = 36 * 3600) -> None:
        if not keys or min(map(len, keys)) < SHORTEST_KEY:
            raise ParameterError(
                f"impression tokens need one or more keys of at least {SHORTEST_KEY} bytes, newest first; "
                'make one with: python -c "import secrets; print(secrets.token_hex(32))"'
            )
        self._keys = tuple(keys)
        self._lifetime_seconds = lifetime_seconds

    def sign(self, impression: Impression) -> str:
        """Return a token of the characters A–Z a–z 0–9 - _ . that `verify` turns back into an equal impression."""
        fields = [
            impression.query_id,
            impression.user_id,
            impression.query_image_id,
            impression.image_id,
            impression.position,
            impression.release_id,
            impression.arm,
            microseconds(impression.at),
            impression.country,
        ]
        signed = f"{_VERSION}.{_encode(orjson.dumps(fields))}"
        return f"{signed}.{_mac(self._keys[0], signed)}"

    def verify(self, token: str, now: datetime.datetime) -> Impression:
        """Return what a token vouches for.

        Nothing of a token is read before its length and its signature are right. The signature covers the text, not the
        bytes that it encodes, so that no other spelling of a token is valid.

        Raises:
            TokenError: it is too long, malformed, forged or altered, or has expired.
        """
        if len(token) > LONGEST_TOKEN:
            raise TokenError(f"a token has at most {LONGEST_TOKEN} characters", reason="too_long")
        signed, dot, mac = token.rpartition(".")
        if not token.isascii() or not dot or not signed.startswith(f"{_VERSION}."):
            raise TokenError("this is not a token of a search result", reason="malformed")
        genuine = [hmac.compare_digest(_mac(key, signed), mac) for key in self._keys]  # all of them: no early end
        if not any(genuine):
            raise TokenError("this token was not signed here, or was altered", reason="forged")
        impression = _read(signed.partition(".")[2])
        age = (now - impression.at).total_seconds()
        if not -_CLOCK_SKEW_SECONDS <= age <= self._lifetime_seconds:
            raise TokenError("this token has expired; search again", reason="expired")
        return impression


def microseconds(at: datetime.datetime) -> int:
    """Return a moment as whole microseconds since 1970 in UTC."""
    return (at - EPOCH) // _MICROSECOND


def moment(at_us: int) -> datetime.datetime:
    """Return the moment of `microseconds`."""
    return EPOCH + at_us * _MICROSECOND


def _mac(key: bytes, signed: str) -> str:
    return _encode(hmac.digest(key, signed.encode("ascii"), "sha256")[:_MAC_BYTES])


def _encode(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).translate(_URL_SAFE, b"=").decode("ascii")


def _read(payload: str) -> Impression:
    try:
        fields = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        query_id, user_id, query_image_id, image_id, position, release_id, arm, at_us, country = fields
        return Impression(
            query_id, user_id, query_image_id, image_id, position, release_id, arm, moment(at_us), country
        )
    except (ValueError, TypeError, OverflowError) as error:  # signed with our key by something else
        raise TokenError("this is not a token of a search result", reason="malformed") from error
