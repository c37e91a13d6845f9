"""The work and output of `monitor run`, `report` and `serve`, for both command lines."""

from __future__ import annotations

import json
import textwrap
import threading
from pathlib import Path

from components.shared.files.atomic import whole_file
from monitoring.findings import State
from monitoring.remedies.act import RemedyAction
from monitoring.remedies.advice import ADVICE, CAUSE_TITLES, command_of
from monitoring.status.page import PAGE_FILE
from monitoring.status.record import Record, RecordStore, overall_state
from monitoring.status.server import StatusServer

# For a CronJob or a script: 1 and 2 are errors and wrong calls, as everywhere.
EXIT_CODES: dict[State, int] = {"ok": 0, "watch": 0, "alarm": 4, "unknown": 5}
_MARKS: dict[State, str] = {"ok": "✔", "watch": "○", "alarm": "✘", "unknown": "?"}


def exit_code(record: Record) -> int:
    """Return 0 if all that is known is well or at most to be watched, 4 at an alarm, 5 if nothing is known."""
    return EXIT_CODES[overall_state(record.report)]


def as_text(record: Record, page: Path, action: RemedyAction | None = None) -> str:
    """Write a record for a terminal: every concern, then what it is and what to do."""
    report = record.report
    lines = [f"{overall_state(report)}  {report.release_id}  arm {report.arm}, {report.window} queries", ""]
    width = max((len(concern.name) for concern in report.concerns), default=0)
    for concern in report.concerns:
        lines.append(f"{_MARKS[concern.state]} {concern.name:<{width}}  {concern.sentence}")
    for found in report.diagnoses:
        advice = ADVICE[found.remedy]
        lines += ["", f"{CAUSE_TITLES[found.cause]}: {found.sentence}", f"  → {advice.title}. {advice.text}"]
        if command := command_of(found.remedy, report.arm):
            lines.append(f"    {command}")
    if action is not None:
        lines += ["", *textwrap.wrap(f"remedy   {action.sentence}", 120, subsequent_indent=" " * 9)]
    return "\n".join([*lines, "", f"page     {page}"])


def as_json(record: Record, action: RemedyAction | None = None) -> str:
    """Write a record, and what was done, as JSON."""
    value = {"record": record.model_dump(mode="json"), "state": overall_state(record.report), "action": None}
    if action is not None:
        entry = action.entry.model_dump(mode="json") if action.entry else None
        value["action"] = {"kind": action.kind, "sentence": action.sentence, "entry": entry}
    return json.dumps(value, indent=2, ensure_ascii=False)


def report(folder: Path, arm: str, *, as_json_text: bool = False, output: Path | None = None) -> int:
    """Print the latest record of an arm, or copy its page; return the exit code of its state.

    Args:
        folder: folder of monitoring.
        arm: name of the arm.
        as_json_text: instead of the text.
        output: file for the page.

    Raises:
        UnfinishedArtifactError: monitoring has not run yet.
        ContractError: the record is damaged.
    """
    record = RecordStore(folder / arm).latest()
    page = folder / arm / PAGE_FILE
    print(as_json(record) if as_json_text else as_text(record, output or page))
    if output is not None:
        with whole_file(output) as temporary:
            temporary.write_bytes(page.read_bytes())
    return exit_code(record)


def serve(folder: Path, *, host: str, port: int, seconds: float | None = None) -> int:
    """Serve pages and gauges until Ctrl-C, or for some seconds.

    Raises:
        ResourceError: the port is taken.
    """
    with StatusServer(folder, host=host, port=port) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        print(f"page     {server.url}/\nmetrics  {server.url}/metrics\nCtrl-C stops it", flush=True)
        try:
            thread.join(seconds)
        except KeyboardInterrupt:
            print("\nstopped", flush=True)
        server.shutdown()
    return 0
