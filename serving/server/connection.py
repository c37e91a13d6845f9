"""One HTTP connection: uvicorn's, with the deadlines and limits that it lacks."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.server.limits import GuardSettings

_PROBLEMS = {
    400: (b"Bad Request", b"bad_request", b"This is not a request of HTTP/1.1."),
    408: (b"Request Timeout", b"too_slow", b"The request came too slowly."),
    431: (b"Request Header Fields Too Large", b"too_large", b"The headers are too many or too large."),
}


class GuardedConnection(HttpToolsProtocol):
    """Closes clients that are slow with headers, with a body or in reading, and those with too many headers.

    Subclassed with its settings by `guarded_connection`, since uvicorn makes one per connection by itself.
    """

    limits: GuardSettings

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._deadline: asyncio.TimerHandle | None = None
        self._write_deadline: asyncio.TimerHandle | None = None
        self._header_bytes = 0
        self._in_headers = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock of the first request, or close if there are too many connections."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            transport.abort()
            return
        self._expect_within(self.limits.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks."""
        self._expect_within(None)
        self.resume_writing()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        """Read on; headers that have no end are refused here."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.parser is None or self.transport.is_closing():
            return
        if self._in_headers:
            self._header_bytes += len(data)
            if self._header_bytes > self.limits.max_header_bytes:
                self._refuse(431)
        elif self._deadline is None and self._is_between_requests() and self.timeout_keep_alive_task is None:
            self._expect_within(self.limits.header_seconds)  # bytes that begin no request buy no more time than one

    def on_message_begin(self) -> None:
        """Start the clock of the headers."""
        self._header_bytes, self._in_headers = 0, True
        self._expect_within(self.limits.header_seconds)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Check the headers and start the clock of the body."""
        self._in_headers = False
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if len(self.headers) > self.limits.max_headers or size > self.limits.max_header_bytes:
            self._refuse(431)
        if self.transport.is_closing():
            raise ValueError("refused")  # stops the parser
        self._expect_within(self.limits.body_seconds)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Stop the clock: the request is here."""
        self._expect_within(None)
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Start the clock of a client that does not read."""
        super().pause_writing()
        if self._write_deadline is None:
            self._write_deadline = self.loop.call_later(self.limits.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop it."""
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._refuse(400)

    def _is_between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _expect_within(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self._refuse, 408)

    def _refuse(self, status: int) -> None:
        """Say why, if an answer may begin now, and close."""
        self._expect_within(None)
        if self.transport.is_closing():
            return
        if self.cycle is None or not self.cycle.response_started or self.cycle.response_complete:
            phrase, code, message = _PROBLEMS[status]
            body = b'{"error":{"code":"%s","message":"%s"},"request_id":""}' % (code, message)
            head = (
                b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head % (status, phrase, len(body)) + body)
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()


def guarded_connection(settings: GuardSettings) -> type[GuardedConnection]:
    """Make the class of a server's connections."""
    return type("Connection", (GuardedConnection,), {"limits": settings})
