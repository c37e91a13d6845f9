"""A real gRPC server of the Open Inference Protocol that behaves as told: well, or badly in one of many ways."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time

import grpc
import numpy as np
from kserve.protocol.grpc.grpc_predict_v2_pb2 import ModelInferRequest, ModelInferResponse
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)


class MisbehavingEncoder(GRPCInferenceServiceServicer):
    """Runs in a thread of its own, in a loop of its own.

    Args:
        space_id: of its answers.
        dimension: of its embeddings.
        embed: (b, s, s, 3) uint8 → (b, d); None: the same unit vector for all.

    Attributes:
        mode: how it behaves from the next request on.
        calls: requests that reached it.
    """

    MODES = ("well", "error", "hang", "slow", "nan", "zero", "norm", "dimension", "count", "short", "space", "nameless",
             "overloaded", "precondition", "empty", "int", "huge")  # fmt: skip

    def __init__(self, *, space_id: str, dimension: int, embed=None, port: int = 0) -> None:
        self.space_id, self.dimension, self.mode, self.calls = space_id, dimension, "well", 0
        self._embed = embed or self._constant
        self.port = port
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> MisbehavingEncoder:
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(20)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        add_GRPCInferenceServiceServicer_to_server(self, server)
        self.port = server.add_insecure_port(f"127.0.0.1:{self.port}")
        await server.start()
        self._ready.set()
        await self._stop.wait()
        await server.stop(0)

    async def ModelInfer(self, request: ModelInferRequest, context) -> ModelInferResponse:  # noqa: N802 (gRPC's name)
        self.calls += 1
        mode, shape = self.mode, tuple(request.inputs[0].shape)
        if mode == "hang":
            await asyncio.sleep(60)
        if mode == "slow":
            await asyncio.sleep(0.3)
        for name, code in (
            ("error", grpc.StatusCode.INTERNAL),
            ("overloaded", grpc.StatusCode.RESOURCE_EXHAUSTED),
            ("precondition", grpc.StatusCode.FAILED_PRECONDITION),
        ):
            if mode == name:
                await context.abort(code, "Traceback: /secret/path/model.py")
        images = np.frombuffer(request.raw_input_contents[0], np.uint8).reshape(shape)
        vectors = np.asarray(self._embed(images), np.float32)
        if mode == "dimension":
            vectors = np.eye(shape[0], self.dimension + 1, dtype=np.float32) + 0
        vectors = {
            "nan": np.full_like(vectors, np.nan),
            "zero": np.zeros_like(vectors),
            "norm": vectors * 3,
            "count": np.repeat(vectors, 2, axis=0),
        }.get(mode, vectors)
        response = ModelInferResponse(model_name=request.model_name)
        if mode == "empty":
            return response
        if mode != "nameless":
            space = "s-0000000000000000" if mode == "space" else self.space_id
            response.parameters["space_id"].string_param = space
        response.outputs.add(
            name="embeddings", datatype="INT32" if mode == "int" else "FP32", shape=list(vectors.shape)
        )
        raw = vectors.tobytes()
        response.raw_output_contents.append(raw[:-3] if mode == "short" else raw * 2 if mode == "huge" else raw)
        return response

    def _constant(self, images: np.ndarray) -> np.ndarray:
        vectors = np.zeros((len(images), self.dimension), np.float32)
        vectors[:, 0] = 1
        return vectors


class DrippingServer:
    """Accepts connections and sends a byte of nonsense now and then: neither an answer nor a refusal."""

    def __init__(self, port: int = 0) -> None:
        self.port = port

    def __enter__(self) -> DrippingServer:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)
        self._listener.close()

    def _run(self) -> None:
        self._listener.settimeout(0.05)
        taken = []
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                taken.append(self._listener.accept()[0])
            for connection in taken:
                with contextlib.suppress(OSError):
                    connection.send(b"\x00")
            time.sleep(0.02)
        for connection in taken:
            connection.close()
