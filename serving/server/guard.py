"""The guard: pure ASGI layers, each with one duty. From outside in: Exchange, Doorkeeper, BodyReader, Admission, application."""

from __future__ import annotations

import hashlib
import hmac
import logging
import random
from collections.abc import Callable, Mapping

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from components.shared.errors import NotReadyError, ParameterError
from serving.server.limits import GuardSettings
from serving.server.metrics import ServerMetrics
from serving.server.problems import Problem, ProblemTable
from serving.server.queue import AdmissionQueue
from serving.server.refusals import BodyTooLargeError, MissingKeyError, OverloadedError
from serving.server.request import CURRENT_REQUEST, CurrentRequest, choose_request_id
from serving.server.routes import AllowList, Route
from serving.server.traces import Traces

ROUTE = "visual_search.route"  # in the ASGI scope
LOG = logging.getLogger("serving.access")
FAILURES = logging.getLogger("serving.failures")
_ALWAYS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"), (b"x-frame-options", b"DENY"))
_NO_STORE = (b"cache-control", b"no-store")
_CLOSE = (b"connection", b"close")


class Exchange:
    """The outermost layer: request id, problems instead of exceptions, headers of every answer, metrics, log, span."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: ServerMetrics,
        traces: Traces,
        problems: ProblemTable,
        is_draining: Callable[[], bool],
        log_share: float,
    ) -> None:
        self._app, self._metrics, self._traces, self._problems = app, metrics, traces, problems
        self._is_draining, self._log_share = is_draining, log_share

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request = CurrentRequest(
            choose_request_id(headers.get(b"x-request-id", b"").decode("latin-1")),
            query_string=scope.get("query_string", b"").decode("latin-1"),
        )
        token = CURRENT_REQUEST.set(request)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                request.status = message["status"]
                message = {**message, "headers": self._headers(request, list(message.get("headers", ())))}
            await send(message)

        try:
            with self._traces.request(scope["method"], headers, request):
                await self._guarded(request, scope, receive, answer)
        finally:
            self._account(request)
            CURRENT_REQUEST.reset(token)

    async def _guarded(self, request: CurrentRequest, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except ClientDisconnect:
            request.status = 499  # the client has gone
        except Exception as error:
            problem = self._problems.problem_of(error)
            request.refusal = problem.kind.code
            if problem.kind.status == 500:
                FAILURES.exception("request failed", extra={"request_id": request.request_id, "route": request.route})
            if request.status:
                raise  # half of an answer is out: the connection is closed
            await send_problem(problem, request.request_id, send)

    def _headers(self, request: CurrentRequest, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        present = {name.lower() for name, _ in headers}
        now = self._metrics.identity()
        release = now.release_id if request.release_id is None else request.release_id
        wanted = [
            (b"x-request-id", request.request_id.encode()),
            (b"x-visual-search-release", release.encode()),
            (b"x-visual-search-arm", (now.arm if request.arm is None else request.arm).encode()),
            *_ALWAYS,
            _NO_STORE,
        ]
        if self._is_draining():
            wanted.append(_CLOSE)  # so that no client finds its idle connection gone
        return headers + [pair for pair in wanted if pair[0] not in present and pair[1]]

    def _account(self, request: CurrentRequest) -> None:
        status = request.status = request.status or 499
        for tell in self._metrics.listeners:
            tell(request)
        self._metrics.answered(request.route, status, request.started, request.release_id, request.arm)
        if request.refusal is not None:
            labels = self._metrics.labels(request.release_id, request.arm)
            self._metrics.refusals.labels(request.refusal, *labels).inc()
        if status == 500 or random.random() < self._log_share:
            LOG.info("request", extra={"request": request})


class Doorkeeper:
    """Rejects requests to unlisted routes or without a valid API key, and fails readiness while draining."""

    def __init__(
        self, app: ASGIApp, *, allowed: AllowList, settings: GuardSettings, is_draining: Callable[[], bool]
    ) -> None:
        self._app, self._allowed, self._is_draining = app, allowed, is_draining
        self._keys = ApiKeys([key.get_secret_value() for key in settings.api_keys])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http":
            route = self._allowed.match(scope["method"], scope["path"])
            request = CURRENT_REQUEST.get()
            if request is not None:
                request.route = route.path
            if route.is_readiness and self._is_draining():
                raise NotReadyError("the server is stopping")
            if not route.is_open:
                self._keys.check(dict(scope["headers"]))
            scope[ROUTE] = route
        await self._app(scope, receive, send)


class ApiKeys:
    """The keys that let in.

    Args:
        keys: several, so that a new one can be handed out before an old one is withdrawn; none: everybody is let in.
    """

    def __init__(self, keys: list[str]) -> None:
        if any(len(key) < 16 for key in keys):
            raise ParameterError("an API key must have 16 characters or more; make one with `openssl rand -hex 32`")
        self._digests = [hashlib.sha256(key.encode()).digest() for key in keys]

    def check(self, headers: Mapping[bytes, bytes]) -> None:
        """Look for a key in `X-Api-Key` or `Authorization: Bearer`, in a time that tells nothing about the keys.

        Raises:
            MissingKeyError: no key came, or a wrong one.
        """
        if not self._digests:
            return
        offered = headers.get(b"x-api-key", b"")
        authorization = headers.get(b"authorization", b"")
        if not offered and authorization[:7].lower() == b"bearer ":
            offered = authorization[7:].strip()
        digest = hashlib.sha256(offered).digest()
        if not sum(hmac.compare_digest(digest, each) for each in self._digests):
            raise MissingKeyError("An API key is needed: send it as X-Api-Key or as Authorization: Bearer.")


class BodyReader:
    """Reads a body whole, up to a limit, before a place is taken: a slow client then occupies memory, never a worker.

    A request that is refused because the queue is full is refused before its body is read.
    """

    def __init__(self, app: ASGIApp, *, settings: GuardSettings, queues: Mapping[str, AdmissionQueue]) -> None:
        self._app, self._settings, self._queues = app, settings, queues
        self._held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        headers = dict(scope["headers"]) if scope["type"] == "http" else {}
        if not (headers.keys() & {b"content-length", b"transfer-encoding"}):
            await self._app(scope, receive, send)
            return
        declared = headers.get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > self._settings.max_body_bytes:
            raise self._too_large()
        route: Route = scope[ROUTE]
        if route.queue is not None:
            self._queues[route.queue].refuse_if_full()
        chunks: list[bytes] = []
        size = 0
        try:
            more = True
            while more:
                message = await receive()
                if message["type"] != "http.request":
                    raise ClientDisconnect
                chunk = message.get("body", b"")
                chunks.append(chunk)
                size += len(chunk)
                self._held_bytes += len(chunk)
                if size > self._settings.max_body_bytes:
                    raise self._too_large()
                if self._held_bytes > self._settings.max_receiving_bytes:
                    raise OverloadedError(
                        "The server receives more data than it can hold; try again.", retry_after_seconds=2
                    )
                more = message.get("more_body", False)
            await self._app(scope, _replay(b"".join(chunks), receive), send)
        finally:
            self._held_bytes -= size

    def _too_large(self) -> BodyTooLargeError:
        return BodyTooLargeError(f"A body may have {self._settings.max_body_bytes} bytes.")


class Admission:
    """Sends a request through the queue of its route, if it has one."""

    def __init__(self, app: ASGIApp, *, queues: Mapping[str, AdmissionQueue]) -> None:
        self._app, self._queues = app, queues

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        route: Route | None = scope.get(ROUTE)
        if route is None or route.queue is None:
            await self._app(scope, receive, send)
            return
        async with self._queues[route.queue]:
            await self._app(scope, receive, send)


async def send_problem(problem: Problem, request_id: str, send: Send) -> None:
    """Answer with a problem."""
    body = problem.body(request_id)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *problem.headers]
    await send({"type": "http.response.start", "status": problem.kind.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _replay(body: bytes, receive: Receive) -> Receive:
    parts: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return parts.pop() if parts else await receive()

    return replayed
