"""The pipeline's task: one run of monitoring on the champion, which returns the pipeline that its remedy requires.

The pipeline around it starts that one itself, so nothing is submitted from here; the ledger keeps the cool-down. A run of the
schedule ends before the next one begins, so no remedy of an earlier one still runs.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from components.shared.files.atomic import write_json
from components.shared.release.manifest import is_release
from monitoring.evidence import RunInputs
from monitoring.remedies.act import ActPolicy, RemedyOutcome
from monitoring.run import run as run_monitoring
from monitoring.status.exporter import STATE_VALUES
from monitoring.status.page import PAGE_FILE, empty_page
from monitoring.status.record import LATEST_FILE, overall_state

# What the task returns; a number, for kfp.local evaluates the text of a condition as code.
PIPELINE_NUMBERS = {"": 0, "training": 1, "reindexing": 2}


class PipelineAround:
    """Starts nothing: the pipeline around the task does, by what the task returns."""

    def __init__(self) -> None:
        self.called = ""

    def submit(self, pipeline: str, name: str) -> RemedyOutcome:
        """Note which pipeline is to be started."""
        self.called = pipeline
        return RemedyOutcome("running", name, "this scheduled run continues with the remedy")

    def look(self, name: str, reference: str) -> RemedyOutcome:
        """Say that it has ended: the schedule's runs follow each other; the registry says how."""
        return RemedyOutcome("succeeded", reference, "its run has ended; the registry has the result")


def run(
    *,
    champion: Path,
    page: Path,
    record: Path,
    log_metric: Callable[[str, float], None],
    samples: str,
    events: str,
    workspace: Path,
    hours: float,
    cool_down_hours: float,
) -> int:
    """Run monitoring once.

    Args:
        champion: the release, or a marker file if there is no champion yet.
        page: output path of the status page.
        record: file of the record.
        log_metric: records a figure.
        samples: folder of query samples.
        events: event log; "": none.
        workspace: folder with history and ledger in `monitoring` below it.
        hours: length of the window.
        cool_down_hours: between two starts of a pipeline.

    Returns:
        Which pipeline is to run now, of PIPELINE_NUMBERS.

    Raises:
        ContractError: the release is damaged.
    """
    if not is_release(champion):
        page.write_text(empty_page())
        write_json(record, {"reason": "there is no champion yet"})
        return PIPELINE_NUMBERS[""]
    inputs = RunInputs(
        location=champion,
        samples=Path(samples),
        events=events or None,
        folder=workspace / "monitoring",
        hours=hours,
    )
    around = PipelineAround()
    found, action = run_monitoring(inputs, around, ActPolicy(cool_down_hours=cool_down_hours))
    print(action.sentence if action else "")
    folder = inputs.folder / inputs.arm
    shutil.copyfile(folder / PAGE_FILE, page)
    shutil.copyfile(folder / LATEST_FILE, record)
    log_metric("state", STATE_VALUES[overall_state(found.report)])
    for concern in found.report.concerns:
        log_metric(f"state_{concern.name}", STATE_VALUES[concern.state])
    return PIPELINE_NUMBERS[around.called]
