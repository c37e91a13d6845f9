"""Asks the encoder for embeddings: Open Inference Protocol v2 over gRPC, with a deadline, in one space or not at all."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import grpc
import numpy as np
from kserve.protocol.grpc.grpc_predict_v2_pb2 import ModelInferRequest, ModelInferResponse
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from components.shared.defaults import MODEL_NAME
from components.shared.errors import PoisonedVectorError, SpaceMismatchError
from components.shared.pictures.preprocessing import Pixels
from components.shared.vectors.embeddings import Vectors, check_vectors
from components.shared.vectors.encoder import INPUT_NAME, OUTPUT_NAME
from serving.server.refusals import EncoderFailedError, EncoderTimeoutError, OverloadedError
from serving.transformer.encoding.breaker import CircuitBreaker
from serving.transformer.encoding.joined_calls import JoinedCalls

SPACE_PARAMETER = "space_id"
_PROBE_SECONDS = 2.0
_RETRY_PAUSE_SECONDS = 0.05
_MAX_MESSAGE_BYTES = 64 << 20
_CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),  # an encoder that comes back is found within a second
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_http_proxy", 0),  # it is a neighbour
]


class EncoderUnavailableError(EncoderFailedError):
    """The encoder cannot be reached, or failed so often that it is given a rest.

    Attributes:
        retry_after_seconds: pause before a retry, a whole number ≥ 1.
    """

    retry_after_seconds = 1


class ForeignSpaceError(EncoderFailedError, SpaceMismatchError):
    """The encoder does not embed in the space of the index."""


class EncoderClient:
    """One channel to the encoder.

    Args:
        address: host:port of its gRPC.
        model_name: name of the model there.
        timeout_seconds: time limit per call; shorter if the request has less time left.
        space: "required": an answer must name its space; "trusted": servers that cannot (Triton, OpenVINO Model Server)
            are believed, one that names another space is refused all the same.
        call_images: pictures of several requests that go in one call at most.
        breaker: gives an encoder that keeps failing a rest.
        metadata: request id and trace of the call.
    """

    def __init__(
        self,
        address: str,
        *,
        model_name: str = MODEL_NAME,
        timeout_seconds: float = 2.0,
        space: Literal["required", "trusted"] = "required",
        call_images: int = 16,
        breaker: CircuitBreaker | None = None,
        metadata: Callable[[], list[tuple[str, str]]] = list,
    ) -> None:
        self.address = address
        self.breaker = breaker or CircuitBreaker()
        self.last_success: float | None = None
        self._model_name, self._timeout_seconds, self._space = model_name, timeout_seconds, space
        self._metadata = metadata
        self._calls = JoinedCalls(self._call, most_images=call_images)
        self._channel: Any = None
        self._stub: Any = None
        self._probe_lock = threading.Lock()

    def start(self) -> None:
        """Open the channel; to be called in the running event loop, which it belongs to."""
        self._channel = grpc.aio.insecure_channel(self.address, options=_CHANNEL_OPTIONS)
        self._stub = GRPCInferenceServiceStub(self._channel)

    async def stop(self) -> None:
        """Close the channel."""
        await self._calls.stop()
        if self._channel is not None:
            await self._channel.close()

    async def encode(
        self, squares: Pixels, *, space_id: str, dimension: int, remaining_seconds: float | None = None
    ) -> Vectors:
        """Embed preprocessed pictures, in one call with those that are asked for at the same time.

        Args:
            squares: (b, side, side, 3) uint8.
            space_id: the space that is needed; another one is refused, never returned.
            dimension: length d of its embeddings.
            remaining_seconds: time left for the request.

        Returns:
            (b, d) float32, finite and of unit norm.

        Raises:
            EncoderTimeoutError: no answer in time.
            EncoderUnavailableError: it cannot be reached, or is given a rest.
            OverloadedError: it says that it has too much to do.
            ForeignSpaceError: it does not serve the space.
            EncoderFailedError: it fails, or answers with what is no embedding.
        """
        seconds = self._timeout_seconds if remaining_seconds is None else min(self._timeout_seconds, remaining_seconds)
        if seconds <= 0:
            raise EncoderTimeoutError("no time is left for the encoder")
        with self.breaker.call(_resting, (EncoderFailedError, EncoderTimeoutError)):
            vectors = await self._calls.encode(
                squares, space_id=space_id, dimension=dimension, deadline=time.monotonic() + seconds
            )
        self.last_success = time.monotonic()
        return vectors

    def serves(self, space_id: str, side: int) -> bool:
        """Whether the encoder embeds pictures of `side` pixels in this space now.

        Blocks up to some seconds; for threads, not for the event loop.
        """
        request = _request_of([_probe(side)], space_id, self._model_name)
        with self._probe_lock, grpc.insecure_channel(self.address, options=_CHANNEL_OPTIONS) as channel:
            try:
                response = GRPCInferenceServiceStub(channel).ModelInfer(
                    request, timeout=_PROBE_SECONDS, wait_for_ready=True
                )
                _vectors_of(response, 1, None, space_id, trusted=self._space == "trusted")
            except (grpc.RpcError, EncoderFailedError):
                return False
        return True

    async def _call(self, parts: Sequence[Pixels], *, space_id: str, dimension: int, deadline: float) -> Vectors:
        response = await self._ask(_request_of(parts, space_id, self._model_name), deadline)
        return _vectors_of(response, sum(map(len, parts)), dimension, space_id, trusted=self._space == "trusted")

    async def _ask(self, request: ModelInferRequest, deadline: float) -> ModelInferResponse:
        """Call once, and again if nothing listened: that request has reached no server."""
        if self._stub is None:
            raise EncoderUnavailableError("the channel to the encoder is not open")
        for attempt in range(2):
            try:
                seconds = max(0.001, deadline - time.monotonic())
                return await self._stub.ModelInfer(request, timeout=seconds, metadata=self._metadata())
            except grpc.aio.AioRpcError as error:
                problem = _problem_of(error)
                if attempt or not _is_refused(error):
                    raise problem from error
            await asyncio.sleep(min(_RETRY_PAUSE_SECONDS, max(0.0, deadline - time.monotonic())))
        raise EncoderUnavailableError("the encoder cannot be reached")


def _request_of(parts: Sequence[Pixels], space_id: str, model_name: str) -> ModelInferRequest:
    pixels = b"".join(np.ascontiguousarray(part).data for part in parts)
    request = ModelInferRequest(model_name=model_name, raw_input_contents=[pixels])
    request.inputs.add(name=INPUT_NAME, datatype="UINT8", shape=(sum(map(len, parts)), *parts[0].shape[1:]))
    request.parameters[SPACE_PARAMETER].string_param = space_id
    return request


def _vectors_of(
    response: ModelInferResponse, count: int, dimension: int | None, space_id: str, *, trusted: bool
) -> Vectors:
    """Take the embeddings out of an answer, believing nothing.

    Raises:
        ForeignSpaceError: they are of another space, or of one that is not named.
        EncoderFailedError: they are not `count` unit vectors of `dimension`.
    """
    received = response.parameters[SPACE_PARAMETER].string_param if SPACE_PARAMETER in response.parameters else ""
    if received != space_id and (received or not trusted):
        raise ForeignSpaceError(
            f"the encoder answers in space {received or '(not named)'}, the index is of {space_id}",
            expected=space_id,
            received=received,
        )
    output = next((output for output in response.outputs if output.name == OUTPUT_NAME), None)
    shape = tuple(output.shape) if output is not None else ()
    if output is None or output.datatype != "FP32" or len(shape) != 2 or shape[0] != count:
        raise EncoderFailedError(f"the encoder's answer holds no {OUTPUT_NAME} of {count} rows in FP32")
    if dimension is not None and shape[1] != dimension:
        raise EncoderFailedError(f"the encoder gives {shape[1]} dimensions, the index has {dimension}")
    position = list(response.outputs).index(output)
    if len(response.raw_output_contents) > position:
        raw = response.raw_output_contents[position]
        values = np.frombuffer(raw, "<f4") if len(raw) % 4 == 0 else np.empty(0, np.float32)
    else:
        values = np.asarray(output.contents.fp32_contents, np.float32)
    if values.size != shape[0] * shape[1]:
        raise EncoderFailedError(f"the encoder says {shape[0]} × {shape[1]} values and sends {values.size}")
    vectors = values.reshape(shape).astype(np.float32)
    try:
        check_vectors(vectors, source="the encoder's answer")
    except PoisonedVectorError as error:
        raise EncoderFailedError(str(error)) from error
    return vectors


def _is_refused(error: grpc.aio.AioRpcError) -> bool:
    """Whether nothing listened, so that the request has reached no server."""
    return error.code() == grpc.StatusCode.UNAVAILABLE and "failed to connect" in (error.details() or "").lower()


def _problem_of(error: grpc.aio.AioRpcError) -> Exception:
    code = error.code()
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return EncoderTimeoutError("the encoder did not answer in time")
    if code == grpc.StatusCode.UNAVAILABLE:
        return EncoderUnavailableError("the encoder cannot be reached")
    if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
        return OverloadedError("the encoder is overloaded; try again in a moment")
    if code == grpc.StatusCode.FAILED_PRECONDITION:
        return ForeignSpaceError("the encoder does not serve the space of the index", expected="", received="")
    return EncoderFailedError(f"the encoder fails with {code.name}")


def _resting() -> EncoderUnavailableError:
    return EncoderUnavailableError("the encoder failed repeatedly, so calls to it pause; try again in a moment")


def _probe(side: int) -> Pixels:
    """A picture for asking whether the encoder works: a ramp, since a flat one can give a zero vector."""
    ramp = np.linspace(0, 255, side).astype(np.uint8)
    picture: Pixels = np.broadcast_to(ramp[None, None, :, None], (1, side, side, 3)).copy()
    return picture
