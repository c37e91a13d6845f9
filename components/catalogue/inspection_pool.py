"""Several expendable processes that inspect pictures, and the loop that feeds them and replaces those that die."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import IO, Any

from components.catalogue.inspection import Inspection
from components.shared.errors import ResourceError
from components.shared.pictures.limits import DecodingLimits
from components.shared.pictures.worker import start_worker

_AHEAD = 24  # pictures sent to a process before it has answered
_PICTURES_PER_PROCESS = 50  # fewer are not worth another process
_TIMERS = {signal.SIGPROF, signal.SIGALRM}


def inspect_pictures(
    uris: Sequence[str], *, limits: DecodingLimits, timeout_seconds: float, workers: int = 0
) -> Iterator[tuple[int, Inspection]]:
    """Inspect pictures in other processes, so that no picture can crash, hang or exhaust this one.

    Args:
        uris: addresses of the pictures.
        limits: limits that a picture must meet.
        timeout_seconds: processor time per picture; beyond it the reason is "timed_out".
        workers: number of processes; 0: one per processor.

    Yields:
        (position in `uris`, inspection), each position once, in order of completion. A picture on which a process died
        twice has the reason "crashed".

    Raises:
        ResourceError: the processes do not start.
    """
    if not uris:
        return
    count = workers or len(os.sched_getaffinity(0))
    count = max(1, min(count, -(-len(uris) // _PICTURES_PER_PROCESS)))
    todo = deque(range(len(uris)))
    crashed: set[int] = set()
    inspectors: list[_Inspector] = []
    try:
        inspectors.extend(_Inspector(limits, timeout_seconds) for _ in range(count))
        while todo or any(inspector.ahead for inspector in inspectors):
            for inspector in inspectors:
                inspector.feed(uris, todo)
            busy = {inspector.connection: inspector for inspector in inspectors if inspector.ahead}
            for connection in wait(list(busy)):
                inspector = busy[connection]  # type: ignore[index]  # the wait covers connections only
                answer = inspector.receive()
                if answer is not None:
                    yield answer
                    continue
                index, inspection = inspector.bury()
                inspectors[inspectors.index(inspector)] = _Inspector(limits, timeout_seconds)
                todo.extendleft(reversed(inspector.ahead))
                if inspection.reason == "crashed" and index not in crashed:  # the system could be the cause; try again
                    crashed.add(index)
                    todo.append(index)
                else:
                    yield index, inspection
    finally:
        for inspector in inspectors:
            inspector.stop()


@dataclass(eq=False)
class _Inspector:
    """One process; `ahead` holds the unanswered pictures, oldest first."""

    limits: DecodingLimits
    timeout_seconds: float
    ahead: deque[int] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self._is_ready = False
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in stop()
        ours, theirs = socket.socketpair()
        self.connection = Connection(ours.detach())
        try:
            with theirs:
                self._process = start_worker("components.catalogue.inspector", theirs.fileno(), errors=self._errors)
        except OSError as error:
            self.connection.close()
            self._errors.close()
            raise ResourceError(
                f"the process that decodes pictures does not start: {error}; free some memory"
            ) from error
        self._send((self.limits, self.timeout_seconds))

    def feed(self, uris: Sequence[str], todo: deque[int]) -> None:
        """Send pictures until enough are ahead."""
        while todo and len(self.ahead) < _AHEAD:
            index = todo.popleft()
            self.ahead.append(index)
            if not self._send((index, uris[index])):
                return

    def _send(self, message: tuple[Any, ...]) -> bool:
        """Send a message; False if the process has died, which `receive` then notices and `bury` reports."""
        try:
            self.connection.send(message)
        except OSError:
            return False
        return True

    def receive(self) -> tuple[int, Inspection] | None:
        """Return the next answer; None if the process has died."""
        try:
            if not self._is_ready:
                self.connection.recv()
                self._is_ready = True
            index, inspection = self.connection.recv()
        except (EOFError, OSError):  # no answer, or only part of one
            return None
        self.ahead.popleft()
        return index, inspection

    def bury(self) -> tuple[int, Inspection]:
        """Return the picture on which the process died, with the cause.

        Raises:
            ResourceError: the process died before it was ready for any picture.
        """
        status = self._process.wait()
        if not self._is_ready:
            self._errors.seek(0)
            text = self._errors.read().decode(errors="replace").strip()
            raise ResourceError(f"the process that decodes pictures does not start (exit {status}): {text[-500:]}")
        self.stop()
        index = self.ahead.popleft()
        if -status in _TIMERS:
            message = f"reading and decoding took more than {self.timeout_seconds:g} seconds of processor time"
            return index, Inspection(reason="timed_out", message=message)
        name = signal.Signals(-status).name if status < 0 else f"exit {status}"
        return index, Inspection(reason="crashed", message=f"the picture crashed the decoder ({name})")

    def stop(self) -> None:
        """End the process and free its resources."""
        self.connection.close()
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._errors.close()
