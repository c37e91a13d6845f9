"""Wait for the end of a run on a Kubeflow Pipelines server."""

from __future__ import annotations

import sys
import time

from components.shared.errors import NotReadyError
from pipelines.runs.cluster import Kubeflow

RUNNING = {"PENDING", "RUNNING", "PAUSED", "CANCELING", "RUNTIME_STATE_UNSPECIFIED"}
INTERRUPTED = 130
# 2 to 5 have other meanings (pipelines.__main__.main). Any other end, ERROR of old servers among them, is a failure.
EXIT_CODES = {"SUCCEEDED": 0, "FAILED": 1, "CANCELED": 6, "SKIPPED": 7}
_MEANING = {"CANCELED": " (it was cancelled on the server)", "SKIPPED": " (the server skipped it; no task ran)"}


def wait_for_end(kubeflow: Kubeflow, run_id: str, *, pause_seconds: float = 10.0) -> int:
    """Wait until a run has ended, report how, and return the exit code of its end; 130 after Ctrl-C, which leaves it running.

    A lost connection is waited out, for the run does not depend on it.

    Raises:
        ServerRefusedError: the server refuses to tell, or does not know the run any more.
    """
    try:
        state = _state_at_end(kubeflow, run_id, pause_seconds)
    except KeyboardInterrupt:
        print(
            f"visual-search: stopped waiting; the run {run_id} continues: `visual-search runs watch {run_id}` waits again, "
            f"`visual-search runs cancel {run_id}` cancels it",
            file=sys.stderr,
        )
        return INTERRUPTED
    print(f"run {run_id} ended: {state}{_MEANING.get(state, '')}")
    return EXIT_CODES.get(state, 1)


def _state_at_end(kubeflow: Kubeflow, run_id: str, pause_seconds: float) -> str:
    lost = False
    while True:
        try:
            state = kubeflow.look_up(run_id).state
        except NotReadyError as error:
            if not lost:
                print(
                    f"visual-search: the run {run_id} continues and this command still waits for it, though {error}",
                    file=sys.stderr,
                )
            lost = True
        else:
            if lost:
                print(f"visual-search: the server answers again; the run {run_id} is {state}", file=sys.stderr)
            lost = False
            if state not in RUNNING:
                return state
        time.sleep(pause_seconds)
