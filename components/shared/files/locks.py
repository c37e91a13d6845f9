"""The one lock for work that several processes of a machine must not do at the same time."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from components.shared.files.atomic import full_disk_named


@contextmanager
def exclusive_lock(path: Path, *, when_held: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock file `path`, created if needed; others wait. The kernel releases it when the process dies.

    Not reentrant. It excludes processes of one machine only.

    Args:
        path: the lock file; it is never removed.
        when_held: called when another process holds the lock, before waiting for it; if it raises, there is no wait.

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
