"""Features of pictures and of augmented views by the exported backbone, computed once and kept on disk."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from components.shared.errors import ContractError, DataError
from components.shared.files.progress import progress_bar
from components.shared.vectors.openvino_encoder import load_openvino
from components.training.augment import Augmentation, augment, draw
from components.training.dataset import Dataset
from components.training.parameters import TrainingParameters

_BATCH = 16
_BLOCK = 16 * _BATCH  # pictures between two writes
_TIMED_BATCHES = 4
_LARGEST = 65_504.0  # of a float16, in which features are kept

Features = NDArray[np.float16]
Pictures = NDArray[np.uint8]


@dataclass(frozen=True)
class FeatureSets:
    """Features of a dataset.

    Attributes:
        training: (1 + v, n, w) float16, memory-mapped: of the n usable training pictures, then of v views of each.
        validation: (m, w) float16, of the usable validation pictures.
    """

    training: Features
    validation: Features


class FeatureComputer:
    """The exported backbone in OpenVINO, one stream per core; calls come from as many threads.

    Args:
        path: graph from "images" uint8 (b, side, side, 3) to "features" (b, w).
        threads: cores to use; 0 uses all.

    Attributes:
        width: w.
        side: pixels per side.

    Raises:
        ContractError: OpenVINO cannot load the file.
    """

    def __init__(self, path: Path, *, threads: int = 0) -> None:
        self.threads = threads or len(os.sched_getaffinity(0))
        core = load_openvino().Core()
        options = {
            "INFERENCE_PRECISION_HINT": "f32",  # the head is exported for fp32; the gate judges fewer bits afterwards
            "NUM_STREAMS": self.threads,
            "INFERENCE_NUM_THREADS": self.threads,
            "ENABLE_CPU_PINNING": False,
        }
        try:
            model = core.read_model(path.read_bytes())
            self.side = int(model.input(0).get_partial_shape()[1].get_length())
            self.width = int(model.output(0).get_partial_shape()[1].get_length())
            model.reshape([_BATCH, self.side, self.side, 3])
            self._model = core.compile_model(model, "CPU", options)
        except Exception as error:  # OpenVINO raises RuntimeError for everything
            raise ContractError(f"{path} is not a graph that OpenVINO can compute features by: {error}") from error
        self._requests: list[Any] = [self._model.create_infer_request() for _ in range(self.threads)]

    def compute(self, pictures: Pictures) -> NDArray[np.float32]:
        """Return the (b, w) float32 features of at most 16 pictures; the result does not depend on their number."""
        count = len(pictures)
        if count < _BATCH:
            padding = np.zeros((_BATCH - count, *pictures.shape[1:]), np.uint8)
            pictures = np.concatenate([pictures, padding])
        request = self._requests.pop()
        try:
            found = request.infer([np.ascontiguousarray(pictures)], share_inputs=True)[0][:count].copy()
        finally:
            self._requests.append(request)
        if not np.isfinite(found).all():
            raise DataError("the backbone gives features that are not finite; check its weights and its normalisation")
        return np.asarray(np.clip(found, -_LARGEST, _LARGEST), np.float32)

    def seconds_per_picture(self, pictures: Pictures) -> float:
        """Return the seconds that one picture takes with all cores busy, by computing a few batches."""
        batch = np.resize(pictures, (_BATCH, *pictures.shape[1:]))
        self.compute(batch)
        started = time.monotonic()
        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(self.compute, [batch] * (_TIMED_BATCHES * self.threads)))
        return (time.monotonic() - started) / (_TIMED_BATCHES * self.threads * _BATCH)


def compute_features(
    dataset: Dataset, computer: FeatureComputer, scratch: Path, parameters: TrainingParameters, *, views: int
) -> FeatureSets:
    """Compute the features of all usable pictures and of augmented views of the training pictures.

    Work that was stopped resumes where it was, in blocks of 256 pictures.

    Args:
        dataset: decoded pictures.
        computer: the backbone.
        scratch: directory for the features.
        parameters: seed and augmentation.
        views: augmented views of each training picture.
    """
    cv2.setNumThreads(1)  # the pool runs several pictures
    training, validation = dataset.training, dataset.validation
    shape = (1 + views, len(training.rows), computer.width)
    path = scratch / "training.features"
    changes = Augmentation.of(parameters, side=computer.side)

    def view_of(place: int) -> Pictures:
        view, row = divmod(place, shape[1])
        picture = training.pixels[training.rows[row]]
        return picture if view == 0 else augment(picture, draw_one(parameters.seed, view, row), changes)

    with _only_process(scratch / "features.lock"):
        _fill(path, shape[0] * shape[1], computer, view_of, "compute training features")
        _fill(
            scratch / "validation.features",
            len(validation.rows),
            computer,
            lambda place: validation.pixels[validation.rows[place]],
            "compute validation features",
        )
    return FeatureSets(
        _open(path, shape), _open(scratch / "validation.features", (len(validation.rows), computer.width))
    )


def draw_one(seed: int, view: int, row: int) -> NDArray[np.float32]:
    """Return the random numbers of one view of one picture, independent of all others."""
    return np.asarray(draw(seed, view, row, 1)[0], np.float32)


def _fill(path: Path, count: int, computer: FeatureComputer, picture_of: Callable[[int], Pictures], title: str) -> None:
    row_bytes = 2 * computer.width
    path.touch()
    done = min(count, path.stat().st_size // row_bytes // _BLOCK * _BLOCK)

    def compute(start: int) -> NDArray[np.float32]:
        stop = min(count, start + _BATCH)
        return computer.compute(np.stack([picture_of(place) for place in range(start, stop)]))

    bar: tqdm[None] = progress_bar(None, title, total=count, unit="image")
    with path.open("r+b") as file, ThreadPoolExecutor(computer.threads) as pool, bar:
        file.truncate(done * row_bytes)
        file.seek(done * row_bytes)
        bar.update(done)
        for start in range(done, count, _BLOCK):
            stop = min(count, start + _BLOCK)
            block = np.concatenate(list(pool.map(compute, range(start, stop, _BATCH))))
            file.write(block.astype(np.float16).tobytes())
            file.flush()
            bar.update(stop - start)


def _open(path: Path, shape: tuple[int, ...]) -> Features:
    if 0 in shape:
        return np.zeros(shape, np.float16)
    return np.memmap(path, np.float16, "r", shape=shape)


@contextmanager
def _only_process(path: Path) -> Iterator[None]:
    """Wait until no other process of the same search for dials writes these features."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
