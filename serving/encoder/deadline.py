"""The time that a gRPC client gives its call, known wherever the call is handled."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from time import monotonic
from typing import Any

import grpc
import grpc.aio

DEADLINE: ContextVar[float] = ContextVar("deadline", default=math.inf)  # of time.monotonic


class DeadlineInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc is not typed
    """Notes the deadline of every unary call; kserve hands on the metadata alone, which does not hold it."""

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        """Wrap the handler of a call."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler.unary_unary:
            return handler

        async def timed(request: Any, context: Any) -> Any:
            remaining = context.time_remaining()
            DEADLINE.set(math.inf if remaining is None else monotonic() + remaining)
            return await handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(
            timed,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
