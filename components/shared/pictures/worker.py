"""Expendable processes that decode pictures. A picture that kills one affects no other process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

import components

_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}


def start_worker(module: str, descriptor: int, *, errors: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    """Start a module, whose main program is `run_worker`, in its own process.

    Args:
        module: full name of the module.
        descriptor: socket to the parent.
        errors: file for its standard error; None: that of this process.

    Raises:
        OSError: no process can be started.
    """
    root = str(Path(next(iter(components.__path__))).parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    # Not multiprocessing: its children import the main module again, be it kfp or a notebook.
    return subprocess.Popen(  # noqa: S603 - the command is ours
        [sys.executable, "-P", *(["-O"] if sys.flags.optimize else []), "-m", module, str(descriptor)],
        pass_fds=[descriptor],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        env={**os.environ, **_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(paths)},
    )


def run_worker(serve: Callable[[int], None]) -> None:
    """Serve on the socket that the command line names until the parent hangs up, which raises EOFError in `serve`."""
    import cv2  # slow to import, and not needed by the parent

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the parent decides when to stop
    cv2.setNumThreads(1)
    try:
        serve(int(sys.argv[1]))
    except (EOFError, ConnectionError):
        os._exit(0)
