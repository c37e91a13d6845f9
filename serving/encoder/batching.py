"""Requests that come at the same time are computed together: one thread computes, the event loop is never held up.

An idle encoder answers at once. While it computes, pictures gather; the next batch takes what has gathered. Only where
the last batch was shared, and just ended, may the next one wait a little for the requests that its answers bring about.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from components.shared.errors import NotReadyError
from components.shared.vectors.embeddings import Vectors
from serving.encoder.metrics import BatchMetrics
from serving.server.refusals import EncoderTimeoutError, OverloadedError

Encode = Callable[[NDArray[np.uint8]], Vectors]


@dataclass(eq=False, slots=True)
class _Piece:
    """A part of one request that is small enough for a batch."""

    images: NDArray[np.uint8]
    deadline: float
    arrived: float
    answer: asyncio.Future[Vectors]


class Batcher:
    """Collects the pictures of concurrent requests into batches. All methods belong to the running event loop.

    Args:
        encode: computes a batch, in this object's own thread.
        max_batch: pictures of one batch at most.
        max_wait_seconds: how long a batch may wait for more pictures under load.
        queue_images: largest number of waiting pictures.

    Attributes:
        metrics: counters of batches and drops.
    """

    def __init__(
        self,
        encode: Encode,
        *,
        max_batch: int,
        max_wait_seconds: float,
        queue_images: int,
    ) -> None:
        self._encode, self._max_batch = encode, max_batch
        self._max_wait_seconds, self._queue_images = max_wait_seconds, queue_images
        self.metrics = BatchMetrics.silent()
        self._queue: deque[_Piece] = deque()
        self._arrival = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self._dispatcher: asyncio.Task[None] | None = None
        self._closing = False
        self._computing_since: float | None = None
        self._seconds_per_image = 0.0
        self._last: tuple[float, int, int] = (-math.inf, 0, 0)  # when the last batch ended, its pieces, its pictures

    @property
    def waiting_images(self) -> int:
        """The number of pictures that wait for their batch, without those of cancelled requests."""
        return sum(len(piece.images) for piece in self._queue if not piece.answer.done())

    @property
    def computing_seconds(self) -> float:
        """How long the present batch has been computed; 0 between batches."""
        return 0.0 if self._computing_since is None else monotonic() - self._computing_since

    async def encode(self, images: NDArray[np.uint8], *, deadline: float = math.inf) -> Vectors:
        """Embed the pictures of one request, together with those of others.

        Args:
            images: (b, side, side, 3) uint8; b ≥ 1.
            deadline: deadline of `time.monotonic`; what has not begun by then is never computed.

        Returns:
            (b, d) float32 unit vectors, in the order of the pictures.

        Raises:
            OverloadedError: too many pictures wait already.
            EncoderTimeoutError: the deadline has passed.
            NotReadyError: the batcher is closed.
            VisualSearchError: error of `encode` for this request's own pictures, not for others'.
        """
        if self._closing:
            raise NotReadyError("this encoder is being replaced; try again")
        now = monotonic()
        if deadline <= now:
            self.metrics.dropped("late")
            raise EncoderTimeoutError("the deadline had passed when the request arrived; allow more time")
        if len(images) + (waiting := self.waiting_images) > self._queue_images and (
            self._queue or self._computing_since
        ):
            self.metrics.dropped("overload")
            raise OverloadedError(
                f"{waiting} pictures are already waiting; try again later",
                retry_after_seconds=self._retry_after(waiting),
            )
        loop = asyncio.get_running_loop()
        pieces = [
            _Piece(images[start : start + self._max_batch], deadline, now, loop.create_future())
            for start in range(0, len(images), self._max_batch)
        ]
        self._queue.extend(pieces)
        self._arrival.set()
        if self._dispatcher is None:
            self._dispatcher = loop.create_task(self._dispatch())
        try:
            async with asyncio.timeout_at(None if deadline == math.inf else loop.time() + deadline - monotonic()):
                parts = [await piece.answer for piece in pieces]
        except TimeoutError as error:
            self.metrics.dropped("late")
            raise EncoderTimeoutError("the encoder did not get to this request in time") from error
        finally:
            for piece in pieces:
                if not piece.answer.done():
                    piece.answer.cancel()
                elif not piece.answer.cancelled():
                    piece.answer.exception()  # seen, so that asyncio does not complain about the second of two
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    async def close(self) -> None:
        """Answer what has been accepted, take nothing more, and end the thread."""
        self._closing = True
        self._arrival.set()
        if self._dispatcher is not None:
            await self._dispatcher
        self._thread.shutdown(wait=False)

    async def _dispatch(self) -> None:
        while True:
            while not self._queue:
                if self._closing:
                    return
                self._arrival.clear()
                await self._arrival.wait()
            await self._gather()
            batch = self._take()
            if batch:
                await self._compute(batch)

    async def _gather(self) -> None:
        """Wait a little for more pictures, if the last batch was shared and has just ended."""
        ended, pieces, images = self._last
        until = ended + self._max_wait_seconds
        while pieces > 1 and self.waiting_images < min(images, self._max_batch) and not self._closing:
            left = until - monotonic()
            if left <= 0:
                return
            self._arrival.clear()
            try:
                async with asyncio.timeout(left):
                    await self._arrival.wait()
            except TimeoutError:
                return

    def _take(self) -> list[_Piece]:
        """Take the oldest pieces that fit into one batch; drop cancelled and expired ones."""
        batch: list[_Piece] = []
        room = self._max_batch
        now = monotonic()
        while self._queue:
            piece = self._queue[0]
            if piece.answer.done():
                self._queue.popleft()
            elif piece.deadline <= now:
                self._queue.popleft()
                piece.answer.set_exception(EncoderTimeoutError("the encoder did not get to this request in time"))
            elif len(piece.images) <= room:
                room -= len(piece.images)
                batch.append(self._queue.popleft())
            else:
                break
        for piece in batch:
            self.metrics.waited(now - piece.arrived)
        return batch

    async def _compute(self, batch: list[_Piece]) -> None:
        started = self._computing_since = monotonic()
        images = sum(len(piece.images) for piece in batch)
        try:
            outcomes = await asyncio.get_running_loop().run_in_executor(self._thread, self._run, batch)
        finally:
            self._computing_since = None
        ended = monotonic()
        self._last = (ended, len(batch), images)
        self._seconds_per_image += 0.2 * ((ended - started) / images - self._seconds_per_image)
        self.metrics.computed(images, ended - started)
        for piece, outcome in zip(batch, outcomes, strict=True):
            if piece.answer.done():
                continue
            if isinstance(outcome, BaseException):
                piece.answer.set_exception(outcome)
            else:
                piece.answer.set_result(outcome)

    def _run(self, batch: list[_Piece]) -> list[Vectors | Exception]:
        """Compute a batch; if it fails, each piece by itself, so that one bad picture fails no other request."""
        try:
            together = batch[0].images if len(batch) == 1 else np.concatenate([piece.images for piece in batch])
            vectors = self._encode(together)
            if len(vectors) != len(together):
                raise RuntimeError(f"the encoder gave {len(vectors)} embeddings for {len(together)} pictures")
        except Exception as error:
            return [error] if len(batch) == 1 else [self._run([piece])[0] for piece in batch]
        bounds = np.cumsum([len(piece.images) for piece in batch])[:-1]
        return list(np.split(vectors, bounds))

    def _retry_after(self, waiting: int) -> int:
        """Return when the queue will be short again, at random so that the refused do not all come at once."""
        return max(1, math.ceil(waiting * self._seconds_per_image * random.uniform(1, 2)))
