"""The router that replaces the ingress: weighted, sticky by user and by pin header, counting what it sees of each arm.

As Gateway API wants it, an arm that cannot be reached is an error for the users who are sent to it; no user is sent elsewhere in
secret.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import uvicorn

from components.shared.errors import ResourceError
from pipelines.rehearsal.interleaving import interleave

PIN_HEADER = "x-visual-search-arm"
USER_HEADER = "x-visual-search-user"
_BUCKETS = 10_000
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "upgrade", "host", "content-length"})
_START_SECONDS = 30.0

Message = dict[str, Any]
Response = tuple[int, list[tuple[str, str]], bytes]


@dataclass
class Window:
    """Counters of one arm in one window of time: searches, failures of the server, slow answers, answers without results."""

    at: datetime
    arm: str
    requests: int = 0
    errors: int = 0
    slow: int = 0
    zero_results: int = 0


class Router:
    """Routes to two arms, in a thread of its own.

    Args:
        addresses: arm → URL; read for each request, since an arm can move.
        slow_seconds: from when on an answer counts as slow.
        window_seconds: length of the windows of counters.
        timeout_seconds: after which an arm counts as failed.
    """

    def __init__(
        self,
        addresses: Mapping[str, str],
        *,
        slow_seconds: float = 1.0,
        window_seconds: float = 0.5,
        timeout_seconds: float = 15.0,
    ) -> None:
        self._addresses, self._slow, self._window = addresses, slow_seconds, window_seconds
        self._timeout = timeout_seconds
        self.weights: dict[str, int] = {"champion": 100, "challenger": 0}
        self.pins: dict[str, str] = {}  # pinned arm → the arm that its users go to
        self.is_interleaving = False  # both arms answer every search, in one list
        self.interleaved: list[dict[str, str]] = []  # arm → query_id, for each search that both answered
        self._windows: dict[str, Window] = {}
        self._finished: list[Window] = []
        self._lock = threading.Lock()
        self._http: httpx.AsyncClient
        self._server: uvicorn.Server
        self._thread: threading.Thread

    @property
    def url(self) -> str:
        """Address of the router."""
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    def start(self) -> None:
        """Start; returns when it listens.

        Raises:
            ResourceError: it does not.
        """
        config = uvicorn.Config(
            self,
            host="127.0.0.1",
            port=0,
            log_level="error",
            access_log=False,
            lifespan="on",
            loop="asyncio",
            timeout_graceful_shutdown=5,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="router", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise ResourceError("the router does not start; check this machine's free memory and ports")
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop."""
        self._server.should_exit = True
        self._thread.join(_START_SECONDS)

    def arm_of(self, user: str, pin: str | None) -> str:
        """Return the arm of a user: the pin's, else by a hash, so that a growing share only moves users one way."""
        if pin in self.pins:
            return self.pins[pin]
        bucket = int.from_bytes(hashlib.sha256(user.encode()).digest()[:8]) % _BUCKETS
        total = sum(self.weights.values())
        return "challenger" if bucket * total < self.weights["challenger"] * _BUCKETS else "champion"

    def finished_windows(self) -> list[Window]:
        """Return all windows that are over, oldest first."""
        with self._lock:
            for arm in list(self._windows):
                self._close_if_over(arm)
            return sorted(self._finished, key=lambda window: window.at)

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        arm = self.arm_of(headers.get(USER_HEADER, ""), headers.get(PIN_HEADER))
        is_search = scope["path"].endswith(":predict")
        path = scope["path"] + (f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else "")
        kept = {name: value for name, value in headers.items() if name not in _HOP_BY_HOP}
        request = (scope["method"], path, kept, body)
        if is_search and self.is_interleaving:
            status, answered, data = await self._search_both(*request)
        else:
            status, answered, data = await (self._search if is_search else self._forward)(arm, *request)
        sent = [(name.encode(), value.encode("latin-1")) for name, value in answered if name.lower() not in _HOP_BY_HOP]
        sent.append((b"content-length", str(len(data)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": sent})
        await send({"type": "http.response.body", "body": data})

    async def _live(
        self, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        """Keep the connections to the arms from startup to shutdown."""
        await receive()
        limits = httpx.Limits(max_keepalive_connections=32)
        async with httpx.AsyncClient(timeout=self._timeout, limits=limits, trust_env=False) as self._http:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _search(self, arm: str, method: str, path: str, headers: dict[str, str], body: bytes) -> Response:
        began = time.monotonic()
        found = await self._forward(arm, method, path, headers, body)
        self._count(arm, found[0], time.monotonic() - began, found[2])
        return found

    async def _search_both(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Response:
        """Ask both arms and answer in one list; the champion's answer alone where the other has none."""
        arms = ("champion", "challenger")
        found = await asyncio.gather(*(self._search(arm, method, path, headers, body) for arm in arms))
        if any(status != 200 for status, _, _ in found):
            return found[0]
        answers = [json.loads(data)["predictions"] for _, _, data in found]
        merged = [interleave(dict(zip(arms, pair, strict=True))) for pair in zip(*answers, strict=True)]
        if None in merged:
            return found[0]
        with self._lock:
            self.interleaved += [{arm: ids["query_id"] for arm, ids in m["interleaved"].items()} for m in merged if m]
        return 200, [("content-type", "application/json")], json.dumps({"predictions": merged}).encode()

    async def _forward(self, arm: str, method: str, path: str, headers: dict[str, str], body: bytes) -> Response:
        try:
            found = await self._http.request(method, self._addresses[arm] + path, headers=headers, content=body)
        except httpx.TimeoutException:
            return 504, [("content-type", "text/plain")], b"the arm takes too long"
        except httpx.HTTPError:
            return 503, [("content-type", "text/plain")], b"the arm cannot be reached"
        # Bytes as they were decoded by the client: so no encoding may be announced any more.
        return (
            found.status_code,
            [i for i in found.headers.items() if i[0].lower() != "content-encoding"],
            found.content,
        )

    def _count(self, arm: str, status: int, seconds: float, data: bytes) -> None:
        empty = False
        if status == 200:
            try:
                empty = not json.loads(data)["predictions"][0]["results"]
            except (ValueError, KeyError, IndexError, TypeError):
                empty = True
        with self._lock:
            self._close_if_over(arm)
            window = self._windows.setdefault(arm, Window(datetime.now(UTC), arm))
            window.requests += 1
            window.errors += status >= 500
            window.slow += seconds > self._slow
            window.zero_results += empty

    def _close_if_over(self, arm: str) -> None:
        window = self._windows.get(arm)
        now = datetime.now(UTC)
        if window is not None and (now - window.at).total_seconds() >= self._window:
            window.at = now
            self._finished.append(self._windows.pop(arm))
