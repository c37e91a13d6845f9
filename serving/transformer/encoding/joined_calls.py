"""Pictures of requests that come at the same time go to the encoder in one call: what a call costs, they share.

With nothing on the way, a picture goes at once. Two calls may be on the way: one that the encoder computes, and one that
waits there, so that it is never idle. Requests that arrive in the meantime are queued and sent together when a call is answered.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Awaitable, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from components.shared.pictures.preprocessing import Pixels
from components.shared.vectors.embeddings import Vectors
from serving.server.refusals import EncoderFailedError, EncoderTimeoutError

_CALLS = 2


class Call(Protocol):
    """Asks the encoder once."""

    def __call__(
        self, parts: Sequence[Pixels], *, space_id: str, dimension: int, deadline: float
    ) -> Awaitable[Vectors]:
        """Embed (b, side, side, 3) pictures, part after part; the deadline is of `time.monotonic`."""
        ...


@dataclass(eq=False)
class _Piece:
    """The pictures of one request."""

    squares: Pixels
    space_id: str
    dimension: int
    deadline: float
    answer: asyncio.Future[Vectors]
    context: Context = field(default_factory=copy_context)
    call: asyncio.Task[None] | None = None
    companions: Sequence[_Piece] = ()

    def fits(self, other: _Piece) -> bool:
        """Whether both ask for the same."""
        return (self.space_id, self.dimension) == (other.space_id, other.dimension)


class JoinedCalls:
    """Joins what is asked at the same time. All methods belong to the running event loop.

    Args:
        call: asks the encoder.
        most_images: largest number of images per call, unless one request alone has more; 1: calls are not joined.
    """

    def __init__(self, call: Call, *, most_images: int) -> None:
        self._call, self._most_images = call, most_images
        self._queue: deque[_Piece] = deque()
        self._running: set[asyncio.Task[None]] = set()

    async def encode(self, squares: Pixels, *, space_id: str, dimension: int, deadline: float) -> Vectors:
        """Embed the pictures of one request, perhaps together with those of others.

        The call carries the request id and the trace of the oldest request in it.

        Args:
            squares: (b, side, side, 3) uint8.
            space_id: the space that is needed.
            dimension: length d of its embeddings.
            deadline: time on the clock of `time.monotonic`.

        Returns:
            (b, d) float32, in the order of the pictures.

        Raises:
            EncoderTimeoutError: no answer in time.
            VisualSearchError: error of the call for these pictures, not for others'.
        """
        loop = asyncio.get_running_loop()
        piece = _Piece(squares, space_id, dimension, deadline, loop.create_future())
        self._queue.append(piece)
        self._send()
        try:
            async with asyncio.timeout_at(loop.time() + deadline - time.monotonic()):
                return await piece.answer
        except TimeoutError as error:
            raise EncoderTimeoutError("the encoder did not answer in time") from error
        finally:
            if not piece.answer.cancel() and not piece.answer.cancelled():
                piece.answer.exception()  # seen, so that asyncio does not complain where the time was over just then
            if piece.call is not None and all(each.answer.done() for each in piece.companions):
                piece.call.cancel()  # its request was cancelled
            piece.call, piece.companions = None, ()  # no circle: the pictures are freed now, not by the next collection

    async def stop(self) -> None:
        """Give up what is on the way."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _send(self) -> None:
        while len(self._running) < _CALLS and (pieces := self._take()):
            task = asyncio.get_running_loop().create_task(self._run(pieces), context=pieces[0].context)
            for piece in pieces:
                piece.call, piece.companions = task, pieces
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._send()

    def _take(self) -> list[_Piece]:
        """Take the oldest compatible pieces, up to a power of two of pictures if each piece has one.

        Such batches are what encoders are compiled for: seven pictures cost as much as eight.
        """
        waiting = [piece for piece in self._queue if not piece.answer.done()]
        fitting = list(itertools.takewhile(lambda piece: piece.fits(waiting[0]), waiting))
        most = min(self._most_images, sum(len(piece.squares) for piece in fitting))
        room = 1 << most.bit_length() >> 1
        pieces = fitting[:1]
        for piece in fitting[1:]:
            room -= len(pieces[-1].squares)
            if len(piece.squares) > room:
                break
            pieces.append(piece)
        self._queue = deque(waiting[len(pieces) :])
        return pieces

    async def _run(self, pieces: Sequence[_Piece]) -> None:
        """Ask for pieces together; if that fails by what may be one piece's fault, for each by itself."""
        try:
            vectors = await self._call(
                [piece.squares for piece in pieces],
                space_id=pieces[0].space_id,
                dimension=pieces[0].dimension,
                deadline=max(piece.deadline for piece in pieces),
            )
        except asyncio.CancelledError:
            for piece in pieces:
                piece.answer.cancel()
            raise
        except Exception as error:
            # Not for the kinds of this error that blame the encoder as a whole.
            alone = len(pieces) > 1 and type(error) is EncoderFailedError
            for piece in pieces:
                if piece.answer.done():
                    continue
                if alone:
                    await self._run([piece])
                else:
                    piece.answer.set_exception(error)
            return
        bounds = np.cumsum([len(piece.squares) for piece in pieces])[:-1]
        for piece, part in zip(pieces, np.split(vectors, bounds), strict=True):
            if not piece.answer.done():
                piece.answer.set_result(part)
