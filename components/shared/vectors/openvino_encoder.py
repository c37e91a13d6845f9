"""The exported encoder in OpenVINO: in fp32, in bf16 if the processor supports it, or in int8."""

from __future__ import annotations

import os
import sys
import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.shared.errors import ContractError, InputError
from components.shared.vectors.embeddings import Vectors, check_vectors
from components.shared.vectors.encoder import ENCODER_FILE, ENCODER_INT8_FILE, Engine, OnnxEncoder, Precision


def load_openvino() -> Any:
    """Import OpenVINO, which takes several hundred milliseconds, without its telemetry.

    `import openvino` sends an event to its makers' analytics unless their package for that cannot be imported.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None: an ImportError
    import openvino

    return openvino


@cache
def computes_bf16() -> bool:
    """Whether this processor has instructions for bf16; otherwise OpenVINO would convert back and forth and be slower."""
    return "BF16" in load_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def preferred_runtimes() -> tuple[tuple[Engine, Precision], ...]:
    """Return the engines and precisions that are faster than fp32 on this processor, fastest first.

    Matrix tiles (AMX) multiply int8 and bf16 in OpenVINO; ONNX Runtime's int8 does not use them and takes twice as long as
    bf16. Without tiles, int8 in ONNX Runtime is half as fast again as bf16.
    """
    try:
        tiles = "amx_bf16" in Path("/proc/cpuinfo").read_text().split()
    except OSError:
        tiles = False
    if tiles:
        return ("openvino", "int8"), ("openvino", "bf16"), ("onnxruntime", "int8")
    return ("onnxruntime", "int8"), ("openvino", "int8"), ("openvino", "bf16")


def open_encoder(
    directory: Path, engine: Engine, precision: Precision, *, threads: int = 0
) -> OnnxEncoder | OpenVinoEncoder:
    """Load one of a directory's encoder files in an engine and a precision.

    Raises:
        ContractError: the file is missing, damaged or has other inputs and outputs.
    """
    path = directory / (ENCODER_INT8_FILE if precision == "int8" else ENCODER_FILE)
    if engine == "openvino":
        return OpenVinoEncoder(path, precision, threads=threads)
    return OnnxEncoder(path, threads=threads)


class OpenVinoEncoder:
    """An encoder in OpenVINO on the CPU. Several threads may call it; calls run one at a time.

    It is compiled for batches of 1, 2, 4 and so on, and a batch is split into such parts. A ResNet-50 in bf16 is then a tenth
    faster than with one program for batches of any size, a single picture a seventh, and loading is not slower.

    Args:
        path: an `encoder.onnx`, as for `OnnxEncoder`; for int8 an `encoder.int8.onnx`.
        precision: arithmetic; inputs and outputs do not depend on it. In int8, operations that are not quantised use bf16 if
            the processor supports it.
        threads: number per call; 0 uses all cores.

    Raises:
        ContractError: the file is missing, damaged or has other inputs and outputs.
    """

    def __init__(self, path: Path, precision: Precision, *, threads: int = 0) -> None:
        # ONNX Runtime checks inputs, outputs and that no data are in other files; its session is then dropped.
        contract = OnnxEncoder(path, threads=1)
        self.dimension, self.shape, self._source = contract.dimension, contract.shape, str(path)
        core = load_openvino().Core()
        options = {
            "INFERENCE_PRECISION_HINT": "bf16" if precision != "fp32" and computes_bf16() else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # several processes would pin threads to the same cores
            **({"INFERENCE_NUM_THREADS": threads} if threads else {}),
        }
        try:
            model = core.read_model(path.read_bytes())
            self._requests = {}
            for size in _sizes(threads or os.cpu_count() or 1):
                model.reshape([size, *self.shape])
                self._requests[size] = core.compile_model(model, "CPU", options).create_infer_request()
        except Exception as error:  # OpenVINO raises RuntimeError for everything
            raise ContractError(f"{path} is not an encoder that OpenVINO can load: {error}") from error
        self._turn = threading.Lock()

    def encode(self, images: NDArray[np.uint8]) -> Vectors:
        """Embed pictures.

        Args:
            images: (b, side, side, 3) uint8 RGB, preprocessed; b ≥ 1.

        Returns:
            (b, d) float32, rows finite and of unit L2 norm.

        Raises:
            InputError: the shape or type differs.
            PoisonedVectorError: the encoder returned a vector that is not of unit norm.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != self.shape or not len(images):
            raise InputError(
                f"expected uint8 (b, {', '.join(map(str, self.shape))}), got {images.dtype} {images.shape}"
            )
        images = np.ascontiguousarray(images)
        vectors = np.empty((len(images), self.dimension), np.float32)
        start = 0
        with self._turn:
            while start < len(images):
                size = max(size for size in self._requests if size <= len(images) - start)
                part = slice(start, start + size)
                vectors[part] = self._requests[size].infer([images[part]], share_inputs=True, share_outputs=True)[0]
                start += size
        check_vectors(vectors, source=self._source)
        return vectors


def _sizes(threads: int) -> list[int]:
    """Return the batch sizes to compile for: 1, 2, 4, 8, and up to 32 if there are threads to share more."""
    return [2**power for power in range(6) if 2**power <= max(8, 2 * threads)]
