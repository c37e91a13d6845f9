"""Facts of the request being answered; they follow it into threads (asyncio.to_thread copies the context)."""

from __future__ import annotations

import math
import re
import secrets
import time
from contextvars import ContextVar
from dataclasses import dataclass, field

_WELL_FORMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(slots=True)
class CurrentRequest:
    """The request being answered.

    Attributes:
        request_id: taken from the client if well-formed, else made.
        route: template of the matched route, for logs and metrics; never the path itself, which anybody may choose.
        release_id: release that answers; set by the handler where it differs from the server's present one (hot swap).
        arm: arm that answers.
        status: HTTP status of the answer; 0 before.
        started: start on a monotonic clock, seconds.
        refusal: code of the problem that was answered, if any.
        deadline: deadline of the client, of a monotonic clock; gRPC sends it, kserve hands on the metadata alone.
        found_nothing: whether it was a search that had nothing to show for any of its queries.
        query_string: query string of the address; kserve hands its models headers and body only.
    """

    request_id: str
    route: str = "unmatched"
    release_id: str | None = None
    arm: str | None = None
    status: int = 0
    started: float = field(default_factory=time.monotonic)
    refusal: str | None = None
    deadline: float = math.inf
    found_nothing: bool = False
    query_string: str = ""


CURRENT_REQUEST: ContextVar[CurrentRequest | None] = ContextVar("current_request", default=None)


def choose_request_id(offered: str | None) -> str:
    """Take the client's id if it is 1 to 64 of letters, digits, ".", "_", "-"; else make one."""
    if offered is not None and _WELL_FORMED.fullmatch(offered):
        return offered
    return secrets.token_hex(12)
