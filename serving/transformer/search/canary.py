"""A trial load in a process that may die of it: files with true digests can still be made to harm who reads them."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from components.shared.errors import ContractError, ResourceError, VisualSearchError
from serving.transformer.search.loading import Trial, try_out

_TIMEOUT_SECONDS = 120.0
_SPARE_BYTES = 512 << 20  # temporary memory of a load
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}


def run_trial(trial: Trial, *, timeout_seconds: float = _TIMEOUT_SECONDS) -> None:
    """Load in another process, with limits on memory and time, and search there.

    Raises:
        ContractError: it cannot be loaded, or the process died or took too long.
        ResourceError: the process could not be started.
    """
    command = [sys.executable, *(["-O"] if sys.flags.optimize else []), "-m", __name__, json.dumps(asdict(trial))]
    root = Path(__file__).parents[3]
    path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VISUAL_SEARCH_")}
    try:
        done = subprocess.run(  # noqa: S603  # our own interpreter and module
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout_seconds,
            env={**environment, **_ENVIRONMENT, "PYTHONPATH": path},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ContractError(
            f"loading the release in a trial process took more than {timeout_seconds:.0f} s; build it again"
        ) from error
    except OSError as error:
        raise ResourceError(f"no process could be started for a trial load ({error}); free some memory") from error
    said: Any = None
    with contextlib.suppress(ValueError):
        said = json.loads(done.stdout)
    if not isinstance(said, dict) or done.returncode:
        raise ContractError(f"loading the release in a trial process failed (status {done.returncode}); build it again")
    if said.get("error") is not None:
        raise ContractError(str(said["error"]))


def main(arguments: Sequence[str]) -> int:
    """Load and search what is named on the command line; print what went wrong as JSON."""
    trial = Trial(**json.loads(arguments[0]))
    error: str | None = None
    _limit(3 * trial.forecast_bytes + _SPARE_BYTES)
    try:
        try_out(trial)
    except VisualSearchError as problem:
        error = str(problem)
    except MemoryError:
        error = "loading takes far more memory than its files suggest; build it again"
    except Exception as problem:
        error = f"it cannot be loaded ({type(problem).__name__}: {problem}); build it again"
    sys.stdout.write(json.dumps({"error": error}))
    sys.stdout.flush()
    return 0


def _limit(further_bytes: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + further_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
