"""POST /v1/events: clicks and dwell from the page or any client, acknowledged when they are on the disk."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from serving.events.errors import TokenError
from serving.events.limits import FloodLimits
from serving.events.records import ClientEvent, Event, parse_batch
from serving.events.store import EventStore
from serving.events.tokens import TokenSigner
from serving.server.media_types import media_type_of
from serving.server.refusals import BodyTooLargeError, MediaTypeError, TooManyEventsError

MOST_BODY_BYTES = 256 * 1024
_MEDIA_TYPES = ("application/json", "text/plain")  # the latter is what navigator.sendBeacon sends for a text


def now_utc() -> datetime.datetime:
    """Return the present moment."""
    return datetime.datetime.now(datetime.UTC)


def events_router(
    store: EventStore,
    signer: TokenSigner,
    limits: FloodLimits,
    *,
    most_body_bytes: int = MOST_BODY_BYTES,
    clock: Callable[[], datetime.datetime] = now_utc,
) -> APIRouter:
    """Return the route, whose errors (400, 413, 415, 429, 503) are those of the shell's table.

    The answer is `{"accepted": stored now, "repeated": stored before, "refused": [{"index": …, "reason": …}]}`; the three
    add up to the events of the request. A request that is answered by an error stored nothing that it vouches for, and may
    be sent again as it is.
    """
    router = APIRouter()

    @router.post("/v1/events")
    async def collect(request: Request) -> JSONResponse:
        body = await _read_body(request, most_body_bytes)
        now = clock()
        events, refused = _verify(parse_batch(body), signer, now)
        if not limits.admit(((e.impression.user_id, e.impression.query_id) for e in events), now.timestamp()):
            raise TooManyEventsError("these are more events than one user can cause; slow down and send them again")
        accepted = repeated = 0
        if events:
            outcome = await store.submit_async(events)
            accepted, repeated = outcome.accepted, outcome.repeated
        return JSONResponse({"accepted": accepted, "repeated": repeated, "refused": refused})

    return router


async def _read_body(request: Request, most_bytes: int) -> bytes:
    if media_type_of(request.headers) not in _MEDIA_TYPES:
        raise MediaTypeError(f"events are sent as {' or '.join(_MEDIA_TYPES)}")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most_bytes:
            raise BodyTooLargeError(f"a request with events has at most {most_bytes} bytes; send fewer at a time")
    return bytes(body)


def _verify(
    entries: list[ClientEvent | str], signer: TokenSigner, now: datetime.datetime
) -> tuple[list[Event], list[dict[str, Any]]]:
    events: list[Event] = []
    refused: list[dict[str, Any]] = []
    for index, entry in enumerate(entries):
        if isinstance(entry, str):
            refused.append({"index": index, "reason": entry})
            continue
        try:
            impression = signer.verify(entry.token, now)
        except TokenError as error:
            refused.append({"index": index, "reason": error.reason})
            continue
        events.append(Event(impression, entry.type, now, entry.dwell_ms, entry.visit))
    return events, refused
