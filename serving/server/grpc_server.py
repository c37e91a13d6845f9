"""The gRPC server: kserve's servicer on our address, with limits, one table of errors and a closed admin surface."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import grpc
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc
from kserve.protocol.grpc.servicer import InferenceServicer

from components.shared.errors import ResourceError
from serving.server.guard import ApiKeys
from serving.server.limits import GuardSettings
from serving.server.metrics import ServerMetrics
from serving.server.problems import ProblemTable
from serving.server.request import CURRENT_REQUEST, CurrentRequest, choose_request_id
from serving.server.traces import Traces

FAILURES = logging.getLogger("serving.failures")
_HEALTH = {"ServerLive", "ServerReady", "ModelReady"}
_CLOSED = {"RepositoryModelLoad", "RepositoryModelUnload", "ServerMetadata"}


class GuardedServicer(InferenceServicer):  # type: ignore[misc]
    """kserve's servicer, whose readiness says no while the server drains."""

    def __init__(self, plane: Any, is_draining: Callable[[], bool]) -> None:
        super().__init__(plane, None)
        self._is_draining = is_draining

    async def ServerReady(self, request: Any, context: Any) -> Any:  # noqa: N802 - named by the protocol
        """Tell whether the server is ready and the process does not stop."""
        answer = await super().ServerReady(request, context)
        answer.ready = answer.ready and not self._is_draining()
        return answer

    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Tell whether the model is ready and the process does not stop."""
        answer = await super().ModelReady(request, context)
        answer.ready = answer.ready and not self._is_draining()
        return answer


class GuardInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Every call: closed methods, API key, request id, span, metrics, errors by the table."""

    def __init__(self, keys: ApiKeys, metrics: ServerMetrics, traces: Traces, problems: ProblemTable) -> None:
        self._keys, self._metrics, self._traces, self._problems = keys, metrics, traces, problems

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        """Wrap the handler of a call; closed methods have none, which gRPC answers with UNIMPLEMENTED."""
        name = str(details.method).rpartition("/")[2]
        if name in _CLOSED:
            return None
        handler = await continuation(details)
        if handler is None or handler.unary_unary is None:
            return None
        inner = handler.unary_unary
        headers = {key.encode(): (value if isinstance(value, bytes) else value.encode())
                   for key, value in details.invocation_metadata or ()}  # fmt: skip

        async def call(request: Any, context: Any) -> Any:
            current = CurrentRequest(choose_request_id(headers.get(b"x-request-id", b"").decode("latin-1")), route=name)
            if (remaining := context.time_remaining()) is not None:
                current.deadline = time.monotonic() + remaining
            CURRENT_REQUEST.set(current)
            status = grpc.StatusCode.OK
            try:
                with self._traces.request("gRPC", headers, current):
                    if name not in _HEALTH:
                        self._keys.check(headers)
                    return await inner(request, context)
            except grpc.aio.AbortError:
                status = context.code() or grpc.StatusCode.UNKNOWN
                raise
            except Exception as error:
                problem = self._problems.problem_of(error)
                status = problem.kind.grpc_status
                if status is grpc.StatusCode.INTERNAL:
                    FAILURES.exception("call failed", extra={"request": current})
                self._metrics.refusals.labels(problem.kind.code, *self._metrics.labels(current.release_id)).inc()
                await context.abort(status, problem.message)
            finally:
                labels = self._metrics.labels(current.release_id, current.arm)
                self._metrics.grpc_calls.labels(name, getattr(status, "name", str(status)), *labels).inc()
                self._metrics.grpc_seconds.labels(name, *labels).observe(time.monotonic() - current.started)

        return grpc.unary_unary_rpc_method_handler(call, handler.request_deserializer, handler.response_serializer)


async def start_grpc(
    servicer: GuardedServicer, interceptor: GuardInterceptor, host: str, port: int, settings: GuardSettings
) -> tuple[Any, int]:
    """Start the server; returns it and its port.

    Raises:
        ResourceError: the address is taken or not of this machine.
    """
    size = settings.grpc_max_message_bytes
    server = grpc.aio.server(
        interceptors=(interceptor,),
        maximum_concurrent_rpcs=settings.grpc_max_calls,
        options=[
            ("grpc.max_send_message_length", size),
            ("grpc.max_receive_message_length", size),
            ("grpc.max_concurrent_streams", settings.grpc_max_streams),
            ("grpc.max_metadata_size", settings.max_header_bytes),
            ("grpc.so_reuseport", 0),  # a second server on the same port must fail, not share its calls
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ("grpc.http2.max_ping_strikes", 3),
        ],
    )
    grpc_predict_v2_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    try:
        bound = server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    except RuntimeError as error:
        raise ResourceError(f"gRPC cannot listen on {host}:{port}; choose another address or port") from error
    await server.start()
    return server, bound
