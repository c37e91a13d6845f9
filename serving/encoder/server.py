"""Puts the model on the network: gRPC, and REST for health, metrics and small clients."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import uvicorn
from fastapi import FastAPI, Response
from kserve import ModelRepository
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc
from kserve.protocol.grpc.servicer import InferenceServicer
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from serving.encoder.deadline import DeadlineInterceptor
from serving.encoder.predictor import EncoderModel
from serving.settings import EncoderSettings
from serving.shell.problems import INTERNAL, ProblemTable

_LOG = logging.getLogger(__name__)
_HEADROOM_BYTES = 1 << 20


class ProblemInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc is not typed
    """Answers errors by the one table of problems; a client never sees a class name, a path or a trace."""

    def __init__(self) -> None:
        self._table = ProblemTable()

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        """Wrap the handler of a call."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler.unary_unary:
            return handler

        async def answered(request: Any, context: Any) -> Any:
            try:
                return await handler.unary_unary(request, context)
            except Exception as error:
                problem = self._table.problem_of(error)
                if problem.kind is INTERNAL:
                    _LOG.exception("a call failed")
            return await context.abort(problem.kind.grpc_status, problem.message)

        return grpc.unary_unary_rpc_method_handler(
            answered,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


class _Servicer(InferenceServicer):  # type: ignore[misc]
    """kserve's, without the calls by which anybody could take the model away."""

    async def RepositoryModelLoad(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Refuse."""
        return await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Models are not loaded by calls.")

    async def RepositoryModelUnload(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Refuse."""
        return await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Models are not unloaded by calls.")


async def serve(model: EncoderModel, settings: EncoderSettings) -> None:
    """Serve until SIGTERM or SIGINT; then answer what was begun, and return."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    repository = ModelRepository()
    repository.update(model)
    extension = ModelRepositoryExtension(repository)
    side = model.get_input_types()[0]["shape"][1]
    most = settings.encoder_max_request_images * side * side * 3 + _HEADROOM_BYTES
    server = grpc.aio.server(
        interceptors=(ProblemInterceptor(), DeadlineInterceptor()),
        options=[("grpc.max_receive_message_length", most), ("grpc.max_send_message_length", most)],
    )
    grpc_predict_v2_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(
        _Servicer(DataPlane(repository), extension), server
    )
    port = server.add_insecure_port(f"{settings.bind}:{settings.encoder_grpc_port}")
    await server.start()
    web = uvicorn.Server(
        uvicorn.Config(
            _health(model), host=settings.bind, port=settings.encoder_http_port, log_level="warning", lifespan="off"
        )
    )
    rest = asyncio.create_task(web._serve())
    model.holder.start()
    _LOG.info("the encoder listens for gRPC on %s:%d", settings.bind, port)
    await stopped.wait()
    await server.stop(settings.grace_seconds)
    web.should_exit = True
    await rest
    await model.holder.stop()


def _health(model: EncoderModel) -> FastAPI:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/v2/health/live")
    def live() -> dict[str, bool]:
        return {"live": True}

    @app.get("/v2/health/ready")
    @app.get("/v2/models/{name}/ready")
    def ready(response: Response, name: str = model.name) -> dict[str, bool]:
        is_ready = model.ready and name == model.name
        response.status_code = 200 if is_ready else 503
        return {"ready": is_ready}

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return app
