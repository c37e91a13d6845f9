"""Our embedding step beside the bare ONNX Runtime loop and torch eager: images per second, wall and CPU, in one run.

    python benchmarks/embedding.py                        # ResNet-18 of random weights at 224 pixels
    python benchmarks/embedding.py --side 112 --images 512

The bare loop calls ONNX Runtime, with its own threads on all cores, over batches in memory. Ours processes the same
pictures with the step's own code: workers of one thread each, checks, shards written to disk; once from the same arrays
and once from JPEG files on disk, which also have to be read, decoded and resized. All take turns; each figure is the
best of several rounds. Compare CPU time if the machine has other work.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pyarrow as pa
import torch

from components.embedding.images import ImageEmbedder, available_cores
from components.embedding.parameters import EmbeddingParameters
from components.embedding.shards import Shard, make_shard
from components.shared.pictures.decoder import load_image
from components.shared.pictures.preprocessing import PreprocessingSpec
from components.shared.vectors.encoder import OnnxEncoder
from components.training.encoder import build_encoder
from components.training.export import export_encoder
from components.training.parameters import TrainingParameters

BATCH = 16


def write_pictures(folder: Path, count: int, size: int) -> list[str]:
    """Write smooth random JPEG pictures of size × size and return their paths."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        coarse = rng.integers(0, 256, (12, 12, 3), np.uint8)
        picture = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC).astype(np.int16)
        picture = np.clip(picture + rng.integers(-12, 13, picture.shape), 0, 255).astype(np.uint8)
        paths.append(str(folder / f"{number:05d}.jpg"))
        cv2.imwrite(paths[-1], picture, [cv2.IMWRITE_JPEG_QUALITY, 88])
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="resnet18")
    parser.add_argument("--side", type=int, default=224, help="side of the network's input, pixels")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--picture", type=int, default=480, help="side of the JPEG pictures")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    network = build_encoder(
        TrainingParameters(architecture=arguments.architecture, training_side=arguments.side)
    ).eval()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export_encoder(network, folder / "encoder.onnx")
        paths = write_pictures(folder, arguments.images, arguments.picture)
        contestants = make_contestants(folder, paths, network)
        best = race(contestants, arguments.rounds)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, onnxruntime {onnxruntime.__version__}, "
          f"torch {torch.__version__}; {arguments.architecture} at {arguments.side}, {arguments.images} pictures of "
          f"{arguments.picture} × {arguments.picture}, batches of {BATCH}")  # fmt: skip
    bare_wall, bare_cpu = best["bare ONNX Runtime loop"]
    print(f"{'':38} {'images/s':>9} {'× bare':>7}   {'images/CPU-s':>12} {'× bare':>7}")
    for label, (wall, cpu) in best.items():
        n = arguments.images
        print(f"{label:38} {n / wall:9.1f} {bare_wall / wall:7.2f}   {n / cpu:12.1f} {bare_cpu / cpu:7.2f}")


def make_contestants(folder: Path, paths: list[str], network: torch.nn.Module) -> dict[str, Callable[[], object]]:
    spec = PreprocessingSpec()
    pictures = {path: load_image(path, spec) for path in paths}
    arrays = np.stack(list(pictures.values()))
    batches = [arrays[start : start + BATCH] for start in range(0, len(arrays), BATCH)]
    session = onnxruntime.InferenceSession(str(folder / "encoder.onnx"), providers=["CPUExecutionProvider"])
    encoder = OnnxEncoder(folder / "encoder.onnx", threads=1)
    parameters = EmbeddingParameters(batch_images=BATCH)
    images = pa.table({"image_id": paths, "uri": paths, "sha256": paths})

    def bare() -> None:
        for batch in batches:
            session.run(["embeddings"], {"images": batch})

    def step(embedder: ImageEmbedder) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as shards:
            make_shard(
                Path(shards), Shard(0, 0, len(paths)), images, embedder=embedder, earlier=None, space_id="s-benchmark",
                dimension=encoder.dimension,
            )  # fmt: skip

    def eager() -> None:
        with torch.inference_mode():
            for batch in batches:
                network(torch.from_numpy(batch))

    def decode() -> None:
        for path in paths:
            load_image(path, spec)

    held = ImageEmbedder(encoder, spec, parameters, load=lambda uri, _: pictures[uri])
    read = ImageEmbedder(encoder, spec, parameters)
    torch.set_num_threads(available_cores())
    return {
        "bare ONNX Runtime loop": bare,
        "our step, the same arrays": lambda: step(held),
        "our step, JPEG files": lambda: step(read),
        "torch eager": eager,
        "reading and decoding alone, one thread": decode,
    }


def race(contestants: dict[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, float]]:
    """Run all contestants in turn; return the best wall and CPU seconds of each."""
    best = {label: (float("inf"), float("inf")) for label in contestants}
    for round_number in range(rounds + 1):
        for label, work in contestants.items():
            wall, cpu = time.perf_counter(), time.process_time()
            work()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            if round_number:  # the first is a warm-up
                best[label] = (min(best[label][0], wall), min(best[label][1], cpu))
    return best


if __name__ == "__main__":
    main()
