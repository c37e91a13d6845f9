"""CPU time per picture of the encoder: ours, directly and through gRPC, beside the bare runtimes and torch eager, in one run.

    python benchmarks/encoder.py                              # ResNet-18 of random weights at 224 pixels
    python benchmarks/encoder.py --architecture resnet50
    python benchmarks/encoder.py --side 64 --width 0.5        # an encoder of the size that the demonstration trains

All computations use one thread. For the server, only the CPU time of its process counts: for single pictures in sequence
(1), for sixteen in one request (16), and for sixteen clients with one picture each, which it batches itself (16 × 1).
All take turns; each figure is the smallest of several rounds. Random weights say nothing about the quality of int8 and
bf16, so the release made here admits both without a gate; a real release's gate decides on trained weights.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import cv2
import grpc
import numpy as np
import onnxruntime
import psutil
import torch
from kserve.protocol.grpc.grpc_predict_v2_pb2 import ModelInferRequest, ModelReadyRequest
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

sys.path.insert(0, str(Path(__file__).parent / "serving"))
sys.path.insert(0, str(Path(__file__).parents[1]))
from inputs import make_release
from reference import bare_runtime, runtimes

from components.shared.defaults import MODEL_NAME
from components.shared.vectors.encoder import INPUT_NAME
from components.shared.vectors.openvino_encoder import open_encoder
from components.training.encoder import build_encoder
from components.training.parameters import TrainingParameters
from pipelines.commands.serving_processes import ServingProcesses

ROWS = 1000  # in the release that the server needs beside its encoder
BATCH = 16
START_SECONDS = 120.0
Work = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="resnet18")
    parser.add_argument("--side", type=int, default=224, help="side of the network's input, pixels")
    parser.add_argument("--width", type=float, default=1.0, help="multiple of a ResNet's channels")
    parser.add_argument("--images", type=int, default=32, help="pictures per round, a multiple of 16")
    parser.add_argument("--rounds", type=int, default=4)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    network = build_encoder(
        TrainingParameters(
            architecture=arguments.architecture,
            training_side=arguments.side,
            width=arguments.width,
        )
    ).eval()
    images = smooth_pictures(arguments.images)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        release = Path(name) / "release"
        pictures = [cv2.imencode(".png", each[..., ::-1])[1].tobytes() for each in images]
        make_release(release, network, arguments.architecture, pictures, ROWS)
        contestants = bare(release, network, images) | ours(release, images)
        clocks: dict[tuple[str, str], Callable[[], float]] = dict.fromkeys(contestants, time.process_time)
        for runtime in runtimes():
            server = stack.enter_context(EncoderServer(release, Path(name) / runtime, runtime))
            pool = stack.enter_context(ThreadPoolExecutor(BATCH))
            for label, work in through_grpc(server, pool, runtime, images).items():
                contestants[label], clocks[label] = work, clock_of(server.pid)
        best = race(contestants, clocks, arguments.rounds)
    print(f"{platform.processor() or platform.machine()}, onnxruntime {onnxruntime.__version__}, openvino "
          f"{version('openvino')}, torch {torch.__version__}; {arguments.architecture} × {arguments.width} at "
          f"{arguments.side}, one thread")  # fmt: skip
    report(best, arguments.images)


def smooth_pictures(count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 12, 12, 3), np.uint8)
    return np.stack([cv2.resize(each, (224, 224), interpolation=cv2.INTER_LINEAR) for each in coarse])


class EncoderServer:
    """Our encoder process, started as `visual-search serve` starts it, on one thread.

    `folder` is for its log and cache, `runtime` is "engine-precision".
    """

    def __init__(self, release: Path, folder: Path, runtime: str) -> None:
        settings = {"encoder_threads": "1", "encoder_runtime": runtime, "cache": str(folder / "cache")}
        self._processes = ServingProcesses(release, folder, settings)
        self._channel = grpc.insecure_channel(
            f"127.0.0.1:{self._processes.encoder_grpc_port}", [("grpc.max_send_message_length", -1)]
        )
        self._stub = GRPCInferenceServiceStub(self._channel)

    def __enter__(self) -> EncoderServer:
        folder = self._processes.logs
        folder.mkdir(parents=True)
        self._processes.start_one("encoder")
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if time.monotonic() > deadline or self._processes.children["encoder"].poll() is not None:
                self._processes.stop()
                raise RuntimeError((folder / "encoder.log").read_text()[-1000:])
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()
        self._processes.stop()

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._processes.children["encoder"].pid

    def infer(self, images: np.ndarray) -> object:
        """Embed pictures, (b, 224, 224, 3) uint8."""
        request = ModelInferRequest(model_name=MODEL_NAME, raw_input_contents=[images.tobytes()])
        request.inputs.add(name=INPUT_NAME, datatype="UINT8", shape=images.shape)
        return self._stub.ModelInfer(request, timeout=START_SECONDS)

    def _is_ready(self) -> bool:
        try:
            answer = self._stub.ModelReady(ModelReadyRequest(name=MODEL_NAME), timeout=2, wait_for_ready=True)
        except grpc.RpcError:
            return False
        time.sleep(0.1)
        return bool(answer.ready)


def bare(release: Path, network: torch.nn.Module, images: np.ndarray) -> dict[tuple[str, str], Work]:
    """Return torch, and the runtimes called as in their own documentation."""

    def eager(batch: np.ndarray) -> None:
        with torch.inference_mode():
            network(torch.from_numpy(batch))

    calls: dict[str, Callable[[np.ndarray], object]] = {"torch eager fp32": eager}
    calls |= {f"bare {runtime}": bare_runtime(release, runtime) for runtime in [*runtimes(), "openvino-fp32"]}
    return in_batches(calls, images)


def ours(release: Path, images: np.ndarray) -> dict[tuple[str, str], Work]:
    calls: dict[str, Callable[[np.ndarray], object]] = {}
    for engine, precision in (runtime.split("-") for runtime in runtimes()):
        calls[f"ours, direct, {engine}-{precision}"] = open_encoder(release, engine, precision, threads=1).encode
    return in_batches(calls, images)


def in_batches(calls: dict[str, Callable[[np.ndarray], object]], images: np.ndarray) -> dict[tuple[str, str], Work]:
    def work(call: Callable[[np.ndarray], object], size: int) -> Work:
        return lambda: [call(images[start : start + size]) for start in range(0, len(images), size)]

    return {(label, str(size)): work(call, size) for label, call in calls.items() for size in (1, BATCH)}


def through_grpc(
    server: EncoderServer, pool: ThreadPoolExecutor, runtime: str, images: np.ndarray
) -> dict[tuple[str, str], Work]:
    label = f"ours, gRPC, {runtime}"
    singles = [images[row : row + 1] for row in range(len(images))]
    work = in_batches({label: server.infer}, images)
    return work | {(label, f"{BATCH} × 1"): lambda: list(pool.map(server.infer, singles))}


def clock_of(pid: int) -> Callable[[], float]:
    process = psutil.Process(pid)

    def clock() -> float:
        times = process.cpu_times()
        return times.user + times.system

    return clock


def race(
    contestants: dict[tuple[str, str], Work], clocks: dict[tuple[str, str], Callable[[], float]], rounds: int
) -> dict[tuple[str, str], float]:
    """Run all contestants in turn; return the least CPU seconds of each."""
    best = dict.fromkeys(contestants, float("inf"))
    for number in range(rounds + 1):
        for label, work in contestants.items():
            started = clocks[label]()
            work()
            if number:  # the first is a warm-up
                best[label] = min(best[label], clocks[label]() - started)
    return best


def report(best: dict[tuple[str, str], float], images: int) -> None:
    columns = ["1", str(BATCH), f"{BATCH} × 1"]
    print(f"{'CPU ms per picture (times faster than torch eager)':52}" + "".join(f"{each:>16}" for each in columns))
    for label in dict.fromkeys(label for label, _ in best):
        cells = []
        for column in columns:
            seconds = best.get((label, column))
            eager = best["torch eager fp32", "1" if column == "1" else str(BATCH)]
            cells.append("" if seconds is None else f"{1000 * seconds / images:7.2f} ({eager / seconds:5.2f})")
        print(f"{label:52}" + "".join(f"{cell:>16}" for cell in cells))


if __name__ == "__main__":
    main()
