"""Set-up of our processes: a terminal of any encoding, and loopback without a proxy."""

from __future__ import annotations

import os
import sys
import tempfile

from components.shared.errors import ResourceError

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")
_PROBE_BYTES = 256 << 10  # more than the scripts and lists that a run puts there


def prepare_process() -> None:
    """Prepare a process at its entry point; its children inherit the environment.

    Calls to our own processes bypass any proxy that the environment names. A character that a terminal or file cannot
    encode is written as "?".
    """
    for name in ("no_proxy", "NO_PROXY"):
        given = [part.strip() for part in os.environ.get(name, "").split(",") if part.strip()]
        os.environ[name] = ",".join([*given, *(each for each in LOOPBACK_NAMES if each not in given)])
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def check_temporary_folder() -> None:
    """Check that the temporary folder is writable.

    Raises:
        ResourceError: it is full or missing, or cannot be written.
    """
    try:
        folder = tempfile.gettempdir()
    except OSError as error:  # no writable folder was found
        raise ResourceError(
            f"no temporary folder can be written ({error.strerror}); set TMPDIR to one that can"
        ) from error
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * _PROBE_BYTES)
            file.flush()
    except OSError as error:
        raise ResourceError(
            f"the temporary folder {folder} cannot be written ({error.strerror}); free some space there, or set TMPDIR to "
            "another folder"
        ) from error
