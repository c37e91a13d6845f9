"""How a release's encoder is run: what its record chose and this processor can do, else fp32 on ONNX Runtime."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from components.shared.errors import ContractError, DataError
from components.shared.release.golden import MIN_COSINE, check_golden_embeddings
from components.shared.release.manifest import GOLDEN_FILE
from components.shared.vectors.embeddings import Vectors
from components.shared.vectors.encoder import (
    ENCODER_INT8_FILE,
    EncoderSpec,
    Engine,
    Precision,
    RuntimeChoice,
)
from components.shared.vectors.openvino_encoder import computes_bf16, open_encoder, preferred_runtimes

_LOG = logging.getLogger(__name__)
_PLAIN: tuple[Engine, Precision] = ("onnxruntime", "fp32")


class RuntimeEncoder(Protocol):
    """Pictures → unit vectors; calls may come from several threads."""

    shape: tuple[int, ...]
    dimension: int

    def encode(self, images: NDArray[np.uint8]) -> Vectors:
        """Embed (b, side, side, 3) uint8 as (b, d) float32 unit vectors, checked."""
        ...


@dataclass(frozen=True)
class Runtime:
    """An encoder, loaded and checked against its golden pictures.

    Attributes:
        engine: SQLAlchemy engine.
        minimum_cosine: how near to the recorded embeddings golden pictures must come.
        note: why this is not what the release or the settings wished; "" if it is.
    """

    encoder: RuntimeEncoder
    engine: Engine
    precision: Precision
    threads: int
    minimum_cosine: float
    note: str = ""

    def check_golden(self, directory: Path, spec: EncoderSpec) -> None:
        """Check that a release's golden pictures give the golden embeddings.

        Raises:
            ContractError: naming the picture that does not.
        """
        check_golden_embeddings(
            directory / GOLDEN_FILE,
            space_id=spec.space_id,
            encode=self.encoder.encode,
            preprocessing=spec.preprocessing,
            minimum_cosine=self.minimum_cosine,
        )

    def describe(self) -> dict[str, str]:
        """Return what an answer says about how it was computed."""
        return {"runtime": self.engine, "precision": self.precision}


def open_runtime(directory: Path, spec: EncoderSpec, *, wished: str = "processor", threads: int = 0) -> Runtime:
    """Load an encoder in the wished way and check its golden pictures; where that cannot be, in fp32 on ONNX Runtime.

    Args:
        directory: holds the release's encoder files and golden pictures, already verified by their digests.
        spec: specification of the encoder.
        wished: "processor" (the fastest here that the gate admitted), "release" (what was chosen), or "engine-precision".
        threads: threads per call; 0: all cores that this process may use.

    Raises:
        ContractError: not even fp32 on ONNX Runtime gives the golden embeddings; or the files cannot be used.
    """
    choice = spec.runtime or RuntimeChoice(engine=_PLAIN[0], precision=_PLAIN[1])
    chosen = _chosen(choice, wished)
    threads = threads or usable_cores()
    note = _obstacle(choice, *chosen)
    if not note:
        try:
            return _open(directory, spec, choice, *chosen, threads)
        except (ContractError, DataError) as error:
            if chosen == _PLAIN:
                raise
            note = f"{'-'.join(chosen)} does not give the results here that it gave where the release was made: {error}"
    _LOG.warning("the encoder runs in fp32 on ONNX Runtime: %s", note)
    return replace(_open(directory, spec, choice, *_PLAIN, threads), note=note)


def usable_cores() -> int:
    """Return how many cores this process may use: its affinity, and the container's quota rounded up."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, -(-int(quota) // int(period))))
    except (OSError, ValueError):  # no cgroup v2, or "max"
        return cores


def _chosen(choice: RuntimeChoice, wished: str) -> tuple[Engine, Precision]:
    if wished == "release":
        return choice.engine, choice.precision
    if wished == "processor":
        return next((each for each in preferred_runtimes() if not _obstacle(choice, *each)), _PLAIN)
    return cast(tuple[Engine, Precision], tuple(wished.split("-")))


def _obstacle(choice: RuntimeChoice, engine: Engine, precision: Precision) -> str:
    if not choice.admits(engine, precision):
        return f"the release's gate did not admit {precision} on {engine}"
    if precision == "int8" and choice.int8_sha256 is None:
        return f"the release holds no {ENCODER_INT8_FILE}"
    if precision == "bf16" and not computes_bf16():
        return "this processor does not compute in bf16"
    return ""


def _open(
    directory: Path, spec: EncoderSpec, choice: RuntimeChoice, engine: Engine, precision: Precision, threads: int
) -> Runtime:
    encoder = open_encoder(directory, engine, precision, threads=threads)
    side = spec.preprocessing.side
    if encoder.dimension != spec.dimension or encoder.shape != (side, side, 3):
        raise ContractError(
            f"{directory}: the encoder makes {encoder.dimension} dimensions of {encoder.shape}, its manifest says "
            f"{spec.dimension} of {(side, side, 3)}; fetch the release again"
        )
    runtime = Runtime(encoder, engine, precision, threads, _minimum_cosine(choice, engine, precision))
    runtime.check_golden(directory, spec)
    return runtime


def _minimum_cosine(choice: RuntimeChoice, engine: Engine, precision: Precision) -> float:
    """Return how near to fp32 golden embeddings must come: twice as far off as the farthest picture of the gate is."""
    measured = [
        figures.minimum_cosine
        for figures in choice.figures
        if (figures.engine, figures.precision) == (engine, precision) and figures.minimum_cosine is not None
    ]
    if precision == "fp32" or not measured:
        return MIN_COSINE
    return min(MIN_COSINE, 1 - 2 * (1 - measured[0]))
