"""All of serving on one core: our two processes beside the parts without a server, and beside straightforward services.

    python benchmarks/serving                                # 100,000 × 256, ResNet-50: a quarter of an hour on a quiet machine
    python benchmarks/serving --folder /tmp/bench            # keeps pictures, network and release for the next run
    python benchmarks/serving --pictures photos/*.jpg        # instead of rendered ones

Servers run on one core, clients on another. The measure is processor time per search, all processes of a service together:
it hardly depends on other work of the machine. All take turns, round by round, and each figure is the least of the rounds.

- "parts": the product's decoder, the bare runtime at its best batch and bare Faiss, in one process: the lower limit.
- "simple": Pillow, torch eager in fp32, exhaustive search; one picture at a time, in one process.
- "FastAPI": the same behind an endpoint. "KServe": transformer and predictor as in KServe's examples.

The network is a ResNet-50, trained for some minutes to distinguish the pictures' products (`network.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import cv2
import faiss
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from inputs import IMAGES, VIEWS, make_release, render_pictures
from load import Outcome, closed_loop, open_loop
from machine import on_core, processor
from network import ARCHITECTURE, DIMENSION, load_network, make_network, save_network
from reference import Ideal, Simple, decoded, runtimes
from services import Service, ours, plain, stock

from components.shared.files.layout import ITEMS_FILE, MANIFEST_FILE
from components.shared.files.tables import ITEMS, read_table
from components.shared.release.manifest import read_manifest

CLIENTS = (32, 8, 1)
BATCHES = (1, 4, 8, 16, 32)
_LOADS = (0.5, 0.8)  # rates of the open loop, as shares of the closed loop's throughput
_AGREEMENT_AT = 10
_DEEP = 100  # exact neighbours examined for ten visible items


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="folder for pictures, network and release; kept and reused")
    parser.add_argument("--pictures", type=Path, nargs="*", default=[], help="JPEG files, at least 64")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rendered", type=int, default=320, help="number of rendered pictures, without --pictures")
    parser.add_argument("--steps", type=int, default=110, help="training steps of the network; 0: random weights")
    parser.add_argument("--queries", type=int, default=192, help="searches per measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precisions", nargs="*", default=runtimes(), choices=runtimes())
    parser.add_argument(
        "--batches", type=int, nargs="*", default=BATCHES, help="batch sizes to try for the parts alone"
    )
    parser.add_argument("--server-core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--client-core", type=int, default=min(os.sched_getaffinity(0)))
    options = parser.parse_args()
    for library in (torch.set_num_threads, cv2.setNumThreads, faiss.omp_set_num_threads):
        library(1)
    with ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        pictures = prepare(folder, options)
        benchmark = Benchmark(folder, pictures[: options.queries], options)
        benchmark.run(stack)
        benchmark.report()


def prepare(folder: Path, options: argparse.Namespace) -> list[bytes]:
    """Make pictures, network and release, unless they exist; return the queries, on which the network was not trained."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = options.pictures or render_pictures(folder / "pictures", options.rendered)
    pictures = [path.read_bytes() for path in paths]
    queries, known = pictures[::2], pictures[1::2]
    if not (folder / "release" / MANIFEST_FILE).is_file():
        say(f"a network learns, {options.steps} steps")
        # Half of the views of each rendered product are for training; products in other pictures are unknown.
        products = np.arange(len(known)) // (1 if options.pictures else VIEWS // 2)
        network = make_network(np.stack([decoded(picture) for picture in known]), products, options.steps)
        save_network(network, folder)
        make_release(folder / "release", network, ARCHITECTURE, known, options.rows)
    return queries


