"""CPU time per picture of the encoder: ours, directly and through gRPC, beside the bare runtimes and torch eager, in one run.

    python benchmarks/encoder.py                              # ResNet-18 of random weights at 224 pixels
    python benchmarks/encoder.py --architecture resnet50
    python benchmarks/encoder.py --side 64 --width 0.5        # an encoder of the size that the demonstration trains

Everything computes on one thread. Of the server the CPU time of its process alone counts, for one picture after the other
(1), for sixteen in one request (16), and for sixteen clients with one picture each, which it gathers itself (16 × 1).
All take turns; each figure is the least of several rounds. Random weights say nothing about the quality of int8 and bf16,
so the record of the release that is made here admits both without a gate; a real release's gate decides on trained ones.
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
import numpy as np
import onnxruntime
import psutil
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1]))
from encoder_process import EncoderProcess
from release_factory import GATE, METRICS, make_release

from components.shared.encoder import (
    ENCODER_FILE,
    ENCODER_INT8_FILE,
    ENCODER_SPEC_FILE,
    OnnxEncoder,
    RuntimeChoice,
    RuntimeFigures,
    write_encoder_spec,
)
from components.shared.files import sha256_of
from components.shared.golden import embed_pictures, write_golden
from components.shared.openvino_encoder import OpenVinoEncoder, computes_bf16
from components.shared.preprocessing import PreprocessingSpec
from components.shared.release import GOLDEN_FILE, MANIFEST_FILE, read_manifest, seal_release
from components.training.encoder import build_encoder
from components.training.export import export_encoder
from components.training.parameters import TrainingParameters
from components.training.quantisation import quantise_encoder

DIMENSION = 16  # that of the small release whose other files are used
BATCH = 16
Work = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="resnet18")
    parser.add_argument("--side", type=int, default=224, help="pixels that the network itself sees")
    parser.add_argument("--width", type=float, default=1.0, help="multiple of a ResNet's channels")
    parser.add_argument("--images", type=int, default=32, help="pictures of one round, a multiple of 16")
    parser.add_argument("--rounds", type=int, default=4)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    network = build_encoder(
        TrainingParameters(
            architecture=arguments.architecture,
            training_side=arguments.side,
            dimension=DIMENSION,
            width=arguments.width,
        )
    ).eval()
    images = smooth_pictures(arguments.images)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        release = make_release_of(network, Path(name), images)
        contestants = bare(release, network, images) | ours(release, images)
        clocks: dict[tuple[str, str], Callable[[], float]] = dict.fromkeys(contestants, time.process_time)
        for runtime in runtimes():
            server = EncoderProcess(release, Path(name) / runtime, encoder_runtime=runtime)
            stack.callback(server.stop)
            pool = stack.enter_context(ThreadPoolExecutor(BATCH))
            for label, work in through_grpc(server, pool, runtime, images).items():
                contestants[label], clocks[label] = work, clock_of(server.pid)
        best = race(contestants, clocks, arguments.rounds)
    print(f"{platform.processor() or platform.machine()}, onnxruntime {onnxruntime.__version__}, openvino "
          f"{version('openvino')}, torch {torch.__version__}; {arguments.architecture} × {arguments.width} at "
          f"{arguments.side}, one thread")  # fmt: skip
    report(best, arguments.images)


def runtimes() -> list[str]:
    return ["onnxruntime-fp32", "onnxruntime-int8", *(["openvino-bf16"] if computes_bf16() else [])]


def smooth_pictures(count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 12, 12, 3), np.uint8)
    return np.stack([cv2.resize(each, (224, 224), interpolation=cv2.INTER_LINEAR) for each in coarse])


def make_release_of(network: torch.nn.Module, folder: Path, images: np.ndarray) -> Path:
    """Put an encoder into a small release and record that all runtimes are admitted."""
    release = make_release(folder, items=2, views=2)
    manifest = read_manifest(release)
    (release / MANIFEST_FILE).unlink()
    export_encoder(network, release / ENCODER_FILE)
    quantise_encoder(release / ENCODER_FILE, release / ENCODER_INT8_FILE, images)
    admitted = tuple(
        RuntimeFigures(engine=engine, precision=precision, minimum_cosine=0.5, passed=True, reason="for a benchmark.")
        for engine, precision in (("onnxruntime", "int8"), ("openvino", "bf16"))
    )
    spec = write_encoder_spec(
        release, architecture="benchmark", dimension=DIMENSION, preprocessing=PreprocessingSpec(), training={},
        runtime=RuntimeChoice(
            engine="onnxruntime", precision="fp32", figures=admitted, int8_sha256=sha256_of(release / ENCODER_INT8_FILE)
        ),
    )  # fmt: skip
    (release / ENCODER_SPEC_FILE).unlink()
    pictures = [cv2.imencode(".png", each[..., ::-1])[1].tobytes() for each in images[:2]]
    write_golden(
        release / GOLDEN_FILE, image_ids=["a", "b"], pictures=pictures, expected=[["a"], ["b"]], space_id=spec.space_id,
        embeddings=embed_pictures(pictures, OnnxEncoder(release / ENCODER_FILE, threads=1), spec.preprocessing),
    )  # fmt: skip
    seal_release(release, encoder=spec, index=manifest.index, catalogue=manifest.catalogue, metrics=METRICS, gate=GATE)
    return release


def bare(release: Path, network: torch.nn.Module, images: np.ndarray) -> dict[tuple[str, str], Work]:
    """Return the runtimes as their own documentation calls them."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = {
        f"bare ONNX Runtime {precision}": onnxruntime.InferenceSession(str(release / file), options)
        for precision, file in (("fp32", ENCODER_FILE), ("int8", ENCODER_INT8_FILE))
    }
    has_bf16 = computes_bf16()  # the first import of OpenVINO is ours, which keeps it from reporting home
    import openvino

    core = openvino.Core()
    compiled = {
        f"bare OpenVINO {precision}": core.compile_model(
            str(release / ENCODER_FILE), "CPU", {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": hint}
        )
        for precision, hint in (("fp32", "f32"), ("bf16", "bf16"))
        if precision == "fp32" or has_bf16
    }

    def eager(batch: np.ndarray) -> None:
        with torch.inference_mode():
            network(torch.from_numpy(batch))

    calls: dict[str, Callable[[np.ndarray], object]] = {"torch eager fp32": eager}
    calls |= {label: lambda batch, s=session: s.run(None, {"images": batch}) for label, session in sessions.items()}
    calls |= {label: lambda batch, m=model: m([batch]) for label, model in compiled.items()}
    return in_batches(calls, images)


def ours(release: Path, images: np.ndarray) -> dict[tuple[str, str], Work]:
    encoders = {
        "ours, direct, onnxruntime-fp32": OnnxEncoder(release / ENCODER_FILE, threads=1),
        "ours, direct, onnxruntime-int8": OnnxEncoder(release / ENCODER_INT8_FILE, threads=1),
    }
    if computes_bf16():
        encoders["ours, direct, openvino-bf16"] = OpenVinoEncoder(release / ENCODER_FILE, "bf16", threads=1)
    return in_batches({label: encoder.encode for label, encoder in encoders.items()}, images)


def in_batches(calls: dict[str, Callable[[np.ndarray], object]], images: np.ndarray) -> dict[tuple[str, str], Work]:
    def work(call: Callable[[np.ndarray], object], size: int) -> Work:
        return lambda: [call(images[start : start + size]) for start in range(0, len(images), size)]

    return {(label, str(size)): work(call, size) for label, call in calls.items() for size in (1, BATCH)}


def through_grpc(
    server: EncoderProcess, pool: ThreadPoolExecutor, runtime: str, images: np.ndarray
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
    """Let all run in turn; return the least CPU seconds of each."""
    best = dict.fromkeys(contestants, float("inf"))
    for number in range(rounds + 1):
        for label, work in contestants.items():
            started = clocks[label]()
            work()
            if number:  # the first warms up
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
