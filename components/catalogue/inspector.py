"""The process that reads and decodes pictures for the catalogue: started by `inspection_pool`, expendable.

A picture that makes a decoder crash kills this process only, and the kernel's timer kills it if a picture takes too long;
the parent notices and continues. The parent communicates through a socket whose number is the only argument.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection

from components.catalogue.inspection import Inspection, inspect_bytes
from components.shared.errors import BadImageError, SourceError
from components.shared.files.storage import is_remote, read_bytes
from components.shared.pictures.limits import DecodingLimits
from components.shared.pictures.worker import run_worker

_REAL_TIME_FACTOR = (
    20  # a read that waits instead of computing, for example for a dead disk, is stopped too, but much later
)
_REMOTE_READS = 16  # files read at once, so that latency does not add up


def serve(connection: Connection) -> None:
    """Answer (index, uri) with (index, Inspection), in order, until the parent hangs up."""
    limits, timeout_seconds = connection.recv()
    connection.send("ready")
    waiting: deque[tuple[int, Callable[[], Inspection]]] = deque()
    with ThreadPoolExecutor(_REMOTE_READS) as readers:
        while True:
            while connection.poll(0) or not waiting:
                index, uri = connection.recv()
                waiting.append((index, _inspection_of(uri, limits, timeout_seconds, readers)))
            index, inspect = waiting.popleft()
            connection.send((index, inspect()))


def _inspection_of(
    uri: str, limits: DecodingLimits, timeout_seconds: float, readers: ThreadPoolExecutor
) -> Callable[[], Inspection]:
    """Start reading a remote file at once, a local one only on its turn."""
    read: Future[bytes] | None = None
    if is_remote(uri):
        read = readers.submit(read_bytes, uri, limit_bytes=limits.max_bytes)

    def inspect() -> Inspection:
        _set_timers(timeout_seconds)
        try:
            data = read.result() if read else read_bytes(uri, limit_bytes=limits.max_bytes)
            return inspect_bytes(data, limits)
        except SourceError as error:
            reason = "missing" if isinstance(error.__cause__, FileNotFoundError) else "unreadable"
            return Inspection(reason=reason, message=str(error))
        except BadImageError as error:
            return Inspection(reason=error.reason, message=str(error))
        finally:
            _set_timers(0)

    return inspect


def _set_timers(seconds: float) -> None:
    # These signals have no handler, so the kernel ends the process, even within native code.
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, seconds * _REAL_TIME_FACTOR)


if __name__ == "__main__":
    run_worker(lambda descriptor: serve(Connection(descriptor)))
