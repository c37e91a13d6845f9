"""One run of monitoring: assess, keep the record, start the remedy, write the page."""

from __future__ import annotations

import datetime
from pathlib import Path

from components.shared.release.served import ReleaseInForce, open_in_force
from monitoring.assessment import assess
from monitoring.drift.comparison import Comparison
from monitoring.drift.parameters import DriftParameters
from monitoring.evidence import RunInputs, collect
from monitoring.findings import Report
from monitoring.online.tables import online_tables
from monitoring.remedies.act import ActPolicy, RemedyAction, Submitter, act
from monitoring.remedies.ledger import Ledger
from monitoring.status.page import PAGE_FILE, write_page
from monitoring.status.pictures import make_tiles
from monitoring.status.record import Record, RecordStore, release_facts


def run(
    inputs: RunInputs, submitter: Submitter | None = None, policy: ActPolicy | None = None
) -> tuple[Record, RemedyAction | None]:
    """Assess what is served, keep the record, do what it asks for, and write the page.

    Args:
        inputs: locations of all inputs.
        submitter: starts the pipeline of the remedy; None: nothing is started.
        policy: conditions for a start.

    Returns:
        The record, and what was done about it, where there is a submitter.

    Raises:
        ContractError: or one of its kinds: the release, the samples or the ledger are damaged.
        ResourceError: the disk is full.
        VisualSearchError: the pipeline could not be started or failed; the page lists it all the same.
    """
    now = datetime.datetime.now(datetime.UTC)
    served = open_in_force(inputs.location)
    report, comparison = assess(collect(inputs, served, now=now), arm=inputs.arm, at=now)
    record = _keep(inputs, served, report, now)
    _publish(inputs.folder, record, served)
    if inputs.evidently is not None and comparison is not None:
        _add_to_evidently(inputs, served, comparison, now)
    if submitter is None:
        return record, None
    try:
        action = act(
            report,
            Ledger(inputs.folder),
            submitter,
            policy or ActPolicy(),
            now=datetime.datetime.now(datetime.UTC),
        )
    finally:  # the page lists the remedies, those that failed above all
        _publish(inputs.folder, record, served)
    return record, action


def _keep(inputs: RunInputs, served: ReleaseInForce, report: Report, now: datetime.datetime) -> Record:
    since = now - datetime.timedelta(hours=inputs.online_hours)
    online, note = online_tables(inputs, since)
    record = Record(
        report=report,
        release=release_facts(
            served.manifest,
            images=served.items.num_rows,
            items=len(served.items["item_id"].unique()),
            generations=len(served.generations),
        ),
        online=online,
        online_note=note,
        online_since=since if online else None,
    )
    RecordStore(inputs.folder / inputs.arm).add(record)
    return record


def _publish(folder: Path, record: Record, served: ReleaseInForce) -> None:
    report = record.report
    shown = {
        image_id
        for found in report.diagnoses
        for moved in found.pictures
        for image_id in (moved.query_id, *moved.image_ids[:4])
    }
    write_page(
        folder / report.arm / PAGE_FILE,
        record,
        RecordStore(folder / report.arm).trend(),
        tiles=make_tiles(shown, served.items, served.manifest.encoder.preprocessing),
        actions=[entry for entry in Ledger(folder).entries() if entry.arm == report.arm],
    )


def _add_to_evidently(
    inputs: RunInputs, served: ReleaseInForce, comparison: Comparison, now: datetime.datetime
) -> None:
    assert inputs.evidently is not None
    from monitoring.drift import evidently_report  # Evidently takes seconds to import

    tags = {"arm": inputs.arm, "release_id": served.manifest.release_id}
    snapshot = evidently_report.make_report(comparison, DriftParameters(), at=now, tags=tags)
    evidently_report.add_to_workspace(snapshot, inputs.evidently, project=f"visual-search {inputs.arm}")
