"""`--act`: start the pipeline that the most urgent diagnosis calls for, if nothing speaks against it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from components.shared.errors import VisualSearchError
from monitoring.findings import Diagnosis, Report
from monitoring.remedies.advice import ADVICE, command_of
from monitoring.remedies.ledger import BusyError, Entry, EntryState, Ledger, entry_id_of


class ActPolicy(BaseModel):
    """When a remedy may start by itself.

    Attributes:
        cool_down_hours: between two starts of the same pipeline; an interrupted one may start again at once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cool_down_hours: float = Field(default=24.0, ge=0, le=24 * 365)


@dataclass(frozen=True)
class RemedyOutcome:
    """Outcome of a run.

    Attributes:
        state: "interrupted": it is not known of, or its process ended without a word.
        reference: the run's folder or id.
    """

    state: EntryState
    reference: str = ""
    detail: str = ""


class Submitter(Protocol):
    """Starts pipelines."""

    def submit(self, pipeline: str, name: str) -> RemedyOutcome:
        """Start a pipeline under a name that no other run has; returns when it is started, or when it has ended.

        Raises:
            VisualSearchError: it could not be started, or failed.
        """
        ...

    def look(self, name: str, reference: str) -> RemedyOutcome:
        """Say what became of a run, by its reference or, where that is "", by its name.

        Raises:
            VisualSearchError: it cannot be told.
        """
        ...


@dataclass(frozen=True)
class RemedyAction:
    """Outcome of `act`.

    Attributes:
        kind: "started", "left" (something speaks against it), "stated" (the operator must act), "nothing" (no need).
        sentence: text shown to operators.
        entry: in the ledger, if it was started.
    """

    kind: Literal["started", "left", "stated", "nothing"]
    sentence: str
    entry: Entry | None = None


def act(
    report: Report, ledger: Ledger, submitter: Submitter, policy: ActPolicy, *, now: datetime.datetime
) -> RemedyAction:
    """Do what a report asks for. Called again for the same report, it does nothing more.

    The first diagnosis whose remedy is a pipeline decides, unless a more urgent one is for the operator: a client that must be
    fixed or a release that must be rolled back prevents training. Only an alarm starts anything.

    Args:
        report: report of this run.
        ledger: records the start before and after.
        submitter: starts pipelines.
        policy: pauses between retries.
        now: UTC.

    Raises:
        ContractError: the ledger is damaged.
        VisualSearchError: the pipeline could not be started or failed; the ledger says so as well.
    """
    try:
        with ledger.alone():
            running = settle(ledger, submitter, now)
            diagnosis = urgent(report)
            if diagnosis is None:
                return RemedyAction("nothing", "there is no alarm that calls for a remedy")
            advice = ADVICE[diagnosis.remedy]
            if advice.pipeline is None:
                command = command_of(diagnosis.remedy, report.arm)
                return RemedyAction(
                    "stated", f"{advice.title}: {advice.text}" + (f" `{command}` does it." if command else "")
                )
            objection = running or _objection(ledger, diagnosis, report, policy, now)
            if objection:
                return RemedyAction("left", objection)
            return _start(ledger, submitter, diagnosis, report, advice.pipeline, now)
    except BusyError as error:
        return RemedyAction("left", str(error))


def urgent(report: Report) -> Diagnosis | None:
    """Return the most urgent diagnosis that something is to be done about, if the report is an alarm."""
    if report.state != "alarm":
        return None
    return next((diagnosis for diagnosis in report.diagnoses if diagnosis.remedy != "nothing"), None)


def settle(ledger: Ledger, submitter: Submitter, now: datetime.datetime) -> str:
    """Ask what became of open entries and write it down; return what is said of one that still runs, or ""."""
    running = ""
    for entry in ledger.entries():
        if not entry.is_open:
            continue
        found = submitter.look(_name(entry), entry.reference)
        runs = found.state in {"running", "submitting"}
        if runs:
            running = f"the remedy {entry.remedy} of {entry.started_at:%Y-%m-%d %H:%M} UTC is still running"
        changed = {
            "state": "running" if runs else found.state,
            "reference": found.reference or entry.reference,
            "detail": found.detail,
            "ended_at": None if runs else now,
        }
        ledger.put(entry.model_copy(update=changed))
    return running


def _objection(ledger: Ledger, diagnosis: Diagnosis, report: Report, policy: ActPolicy, now: datetime.datetime) -> str:
    pipeline = ADVICE[diagnosis.remedy].pipeline
    wanted = _entry_id(diagnosis, report)
    cool_down = datetime.timedelta(hours=policy.cool_down_hours)
    for entry in ledger.entries():
        if entry.state == "interrupted":
            continue
        if entry.entry_id == wanted:
            return f"this report was acted upon already: {entry.remedy} {entry.state}"
        if entry.pipeline == pipeline and now - entry.started_at < cool_down:
            until = entry.started_at + cool_down
            return (
                f"{entry.pipeline} was started {entry.started_at:%Y-%m-%d %H:%M} UTC ({entry.state}); "
                f"the next may start from {until:%Y-%m-%d %H:%M} UTC on (--cool-down)"
            )
    return ""


def _start(
    ledger: Ledger,
    submitter: Submitter,
    diagnosis: Diagnosis,
    report: Report,
    pipeline: str,
    now: datetime.datetime,
) -> RemedyAction:
    entry_id = _entry_id(diagnosis, report)
    before = next((entry for entry in ledger.entries() if entry.entry_id == entry_id), None)
    entry = ledger.put(
        Entry(
            entry_id=entry_id,
            remedy=diagnosis.remedy,
            pipeline=pipeline,
            why=diagnosis.sentence,
            release_id=report.release_id,
            arm=report.arm,
            report_at=report.at,
            started_at=now,
            attempt=1 if before is None else before.attempt + 1,
        )
    )
    try:
        outcome = submitter.submit(pipeline, _name(entry))
    except VisualSearchError as error:
        ended = datetime.datetime.now(datetime.UTC)
        ledger.put(entry.model_copy(update={"state": "failed", "ended_at": ended, "detail": str(error)}))
        raise
    ended_at = None if outcome.state == "running" else datetime.datetime.now(datetime.UTC)
    changed = {"state": outcome.state, "reference": outcome.reference, "detail": outcome.detail, "ended_at": ended_at}
    entry = ledger.put(entry.model_copy(update=changed))
    advice = ADVICE[diagnosis.remedy]
    return RemedyAction("started", f"{advice.title}: {pipeline} {outcome.state}. {outcome.detail}".rstrip(), entry)


def _entry_id(diagnosis: Diagnosis, report: Report) -> str:
    at = report.at.astimezone(datetime.UTC).isoformat()
    return entry_id_of(diagnosis.remedy, report.release_id, report.arm, at)


def _name(entry: Entry) -> str:
    return f"visual-search-{entry.pipeline}-{entry.entry_id}-{entry.attempt}"
