"""Starts the real encoder process on loopback, with an audit hook that forbids pickle, and talks gRPC to it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
from kserve.protocol.grpc.grpc_predict_v2_pb2 import ModelInferRequest, ModelInferResponse
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

ROOT = Path(__file__).parents[3]
MODEL = "visual-search"
FORBIDDEN = ("torch", "torchvision", "kfp", "mlflow", "evidently", "onnx")
_START_SECONDS = 90

# The server as it is, under a hook; when it ends, what it has loaded is printed.
_PROGRAM = f"""
import sys
def hook(event, arguments):
    if event == "pickle.find_class":
        print("PICKLE", arguments, file=sys.stderr, flush=True)
        raise RuntimeError("pickle")
sys.addaudithook(hook)
sys.argv[0] = "serving.encoder"
from serving.encoder.__main__ import main
status = main(sys.argv[1:])
print("LOADED", [name for name in {FORBIDDEN!r} if name in sys.modules], flush=True)
sys.exit(status)
"""


class EncoderProcess:
    """A running encoder.

    Attributes:
        lines: what it has logged so far.
        port: of its gRPC.
        http_port: of its REST.
    """

    def __init__(
        self, location: Path, cache: Path, *, optimise: bool = False, ready: bool = True, **settings: object
    ) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("VISUAL_SEARCH_")}
        wanted = {"location": location, "cache": cache, "encoder_grpc_port": 0, "encoder_http_port": 0}
        wanted |= {"encoder_threads": 1, "poll_seconds": 0.1, "lame_duck_seconds": 0, **settings}
        environment |= {f"VISUAL_SEARCH_{name.upper()}": str(value) for name, value in wanted.items()}
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, *(["-O"] if optimise else []), "-c", _PROGRAM],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port = int(self.wait_for(r'"listening".*"grpc": (\d+)'))
        self.http_port = int(self.wait_for(r'"listening", "http": (\d+)'))
        self._channel = grpc.insecure_channel(
            f"127.0.0.1:{self.port}", options=[("grpc.max_send_message_length", -1), ("grpc.enable_http_proxy", 0)]
        )
        self.stub = GRPCInferenceServiceStub(self._channel)
        if ready:
            self.wait_for("in use")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line)

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_for(self, pattern: str, *, seconds: float = _START_SECONDS, first: int = 0) -> str:
        """Wait for a line from `first` on and return its first group (or the whole match)."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for line in self.lines[first:]:
                if found := re.search(pattern, line):
                    return found.group(found.re.groups and 1)
            if self._process.poll() is not None and not self._reader.is_alive():
                break
            time.sleep(0.02)
        raise AssertionError(f"{pattern!r} did not come:\n{''.join(self.lines)}")

    def infer(
        self, images: np.ndarray, *, space_id: str | None = None, timeout: float | None = 30
    ) -> tuple[np.ndarray, dict[str, str]]:
        """Embed pictures: vectors and the answer's parameters."""
        return read(self.stub.ModelInfer(request(images, space_id=space_id), timeout=timeout, wait_for_ready=True))

    def stop(self) -> int:
        """End it as Kubernetes does, and return its exit status."""
        self._channel.close()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._reader.join(10)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return status

    def kill(self) -> None:
        """End it as a power cut does."""
        self._process.kill()
        self.stop()


@contextmanager
def running(location: Path, cache: Path, **settings: object) -> Iterator[EncoderProcess]:
    """Run an encoder for the length of a block."""
    process = EncoderProcess(location, cache, **settings)  # type: ignore[arg-type]
    try:
        yield process
    finally:
        process.stop()


def request(images: np.ndarray, *, space_id: str | None = None, datatype: str = "UINT8") -> ModelInferRequest:
    message = ModelInferRequest(model_name=MODEL, id="7", raw_input_contents=[np.ascontiguousarray(images).tobytes()])
    message.inputs.add(name="images", datatype=datatype, shape=images.shape)
    if space_id is not None:
        message.parameters["space_id"].string_param = space_id
    return message


def read(response: ModelInferResponse) -> tuple[np.ndarray, dict[str, str]]:
    (output,) = response.outputs
    assert (output.name, output.datatype, response.id) == ("embeddings", "FP32", "7")
    vectors = np.frombuffer(response.raw_output_contents[0], np.float32).reshape(tuple(output.shape))
    return vectors, {name: value.string_param for name, value in response.parameters.items()}
