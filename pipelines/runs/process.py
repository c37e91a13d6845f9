"""One pipeline under kfp.local, in a process of its own: `python -m pipelines.runs.process runs/<id>/request.json`.

kfp.local replaces `print` and the log handlers and leaves state behind; here that dies with the process. If the process
that started this one is killed, this one and the task that it runs are stopped as well.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1


def load_pipeline(name: str) -> Any:
    """Return a pipeline by name, or from a compiled file (*.yaml)."""
    if name.endswith((".yaml", ".yml")):
        from kfp import components

        return components.load_component_from_file(name)
    return getattr(importlib.import_module(f"pipelines.graphs.{name}"), f"{name}_pipeline")


def run(pipeline: str, arguments: dict[str, Any], root: Path) -> None:
    """Run a pipeline here, each task in its own Python process, nothing installed at run time.

    Raises:
        RuntimeError: a task failed; kfp has printed its log.
    """
    from kfp import local

    # Processor, memory and volume settings are for the cluster; kfp.local says that it ignores them.
    warnings.filterwarnings("ignore", message=".*have no effect in the current local runner.*")
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(root), raise_on_error=True)
    component = load_pipeline(pipeline)
    # Below an `If`, kfp.local finds only the parameters that were given; so the defaults are given too.
    defaults = {name: spec.default for name, spec in component.component_spec.inputs.items() if spec.optional}
    component(**{**defaults, **arguments})


def _die_with_parent() -> None:
    def stop(number: int, _frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(os.getpgid(0), signal.SIGTERM)
        os._exit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def main() -> int:
    """Run what the request file says; the exit code is 0 if every task succeeded."""
    _die_with_parent()
    path = Path(sys.argv[1])
    request = json.loads(path.read_text())
    try:
        run(request["pipeline"], request["arguments"], path.parent)
    except RuntimeError as error:
        print(error, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
