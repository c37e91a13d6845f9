"""Expendable processes that decode strangers' pictures, and the asyncio side that feeds, times and replaces them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import socket
import subprocess
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.shared.errors import BadImageError, ImageTooLargeError, ResourceError, SourceError
from components.shared.pictures.limits import DecodingLimits
from components.shared.pictures.preprocessing import Pixels, PreprocessingSpec
from components.shared.pictures.worker import start_worker
from serving.server.refusals import OverloadedError
from serving.transformer.encoding.frames import PREFIX, frame_of, sizes_of

_log = logging.getLogger(__name__)
_START_SECONDS = 60.0
_RESTART_PAUSE_SECONDS = 1.0
_ITS_OWN_FAULT = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE})
_CANNOT_BE_SERVED = frozenset({"missing", "unreadable"})


@dataclass(frozen=True)
class QueryPicture:
    """A query's picture, ready for the encoder.

    Attributes:
        square: (side, side, 3) uint8 RGB.
        sha256: hexadecimal digest of the encoded bytes.
        facts: width, height, format, bytes, and, if they were asked for, the figures of `PictureStatistics`.
    """

    square: Pixels
    sha256: str
    facts: dict[str, Any]


@dataclass
class PoolCounts:
    """Counts of the pool since its start."""

    jobs: int = 0
    refused: int = 0
    timed_out: int = 0
    crashed: int = 0
    started: int = 0


class DecodingPool:
    """Processes that decode, one job at a time each, and one more that waits to take the place of one that dies.

    Args:
        workers: jobs at a time.
        queue: jobs that may wait; one more is refused.
        limits: limits of a picture.
        cpu_seconds: processor time of one job; beyond it the kernel ends the process.
        wall_seconds: real time per job, waiting included.
        memory_bytes: address space of a process.
    """

    def __init__(
        self,
        *,
        workers: int,
        queue: int,
        limits: DecodingLimits,
        cpu_seconds: float = 2.0,
        wall_seconds: float = 4.0,
        memory_bytes: int = 2 << 30,
    ) -> None:
        self.counts = PoolCounts()
        self._workers, self._queue, self._wall_seconds = workers, queue, wall_seconds
        self._terms = {
            "limits": limits.model_dump(),
            "cpu_seconds": cpu_seconds,
            "memory_bytes": memory_bytes,
        }
        self._slots = asyncio.Semaphore(workers)
        self._idle: asyncio.LifoQueue[_Process] = asyncio.LifoQueue()
        self._waiting = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._alive: set[_Process] = set()

    @property
    def waiting(self) -> int:
        """Number of jobs that wait for a process."""
        return self._waiting

    async def start(self) -> None:
        """Start the processes; returns when all of them can work.

        Raises:
            ResourceError: they do not start.
        """
        await asyncio.gather(*(self._start_one() for _ in range(self._workers + 1)))

    async def stop(self) -> None:
        """End every process."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(process.end() for process in self._alive))
        self._alive.clear()

    async def prepare(
        self,
        data: bytes,
        preprocessing: PreprocessingSpec,
        crop: tuple[float, ...] | None = None,
        *,
        statistics: bool = True,
    ) -> QueryPicture:
        """Decode a picture, cut the part out that is searched for, and preprocess it.

        Args:
            data: the encoded picture.
            preprocessing: preprocessing of the release that is searched.
            crop: x, y, width, height as fractions of the upright picture.
            statistics: whether to measure the picture as well.

        Raises:
            BadImageError: it cannot be decoded, crashes the decoder or takes too long.
            OverloadedError: too many jobs are waiting, or this one was ended for no fault of the picture.
        """
        head = {
            "job": "query",
            "preprocessing": preprocessing.model_dump(),
            "crop": crop,
            "statistics": statistics,
        }
        facts, body = await self._run(head, data)
        side = preprocessing.side
        return QueryPicture(np.frombuffer(body, np.uint8).reshape(side, side, 3), facts.pop("sha256"), facts)

    async def thumbnail(self, uri: str, side: int) -> bytes:
        """Read a picture and re-encode it as WebP that fits into side × side pixels.

        Raises:
            SourceError: it cannot be read.
            BadImageError: it cannot be decoded.
            OverloadedError: as in `prepare`.
        """
        _, body = await self._run({"job": "thumbnail", "uri": uri, "side": side}, b"")
        return body

    async def _run(self, head: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        if self._waiting >= self._queue:
            self.counts.refused += 1
            raise OverloadedError("too many pictures are waiting to be decoded; try again in a moment")
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        # A cancelled job runs to its end: to kill its process would cost more.
        answer, body = await asyncio.shield(self._background(self._do(head, data)))
        if "reason" not in answer:
            return answer, body
        reason, message = str(answer["reason"]), str(answer["message"])
        if reason in _CANNOT_BE_SERVED:
            raise SourceError(message, source=str(head.get("uri", "")))
        raise (ImageTooLargeError if answer.get("too_large") else BadImageError)(message, reason=reason)

    async def _do(self, head: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        """Do one job in a slot that was acquired for it, and give the slot back."""
        try:
            self.counts.jobs += 1
            process = await asyncio.wait_for(self._idle.get(), _START_SECONDS)
            try:
                async with asyncio.timeout(self._wall_seconds):
                    answer = await process.ask(head, data)
            except (TimeoutError, OSError, EOFError, ValueError) as error:
                status = await process.end()
                self._alive.discard(process)
                self._background(self._replace())
                return self._epitaph(error, status), b""
            self._idle.put_nowait(process)
            return answer
        except TimeoutError as error:
            raise OverloadedError("no process could be started to decode the picture; try again in a moment") from error
        finally:
            self._slots.release()

    def _epitaph(self, error: Exception, status: int) -> dict[str, Any]:
        """Return what to answer for a picture whose process has died."""
        if status == -signal.SIGPROF:
            self.counts.timed_out += 1
            return {
                "reason": "timed_out",
                "message": f"decoding the picture takes more than {self._terms['cpu_seconds']:g} seconds",
            }
        self.counts.crashed += 1
        if -status in _ITS_OWN_FAULT:
            return {"reason": "crashed", "message": "the picture makes the decoder fail; save it again"}
        _log.warning("a decoding process ended (status %s, %s)", status, type(error).__name__)
        raise OverloadedError("decoding the picture was ended by the system; try again in a moment")

    async def _start_one(self) -> None:
        process = _Process()
        self._alive.add(process)
        try:
            await process.start(self._terms)
        except BaseException:
            self._alive.discard(process)
            await process.end()
            raise
        self.counts.started += 1
        self._idle.put_nowait(process)

    async def _replace(self) -> None:
        while True:
            try:
                await self._start_one()
            except ResourceError as error:
                _log.warning("%s", error)
                await asyncio.sleep(_RESTART_PAUSE_SECONDS)
            else:
                return

    def _background(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # the waiting request has it; there may be none left


class _Process:
    """One process and the connection to it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def start(self, terms: dict[str, Any]) -> None:
        """Start it and wait until it can work.

        Raises:
            ResourceError: it does not start.
        """
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                # In this thread, the loop's: it dies with the thread that starts it (PR_SET_PDEATHSIG).
                self._process = start_worker("serving.transformer.encoding.decoder_process", theirs.fileno())
            self._reader, self._writer = await asyncio.open_connection(sock=ours, limit=1 << 20)
            async with asyncio.timeout(_START_SECONDS):
                await self.ask(terms, b"")
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            ours.close()
            raise ResourceError(f"a process that decodes pictures does not start: {error or 'timeout'}") from error

    async def ask(self, head: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        """Send a job and return its answer.

        Raises:
            OSError: the process has died.
            EOFError: likewise.
            ValueError: it says what is no answer.
        """
        if self._reader is None or self._writer is None:
            raise EOFError("the process was not started")
        self._writer.writelines((frame_of(head, body), body))  # joined, so that one call sends a small picture
        await self._writer.drain()
        sizes = sizes_of(await self._reader.readexactly(PREFIX.size))
        answer = json.loads(await self._reader.readexactly(sizes[0]))
        if not isinstance(answer, dict):
            raise ValueError("a decoding process did not answer with a JSON object")
        return answer, await self._reader.readexactly(sizes[1])

    async def end(self) -> int:
        """Kill it unless it has ended, and return its exit status."""
        if self._writer is not None:
            self._writer.close()
        if self._process is None:
            return 0
        try:
            # Give a process that was signalled a moment to report its status; kill one that hangs.
            return await asyncio.to_thread(self._process.wait, 0.05)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            return await asyncio.to_thread(self._process.wait)
