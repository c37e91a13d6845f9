"""From the URIs of pictures to embeddings, with every core busy: readers decode ahead, workers encode."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.embedding.parameters import EmbeddingParameters
from components.shared.errors import BadImageError, PoisonedVectorError
from components.shared.files.storage import is_remote
from components.shared.pictures.decoder import load_image
from components.shared.pictures.preprocessing import PreprocessingSpec
from components.shared.vectors.embeddings import Vectors
from components.shared.vectors.encoder import OnnxEncoder

TRANSIENT_REASONS = frozenset({"missing", "unreadable", "out_of_memory"})  # another attempt may succeed
NO_EMBEDDING = "no_embedding"  # the encoder gave something that is not a unit vector
_REMOTE_READERS_PER_CORE = 8


@dataclass(frozen=True)
class Failure:
    """A picture that could not be embedded.

    Attributes:
        row: its place among the pictures that were asked for.
        reason: a short machine-readable word.
        message: one sentence.
    """

    row: int
    reason: str
    message: str


@dataclass(frozen=True)
class EmbeddedBatch:
    """What became of some pictures.

    Attributes:
        rows: (b,) places of those that were embedded.
        vectors: (b, d) float32.
        failures: the others.
    """

    rows: NDArray[np.int64]
    vectors: Vectors
    failures: list[Failure]


class ImageEmbedder:
    """Embeds pictures by URI. Each worker runs the encoder on one thread, so cores never wait for one another.

    Args:
        encoder: its calls must use one thread each.
        spec: how a picture becomes the encoder's input.
        parameters: batch size and numbers of threads.
        load: from a URI to the encoder's input; raises BadImageError.
    """

    def __init__(
        self,
        encoder: OnnxEncoder,
        spec: PreprocessingSpec,
        parameters: EmbeddingParameters,
        load: Callable[[str, PreprocessingSpec], NDArray[np.uint8]] = load_image,
    ) -> None:
        self._encoder, self._spec, self._parameters, self._load = encoder, spec, parameters, load

    def embed(self, uris: list[str]) -> Iterator[EmbeddedBatch]:
        """Yield batches in the order of the URIs. Batches are cut the same way every time, so vectors are reproducible."""
        size = self._parameters.batch_images
        workers = self._parameters.workers or available_cores()
        readers = self._parameters.readers or available_cores() * (
            _REMOTE_READERS_PER_CORE if uris and is_remote(uris[0]) else 1
        )
        ahead = workers + 1 + -(-readers // size)  # batches being read or encoded at one time
        with (
            ThreadPoolExecutor(readers, "reader") as reading,
            ThreadPoolExecutor(workers, "worker") as encoding,
        ):
            pending: deque[Future[EmbeddedBatch]] = deque()
            try:
                for start in range(0, len(uris), size):
                    rows = range(start, min(start + size, len(uris)))
                    pictures = [reading.submit(self._read, row, uris[row]) for row in rows]
                    pending.append(encoding.submit(self._encode, pictures))
                    if len(pending) >= ahead:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            finally:  # an error or an abandoned iteration must not wait for what is queued
                for pool in (encoding, reading):
                    pool.shutdown(wait=False, cancel_futures=True)

    def _read(self, row: int, uri: str) -> tuple[int, NDArray[np.uint8]] | Failure:
        try:
            return row, self._load(uri, self._spec)
        except BadImageError as error:
            return Failure(row, error.reason, str(error))

    def _encode(self, pictures: list[Future[tuple[int, NDArray[np.uint8]] | Failure]]) -> EmbeddedBatch:
        results = [picture.result() for picture in pictures]
        failures = [result for result in results if isinstance(result, Failure)]
        good = [result for result in results if not isinstance(result, Failure)]
        if not good:
            return EmbeddedBatch(np.empty(0, np.int64), np.empty((0, self._encoder.dimension), np.float32), failures)
        rows, images = np.array([row for row, _ in good], np.int64), np.stack([image for _, image in good])
        try:
            return EmbeddedBatch(rows, self._encoder.encode(images), failures)
        except PoisonedVectorError:
            return self._encode_singly(rows, images, failures)

    def _encode_singly(
        self, rows: NDArray[np.int64], images: NDArray[np.uint8], failures: list[Failure]
    ) -> EmbeddedBatch:
        """Find the picture that the encoder has no vector for; the others of its batch are kept."""
        kept, vectors = [], [np.empty((0, self._encoder.dimension), np.float32)]
        for row, image in zip(rows.tolist(), images, strict=True):
            try:
                vectors.append(self._encoder.encode(image[None]))
                kept.append(row)
            except PoisonedVectorError as error:
                failures = [*failures, Failure(row, NO_EMBEDDING, str(error))]
        return EmbeddedBatch(np.array(kept, np.int64), np.concatenate(vectors), failures)


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))
