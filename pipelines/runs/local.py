"""Runs on this machine: start a pipeline, show its progress, say what came out."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.shared.environment import check_temporary_folder
from components.shared.errors import ParameterError, VisualSearchError
from components.shared.files.atomic import full_disk_named, write_json
from components.shared.files.layout import GATE_FILE
from pipelines.runs.kfp_log import Console


class RunFailedError(VisualSearchError):
    """A task of a run failed; the message is the task's own sentence.

    Attributes:
        log: file with everything that was printed.
    """

    def __init__(self, message: str, *, task: str, log: Path) -> None:
        super().__init__(message)
        self.task = task
        self.log = log


@dataclass(frozen=True)
class RunResult:
    """Outputs of a run.

    Attributes:
        evaluation: folder with metrics.json and gate.json.
        release: the registered release's folder; None if the gate refused.
    """

    directory: Path
    report: Path
    evaluation: Path
    release: Path | None


def start_run(pipeline: str, arguments: dict[str, Any], home: Path, *, verbose: bool = False) -> RunResult:
    """Run a pipeline here to its end, showing progress.

    Args:
        pipeline: a name in `pipelines.PIPELINE_NAMES` or a compiled file.
        arguments: the pipeline's parameters.
        home: folder that holds workspace, runs and reports.
        verbose: show everything that tasks print, also kfp's own lines.

    Raises:
        ParameterError: an argument cannot pass through kfp.local unharmed.
        ResourceError: the temporary folder is full.
        RunFailedError: a task failed.
    """
    _refuse_what_kfp_alters(arguments, home)
    check_temporary_folder()
    directory = _new_directory(home / "runs")
    request, log = directory / "request.json", directory / "log.txt"
    write_json(request, {"pipeline": pipeline, "arguments": arguments})
    console = Console()
    command = [sys.executable, "-m", "pipelines.runs.process", str(request)]
    environment = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
        "PYTHONUTF8": "1",
    }
    with (
        full_disk_named(log),
        log.open("w", encoding="utf-8") as file,
        subprocess.Popen(  # noqa: S603 (our own module)
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            bufsize=1,
            env=environment,
            start_new_session=True,
        ) as process,
    ):
        try:
            for line in process.stdout or ():
                file.write(line)
                file.flush()
                shown = list(console.read(line))
                for text in [line.rstrip("\n")] if verbose else shown:
                    print(text, flush=True)
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            raise
    if process.returncode:
        message = console.error or f"the pipeline ended with code {process.returncode}"
        raise RunFailedError(message, task=console.failed, log=log)
    return _collect(directory, home)


def _refuse_what_kfp_alters(arguments: dict[str, Any], home: Path) -> None:
    if any(letter.isspace() for letter in sys.executable):  # kfp.local puts it into a shell's command without quotes
        raise ParameterError(
            f"the path of Python, {sys.executable}, contains a space, which Kubeflow's local runner cannot start; "
            "make the virtual environment at a path without one"
        )
    for name, value in {**arguments, "home": str(home.absolute())}.items():
        # kfp.local replaces "python3" in every argument by the interpreter's path, and reads {{$…}} as a placeholder.
        for word in ("python3", "{{$"):
            if word in str(value):
                raise ParameterError(
                    f"{name} contains {word!r}, which Kubeflow's local runner replaces; rename {value!r} or link to it"
                )


def _new_directory(runs: Path) -> Path:
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
    for attempt in range(100):
        directory = runs.absolute() / (stamp + (f"-{attempt}" if attempt else ""))
        try:
            directory.mkdir(parents=True)
        except FileExistsError:
            continue
        return directory
    raise ParameterError(f"cannot create a folder for the run below {runs}")


def _collect(directory: Path, home: Path) -> RunResult:
    evaluation = _output(directory, "evaluation", "evaluation")
    report = _output(directory, "evaluation", "report")
    release = next(directory.glob("*/registration*/release"), None)
    kept = home / "reports" / f"{directory.name}.html"
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(report, kept)
    latest = kept.parent / "latest.html"
    latest.unlink(missing_ok=True)
    latest.symlink_to(kept.name)
    return RunResult(directory, kept.absolute(), evaluation, release)


def _output(directory: Path, task: str, name: str) -> Path:
    found = next(directory.glob(f"*/{task}*/{name}"), None)
    if found is None:
        raise RunFailedError(f"the task {task} left no {name}", task=task, log=directory / "log.txt")
    return found


def read_verdict(result: RunResult) -> dict[str, Any]:
    """Return the gate's decision: {"passed": …, "reasons": [...], …}."""
    verdict: dict[str, Any] = json.loads((result.evaluation / GATE_FILE).read_text())
    return verdict
