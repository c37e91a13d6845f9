"""One lock for what several processes of a machine must not do at once."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from components.shared.files.atomic import full_disk_named


@contextmanager
def exclusive_lock(path: Path, *, when_held: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock file `path`, which is made if need be; others wait. The kernel frees it when the process dies.

    Not reentrant. It excludes processes of one machine only.

    Args:
        path: the lock file; nobody removes it.
        when_held: called when another process holds the lock, before waiting for it; it raises in order not to wait.

    Raises:
        ResourceError: the file cannot be written.
    """
    with full_disk_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if when_held is not None:
                when_held()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
