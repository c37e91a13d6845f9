"""The services under test, all on the same core: ours, the plain one, and KServe's as in its examples."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from machine import cpu_seconds, family, memory_bytes, on_core

from components.shared.defaults import MODEL_NAME
from pipelines.commands.serving_processes import ServingProcesses, free_port

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
_START_SECONDS = 180.0
_OVERLOADED = {"search_queue": "256", "search_wait_seconds": "30", "encoder_deadline_seconds": "30"}


@dataclass
class Service:
    """A running service.

    Attributes:
        name: name for the table.
        port: HTTP port.
        path: path for POST requests with a picture.
        processes: name → pid.
    """

    name: str
    port: int
    path: str
    processes: dict[str, int]

    def cpu(self) -> dict[str, float]:
        """Return the processor time of each process so far, in seconds; decoding processes are added up."""
        times = {name: cpu_seconds(pid) for name, pid in self.processes.items()}
        for name, pid in self.processes.items():
            if children := family(pid)[1:]:
                times[f"decoders of the {name}"] = sum(map(cpu_seconds, children))
        return times

    def memory(self) -> dict[str, int]:
        """Return the memory of each process with its children, bytes."""
        return {name: sum(map(memory_bytes, family(pid))) for name, pid in self.processes.items()}


@contextmanager
def ours(folder: Path, core: int, runtime: str) -> Iterator[Service]:
    """Start our two processes as `visual-search serve` does; their queue is long enough for the benchmark's clients."""
    settings = {
        **_OVERLOADED,
        "events_url": f"sqlite:///{folder / 'events.db'}",
        "cache": str(folder / "cache"),
        "samples": str(folder / "samples"),
        "encoder_runtime": runtime,
    }
    processes = ServingProcesses(folder / "release", folder / "logs", settings)
    with on_core(core):
        processes.start()
    try:
        processes.wait_ready(_START_SECONDS)
        pids = {name: child.pid for name, child in processes.children.items()}
        yield Service(f"ours, {runtime}", processes.port, f"/v1/models/{MODEL_NAME}:predict", pids)
    finally:
        processes.stop()


@contextmanager
def plain(folder: Path, core: int) -> Iterator[Service]:
    """Start the FastAPI endpoint."""
    port = free_port("127.0.0.1")
    with _running(core, [_HERE / "plain_server.py", folder, port]) as pid:
        _wait(f"http://127.0.0.1:{port}/docs")
        yield Service("FastAPI, Pillow, torch eager, Flat", port, "/search", {"server": pid})


@contextmanager
def stock(folder: Path, core: int) -> Iterator[Service]:
    """Start KServe's transformer and predictor."""
    http, grpc, inner, inner_grpc = (free_port("127.0.0.1") for _ in range(4))
    script = _HERE / "stock_kserve.py"
    common = ["--model_name", "stock"]
    predictor = [script, folder, "predictor", *common, "--http_port", inner, "--grpc_port", inner_grpc]
    transformer = [
        script, folder, "transformer", *common, "--http_port", http, "--grpc_port", grpc,
        "--predictor_host", f"127.0.0.1:{inner}", "--predictor_protocol", "v2",
    ]  # fmt: skip
    with _running(core, predictor) as first, _running(core, transformer) as second:
        _wait(f"http://127.0.0.1:{inner}/v2/models/stock/ready")
        _wait(f"http://127.0.0.1:{http}/v2/models/stock/ready")
        pids = {"predictor": first, "transformer": second}
        yield Service("KServe as in its examples, REST v2, ONNX Runtime fp32", http, "/v1/models/stock:predict", pids)


@contextmanager
def _running(core: int, arguments: list[object]) -> Iterator[int]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_ROOT), str(_HERE)])}
    with on_core(core):
        process = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(url: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{url} does not answer") from error
        time.sleep(0.2)
