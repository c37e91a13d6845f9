"""The shell around kserve's model server that encoder and transformer run in.

How to use it::

    identity = lambda: Identity(release_id=…, space_id=…, generation=…, arm=…)     # what is served at this moment
    metrics = ServerMetrics(identity)
    traces = start_traces("visual-search-encoder", os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"))
    flags = read_flags(sys.argv[1:])                # what the KServe controller appended; None where it did not
    return run_server(model, name="visual-search", host=settings.bind, http_port=flags.http_port or …, grpc_port=…,
                      guard=GuardSettings(…), lame_duck_seconds=…, grace_seconds=…, routers=[…], metrics=metrics,
                      traces=traces, on_start=…, on_stop=…)

- A model may be unready when it starts: readiness says 503 until `model.ready` (or `healthy()`) says otherwise.
- Routers come before kserve's routes and so may take their place; each route of a router is on the allow-list by itself.
  Tags of a route: "queue:search" sends it through the queue of that name, "open" needs no API key.
- Raise errors of components/shared/errors.py and serving/server/refusals.py; problems.py has their codes. Everything else is
  answered as "internal" and logged with its traceback. Rows for your own classes: `problems=`.
- CURRENT_REQUEST (request.py) has the request id; set its `release_id` and `arm` where an answer is not of what is served
  now. `with traces.stage("decode"):` makes a span; `traces.outgoing()` is the metadata of a call to the encoder.
- Handlers never block the loop: `await asyncio.to_thread(…)`.
- kserve reads the command line while it is imported: import it only in the process that serves.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import json
import logging
import os
import resource
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import kserve
import uvicorn
from fastapi import APIRouter, FastAPI, Request, Response
from kserve.model_server import app as kserve_app
from kserve.protocol.rest.v1_endpoints import register_v1_endpoints
from kserve.protocol.rest.v2_endpoints import register_v2_endpoints
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from components.shared.errors import NotReadyError, ParameterError, ResourceError
from serving.server.connection import guarded_connection
from serving.server.grpc_server import GuardedServicer, GuardInterceptor, start_grpc
from serving.server.guard import Admission, ApiKeys, BodyReader, Doorkeeper, Exchange
from serving.server.limits import GuardSettings
from serving.server.logs import configure_logs
from serving.server.metrics import ServerMetrics
from serving.server.plane import StrictDataPlane
from serving.server.prediction import PredictRoute
from serving.server.problems import ProblemKind, ProblemTable
from serving.server.queue import AdmissionQueue
from serving.server.routes import AllowList, kserve_routes, routes_of
from serving.server.traces import Traces
from serving.server.versions import check_versions

LOG = logging.getLogger("serving.server")
Hook = Callable[[], Awaitable[None] | None]
_COLLECTED_AFTER = 10_000  # objects more than before; a search makes some hundred that live until it is answered
_PARTING_SECONDS = 2.0  # from the second signal to the end, even if work still runs


def run_server(
    model: kserve.Model,
    *,
    name: str,
    host: str,
    http_port: int,
    grpc_port: int | None,
    guard: GuardSettings | None = None,
    lame_duck_seconds: float = 5.0,
    grace_seconds: float = 10.0,
    routers: Sequence[APIRouter] = (),
    metrics: ServerMetrics | None = None,
    traces: Traces | None = None,
    problems: Mapping[type[BaseException], ProblemKind] | None = None,
    on_start: Hook | None = None,
    on_stop: Hook | None = None,
) -> int:
    """Serve a model until SIGTERM or SIGINT; one server a process.

    Prints one JSON line on stdout when it listens: {"event": "listening", "http": port, "grpc": port or null}.

    Args:
        model: the model; registered under `name`.
        name: name of the model in paths and calls.
        host: address to listen on, for HTTP and gRPC.
        http_port: 0: one that is free.
        grpc_port: 0: one that is free; None: no gRPC.
        guard: limits.
        lame_duck_seconds: after the first signal: "not ready", but still answering, so that balancers send no more requests.
        grace_seconds: after that, time for requests in flight. A second signal ends all at once.
        routers: our own routes.
        metrics: metrics of the process.
        traces: traces of the process.
        problems: rows of the table of problems for errors that only this process knows.
        on_start: called in the loop before it listens; may be a coroutine function.
        on_stop: called in the loop when nothing is in flight any more.

    Returns:
        The exit code: 0 after a stop in order, 1 after a second signal.

    Raises:
        ResourceError: an address is taken, or a library has known holes.
    """
    check_versions()
    configure_logs()
    if model.name != name:
        raise ParameterError(f"the model is named {model.name!r}, the server expects {name!r}; give both the same name")
    server = ShellServer(
        model, guard or GuardSettings(), metrics or ServerMetrics(), traces or Traces(), ProblemTable(problems)
    )
    loops = uvicorn.Config("", loop="auto", log_config=None).get_loop_factory()
    with asyncio.Runner(loop_factory=loops) as runner:
        return runner.run(
            server.serve(host, http_port, grpc_port, routers, lame_duck_seconds, grace_seconds, on_start, on_stop)
        )


class ShellServer(kserve.ModelServer):  # type: ignore[misc]
    """kserve's model server with one worker, our data plane, our guard and our way to stop."""

    def __init__(
        self, model: kserve.Model, guard: GuardSettings, metrics: ServerMetrics, traces: Traces, problems: ProblemTable
    ) -> None:
        super().__init__(workers=1, enable_docs_url=False, enable_latency_logging=False, access_log_format=None)
        configure_logs()  # kserve has just configured its own
        self.dataplane = StrictDataPlane(model_registry=self.registered_models)
        self.register_model(model)
        model.enable_latency_logging = False
        self._guard, self._metrics, self._traces, self._problems = guard, metrics, traces, problems
        self._draining = False
        self._signals = 0
        self._stop = asyncio.Event()
        self._http: _Uvicorn | None = None
        self._name = str(model.name)

    async def serve(
        self,
        host: str,
        http_port: int,
        grpc_port: int | None,
        routers: Sequence[APIRouter],
        lame_duck_seconds: float,
        grace_seconds: float,
        on_start: Hook | None,
        on_stop: Hook | None,
    ) -> int:
        """Serve until a signal; see run_server."""
        self.setup_event_loop()
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, self._signalled)
        allow_files()
        listener = listen(host, http_port)
        await _call(on_start)
        grpc_server, grpc_bound = None, None
        if grpc_port is not None:
            keys = ApiKeys([key.get_secret_value() for key in self._guard.api_keys])
            interceptor = GuardInterceptor(keys, self._metrics, self._traces, self._problems)
            servicer = GuardedServicer(self.dataplane, self._is_draining)
            grpc_server, grpc_bound = await start_grpc(servicer, interceptor, host, grpc_port, self._guard)
        self._http = _Uvicorn(self._config(self._guarded(self._application(routers), routers), grace_seconds))
        serving = asyncio.create_task(self._http.serve(sockets=[listener]))
        while not self._http.started and not serving.done():
            await asyncio.sleep(0.01)
        _spare_the_collector()
        if not serving.done():
            announcement = {"event": "listening", "http": listener.getsockname()[1], "grpc": grpc_bound}
            print(json.dumps(announcement), flush=True)
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await self._drain(lame_duck_seconds)
        self._http.should_exit = True
        if grpc_server is not None:
            await asyncio.gather(serving, grpc_server.stop(0 if self._signals > 1 else grace_seconds))
        else:
            await serving
        await _call(on_stop)
        self._traces.stop()
        return 1 if self._signals > 1 else 0

    def stop(self, sig: int) -> None:
        """Stop as a signal does; kserve's own would unload the model while requests are in flight."""
        self._signalled()

    async def _drain(self, seconds: float) -> None:
        self._draining = True
        self._metrics.draining.set(1)
        LOG.info("stopping: not ready, still answering for %.1f s", seconds)
        deadline = asyncio.get_running_loop().time() + seconds
        while self._signals < 2 and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.05)

    def _signalled(self) -> None:
        self._signals += 1
        self._draining = True
        self._stop.set()
        if self._signals == 2:
            if self._http is not None:
                self._http.force_exit = self._http.should_exit = True
            timer = threading.Timer(_PARTING_SECONDS, os._exit, (1,))
            timer.daemon = True
            timer.start()

    def _is_draining(self) -> bool:
        return self._draining

    def _application(self, routers: Sequence[APIRouter]) -> FastAPI:
        """Make kserve's application: our routes first, then its, and every exception left to the guard."""
        app: FastAPI = kserve_app
        app.router.routes.clear()  # openapi.json
        for router in routers:
            app.include_router(router)
        own = APIRouter()
        own.add_api_route("/metrics", self._render_metrics, methods=["GET"])
        own.add_api_route("/v2/health/ready", self._ready, methods=["GET"])
        own.add_api_route("/", self.dataplane.live, methods=["GET"])
        app.include_router(own)
        register_v1_endpoints(app, self.dataplane, None)
        register_v2_endpoints(app, self.dataplane, None)
        app.exception_handlers.clear()
        app.add_exception_handler(HTTPException, _leave_to_guard)
        app.user_middleware.clear()
        return app

    def _guarded(self, app: FastAPI, routers: Sequence[APIRouter]) -> ASGIApp:
        routes = [*routes_of(routers), *kserve_routes(self._name)]
        queues = {name: AdmissionQueue(name, each, self._metrics) for name, each in self._guard.queues.items()}
        unknown = sorted({route.queue for route in routes if route.queue is not None} - queues.keys())
        if unknown:
            raise ParameterError(f"routes name the queues {', '.join(unknown)}, but there are {', '.join(queues)} only")
        # Starlette's outermost layer answers unknown exceptions with text and raises them again: the guard is inside it.
        guarded: ASGIApp = Admission(_Bare(app, PredictRoute(self.dataplane, self._name)), queues=queues)
        guarded = BodyReader(guarded, settings=self._guard, queues=queues)
        guarded = Doorkeeper(guarded, allowed=AllowList(routes), settings=self._guard, is_draining=self._is_draining)
        return Exchange(
            guarded, metrics=self._metrics, traces=self._traces, problems=self._problems,
            is_draining=self._is_draining, log_share=self._guard.access_log_share,
        )  # fmt: skip

    def _config(self, app: ASGIApp, grace_seconds: float) -> uvicorn.Config:
        return uvicorn.Config(
            app,
            http=guarded_connection(self._guard),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=self._guard.keep_alive_seconds,
            timeout_graceful_shutdown=max(1, round(grace_seconds)),
            ssl_certfile=self.ssl_certfile,
            ssl_keyfile=self.ssl_keyfile,
        )

    async def _ready(self) -> dict[str, bool]:
        if not await self.dataplane.ready():
            raise NotReadyError("a model is not ready")
        return {"ready": True}

    async def _render_metrics(self) -> Response:
        if self._http is not None:
            self._metrics.connections.set(len(self._http.server_state.connections))
        return Response(self._metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")


class _Uvicorn(uvicorn.Server):
    """uvicorn's server, which leaves the signals to us."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


class _Bare:
    """A FastAPI application without Starlette's layer that answers unknown exceptions itself, and beside it one route."""

    def __init__(self, app: FastAPI, direct: PredictRoute) -> None:
        app.middleware_stack = app.build_middleware_stack()
        self._app, self._inside = app, app.middleware_stack.app  # type: ignore[attr-defined]
        self._direct = direct

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        if scope["type"] == "http" and scope["path"] == self._direct.path:
            await self._direct(scope, receive, send)
            return
        scope["app"] = self._app
        await self._inside(scope, receive, send)


def listen(host: str, port: int) -> socket.socket:
    """Open the socket of HTTP.

    Raises:
        ResourceError: the address is taken or not of this machine.
    """
    try:
        family, *_, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        listener = socket.create_server(address[:2], family=family, backlog=1024, dualstack_ipv6=host == "::")
    except OSError as error:
        raise ResourceError(
            f"HTTP cannot listen on {host}:{port} ({error.strerror}); choose another address or port"
        ) from error
    listener.setblocking(False)
    return listener


def allow_files() -> None:
    """Let this process have as many open files, and so connections, as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _spare_the_collector() -> None:
    """Exclude permanent objects from Python's garbage collection, and collect the rest less often.

    Requests leave few cycles behind; with the usual thresholds it takes a twentieth of the time of a search.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECTED_AFTER, 20, 20)


async def _leave_to_guard(request: Request, error: Exception) -> Response:
    raise error


async def _call(hook: Hook | None) -> None:
    if hook is not None:
        result = hook()
        if inspect.isawaitable(result):
            await result
