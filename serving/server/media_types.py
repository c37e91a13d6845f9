"""Media types of requests: what a body is, by its header and, where the header says nothing, by its first bytes.

Source: RFC 9110, section 8.3 (media types are compared without regard to case and parameters); RFC 6839 (the suffix +json).
"""

from __future__ import annotations

from collections.abc import Mapping

# Types that clients send when none was chosen: none, or their library's default (curl --data, Python's urllib).
_UNTYPED = frozenset({"", "application/octet-stream", "application/x-www-form-urlencoded", "binary/octet-stream"})


def media_type_of(headers: Mapping[str, str]) -> str:
    """Return the type of a body in lower case and without parameters; "" where there is none.

    Args:
        headers: headers of the request, names in lower case.
    """
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def is_json(headers: Mapping[str, str], body: bytes) -> bool:
    """Whether a body is JSON: by its type, or untyped and beginning like an object."""
    kind = media_type_of(headers)
    if kind in _UNTYPED:
        return body[:256].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{"
    return kind in {"application/json", "text/json"} or (kind.startswith("application/") and kind.endswith("+json"))


def may_be_picture(headers: Mapping[str, str]) -> bool:
    """Whether a body may be a picture, which its first bytes then decide."""
    kind = media_type_of(headers)
    return kind in _UNTYPED or kind.startswith("image/")


def charset_of(headers: Mapping[str, str]) -> str:
    """Return the charset parameter of the type in lower case; "" where there is none."""
    for parameter in headers.get("content-type", "").split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"').lower()
    return ""