class Benchmark:
    """Contestants that take turns on the pictures as queries; `folder` holds the release."""

    def __init__(self, folder: Path, pictures: list[bytes], options: argparse.Namespace) -> None:
        self._folder, self._pictures, self._options = folder, pictures, options
        self._release = folder / "release"
        self.precisions = options.precisions
        self.milliseconds: dict[str, float] = {}  # processor time per search
        self.shares: dict[str, dict[str, float]] = {}  # the same, per process
        self.best: dict[tuple[str, str], Outcome] = {}
        self.memory: dict[str, dict[str, int]] = {}
        self.found: dict[str, list[list[int]]] = {}

    def run(self, stack: ExitStack) -> None:
        """Start all services and measure."""
        local = self._local_contestants()
        core = self._options.server_core
        services = [stack.enter_context(ours(self._folder, core, precision)) for precision in self.precisions]
        services += [stack.enter_context(plain(self._folder, core)), stack.enter_context(stock(self._folder, core))]
        os.sched_setaffinity(0, {self._options.client_core})
        for service in services:
            self._ask(service, clients=1, requests=len(self._pictures), keep=True)
        for number in range(self._options.rounds):
            for name, work in local.items():
                with on_core(core):
                    self._measure_local(name, work, self._pictures[:16] if name == "simple" else self._pictures)
            for service in services:
                self._measure_service(service)
            say(f"round {number + 1} of {self._options.rounds}")
        for service in services:
            if service.name.startswith("ours"):
                closed = [self.best[service.name, f"{clients}"] for clients in CLIENTS]
                rate = max(outcome.answered / outcome.seconds for outcome in closed)
                for share in _LOADS:
                    outcome = asyncio.run(
                        open_loop(
                            service.port, service.path, self._pictures, rate=share * rate, requests=len(self._pictures)
                        )
                    )
                    self.best[service.name, f"open, {share:.0%}"] = outcome
                self.memory[service.name] = service.memory()

    def _local_contestants(self) -> dict[str, Callable[[Sequence[bytes]], np.ndarray]]:
        vectors = np.load(self._folder / "vectors.npy")
        contestants: dict[str, Callable[[Sequence[bytes]], np.ndarray]] = {}
        with on_core(self._options.server_core):
            for precision in self.precisions:
                rivals = [Ideal(self._release, precision, batch) for batch in self._options.batches]
                times = {rival.batch: cpu_of(rival, self._pictures[:32]) for rival in rivals for _ in range(2)}
                fastest = min(rivals, key=lambda rival: times[rival.batch])
                contestants[f"parts, {precision}"] = fastest
                say(f"parts, {precision}: best batch {fastest.batch}")
            contestants["simple"] = simple = Simple(load_network(self._folder), vectors)
            self.found["simple"] = [simple.search(picture, _DEEP)[1][0].tolist() for picture in self._pictures]
        return contestants

    def _measure_local(
        self, name: str, work: Callable[[Sequence[bytes]], np.ndarray], pictures: Sequence[bytes]
    ) -> None:
        spent = cpu_of(work, pictures) / len(pictures) * 1000
        self.milliseconds[name] = min(spent, self.milliseconds.get(name, spent))

    def _measure_service(self, service: Service) -> None:
        is_ours = service.name.startswith("ours")
        for clients in CLIENTS if is_ours else (8,):
            requests = len(self._pictures) if is_ours else min(32, len(self._pictures))
            before = service.cpu()
            outcome = self._ask(service, clients=clients, requests=requests)
            spent = {name: (seconds - before[name]) / requests * 1000 for name, seconds in service.cpu().items()}
            label, total = f"{service.name}, {clients} clients", sum(spent.values())
            if total < self.milliseconds.get(label, np.inf):
                self.milliseconds[label], self.shares[label] = total, spent
            known = self.best.get((service.name, f"{clients}"))
            if known is None or outcome.seconds < known.seconds:
                self.best[service.name, f"{clients}"] = outcome

    def _ask(self, service: Service, *, clients: int, requests: int, keep: bool = False) -> Outcome:
        outcome = asyncio.run(
            closed_loop(service.port, service.path, self._pictures, clients=clients, requests=requests, keep=keep)
        )
        if outcome.answered != requests:
            raise RuntimeError(f"{service.name} answered {dict(outcome.statuses)}")
        if keep and service.name.startswith("ours"):
            bodies = [json.loads(outcome.bodies[place]) for place in range(len(self._pictures))]
            self.found[service.name] = [
                [int(result["image_id"][6:]) for result in body["predictions"][0]["results"]] for body in bodies
            ]
        return outcome

    def agreement(self, name: str) -> float:
        """Return the mean share of the exact first ten visible images, one per item, that a service also returns."""
        hidden = hidden_rows(self._release)
        shares = []
        for exact, rows in zip(self.found["simple"], self.found[name], strict=True):
            wanted, items = [], set()
            for row in exact:
                if row not in hidden and row // IMAGES not in items:
                    items.add(row // IMAGES)
                    wanted.append(row)
            wanted = wanted[:_AGREEMENT_AT]
            shares.append(
                len({row // IMAGES for row in wanted} & {row // IMAGES for row in rows[: len(wanted)]}) / len(wanted)
            )
        return float(np.mean(shares))

    def report(self) -> None:
        """Print the tables."""
        index = read_manifest(self._release).index
        print(
            f"\n{datetime.date.today()} · {processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} · "
            f"{index.rows:,} × {DIMENSION}, {index.factory}, ann_recall@10 {index.recall.ann_recall_at_10:.3f} · "
            f"torch {torch.__version__}, OpenVINO {version('openvino')}, ONNX Runtime {version('onnxruntime')}\n"
        )
        simple = self.milliseconds["simple"]
        print(f"{'processor time per search on one core':64}{'ms':>8}{'× simple':>10}{'of parts':>10}")
        for label, value in self.milliseconds.items():
            precision = next((each for each in self.precisions if each in label), "")
            share = f"{self.milliseconds[f'parts, {precision}'] / value:10.0%}" if label.startswith("ours") else ""
            print(f"{label:64}{value:8.2f}{simple / value:10.2f}{share}")
        for label, spent in self.shares.items():
            if label.endswith(f"{CLIENTS[0]} clients"):
                print(f"  {label}: " + ", ".join(f"{name} {value:.2f} ms" for name, value in spent.items()))
        print(
            f"\n{'real time (only as quiet as the machine)':46}{'clients':>12}{'searches/s':>12}{'p50 ms':>9}{'p99 ms':>9}"
        )
        for (name, clients), outcome in self.best.items():
            rate = outcome.answered / outcome.seconds
            print(f"{name:46}{clients:>12}{rate:12.1f}{outcome.milliseconds(50):9.1f}{outcome.milliseconds(99):9.1f}")
        for name, sizes in self.memory.items():
            parts = ", ".join(f"{part} {size / 1e6:.0f} MB" for part, size in sizes.items())
            print(f"\n{name}: {sum(sizes.values()) / 1e6:.0f} MB of memory ({parts}); agreement with the exact search "
                  f"of fp32 on the first {_AGREEMENT_AT}: {self.agreement(name):.3f}", end="")  # fmt: skip
        print()


def hidden_rows(release: Path) -> set[int]:
    shown = read_table(release / ITEMS_FILE, ITEMS).column("is_public").to_pylist()
    return {row for row, is_public in enumerate(shown) if not is_public}


def cpu_of(work: Callable[[Sequence[bytes]], object], pictures: Sequence[bytes]) -> float:
    """Return the processor time of this process for one call, in seconds."""
    started = time.process_time()
    work(pictures)
    return time.process_time() - started


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
