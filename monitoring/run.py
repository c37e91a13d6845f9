"""One run of monitoring: look, keep the record, write the page."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.shared.errors import DataError, NotReadyError, SourceError
from components.shared.files.tables import QUERY_SAMPLES, read_table
from components.shared.release.generation import Generation, open_generation
from components.shared.release.manifest import Manifest, is_release, open_catalogue
from components.shared.release.served import read_current
from components.shared.vectors.encoder import ENCODER_FILE, OnnxEncoder
from components.shared.vectors.search import CatalogueIndex
from monitoring.assessment import Assessment, Evidence, assess
from monitoring.diagnosis.encoder import JudgedQueries, judged_hits
from monitoring.diagnosis.golden import Encoder, LiveEncoder
from monitoring.diagnosis.judged import embed_judged_queries
from monitoring.diagnosis.parameters import DiagnosisParameters
from monitoring.drift.parameters import DriftParameters
from monitoring.drift.samples import read_window
from monitoring.findings import Report
from monitoring.online.service import read_service, service_rates
from monitoring.online.summary import summarise
from monitoring.remedies.ledger import Ledger
from monitoring.status.page import PAGE_FILE, write_page
from monitoring.status.pictures import make_tiles
from monitoring.status.record import OnlineRow, Record, RecordStore, online_rows, release_facts

_DIMENSIONS = ("arm", "release_id", "country", "position", "hour")


@dataclass(frozen=True)
class RunInputs:
    """What a run looks at, and where it writes.

    Attributes:
        location: directory of a release, or of a root with `CURRENT`.
        samples: folder of the query samples that the transformer writes.
        events: event log, as `monitoring.events.open_events` takes it; None: there is none.
        folder: of monitoring; the arm has a folder in it.
        arm: that is watched.
        hours: length of the window of queries; it ends now.
        online_hours: of the online metrics.
        listing: what should be found (image_id, added_at), to see how far the catalogue lags; None: not looked at.
        url: of the live transformer, which is sent the golden pictures; None: it is not.
        url_headers: sent along, for example an API key.
        encoder_url: of the live encoder (Open Inference Protocol over HTTP), which is sent the golden pictures and the judged
            queries; None: the release's own encoder takes its place.
        judgements: table JUDGEMENTS: queries whose right answers people named; None: nobody did.
        previous: directory of the release before, which is asked the judged queries too; None: it is not.
        service_counts: folder of the counts that the transformer writes; None: the samples say what found nothing.
        evidently: workspace of Evidently's own pages that a snapshot is added to; None: none is.
    """

    location: Path
    samples: Path
    events: str | None
    folder: Path
    arm: str = "champion"
    hours: float = 24.0
    online_hours: float = 7 * 24.0
    listing: pa.Table | None = None
    url: str | None = None
    url_headers: dict[str, str] = field(default_factory=dict)
    encoder_url: str | None = None
    judgements: pa.Table | None = None
    previous: Path | None = None
    service_counts: Path | None = None
    evidently: Path | None = None


@dataclass(frozen=True)
class Served:
    """What a location holds, verified.

    Attributes:
        directory: of the release.
        manifest: of it.
        index: of it.
        release_items: table ITEMS of its rows.
        generations: on it, the lowest first.
        items: table ITEMS of all that is in force.
    """

    directory: Path
    manifest: Manifest
    index: CatalogueIndex
    release_items: pa.Table
    generations: tuple[Generation, ...]
    items: pa.Table


def open_served(location: Path) -> Served:
    """Open a release, or what a root says is in force.

    Raises:
        ContractError: or one of its kinds: there is none, or it is damaged.
    """
    directory, names = location, []
    if not is_release(location):
        current = read_current(location)
        directory, names = location / current.release, current.generations
    release = open_catalogue(directory)
    manifest, items = release.manifest, release.items
    generations = []
    for name in names:
        generation = open_generation(
            location / name,
            release_id=manifest.release_id,
            space_id=manifest.space_id,
            dimension=manifest.encoder.dimension,
        )
        gone = pc.is_in(items["image_id"], pa.array([*generation.removed], pa.string()))
        items = pa.concat_tables([items.filter(pc.invert(gone)), generation.items])
        generations.append(generation)
    return Served(directory, manifest, release.index, release.items, tuple(generations), items)


def keep_record(inputs: RunInputs, served: Served, report: Report, *, now: datetime.datetime) -> Record:
    """Add the online metrics and facts of the release to a report, keep it, and write the page.

    Raises:
        ResourceError: the disk is full.
    """
    since = now - datetime.timedelta(hours=inputs.online_hours)
    online, note = _online(inputs, since)
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
    publish_page(inputs.folder, record, served)
    return record


def publish_page(folder: Path, record: Record, served: Served) -> Path:
    """Write the page of a record; return it.

    Args:
        folder: of monitoring.
        record: the latest of its arm.
        served: where the pictures are looked up.
    """
    report = record.report
    shown = {
        image_id
        for found in report.diagnoses
        for moved in found.pictures
        for image_id in (moved.query_id, *moved.image_ids[:4])
    }
    path = folder / report.arm / PAGE_FILE
    write_page(
        path,
        record,
        RecordStore(folder / report.arm).trend(),
        tiles=make_tiles(shown, served.items, served.manifest.encoder.preprocessing),
        actions=[entry for entry in Ledger(folder).entries() if entry.arm == report.arm],
    )
    return path


def sample_files(folder: Path) -> list[Path]:
    """Return the files of query samples in a folder, whichever arm wrote them."""
    return sorted(path for path in folder.glob("*.parquet") if not path.name.startswith(".")) if folder.is_dir() else []


def _online(inputs: RunInputs, since: datetime.datetime) -> tuple[dict[str, tuple[OnlineRow, ...]], str]:
    if inputs.events is None:
        return (
            {},
            "There is no event store yet: no user has searched, or serving keeps its events elsewhere (--events).",
        )
    try:
        tables = summarise(inputs.events, dimensions=_DIMENSIONS, since=since)
    except (SourceError, DataError) as error:
        return {}, f"The events cannot be read: {error}"
    if not tables["arm"].num_rows:
        return {}, f"There were no searches since {since:%Y-%m-%d %H:%M} UTC."
    nothing = _zero_results(sample_files(inputs.samples), since)
    if inputs.service_counts is not None:  # every search counts there, not a sample
        nothing["arm"] = nothing.get("arm", {}) | _counted_zero_results(inputs.service_counts, since)
    return {name: online_rows(table, nothing.get(name)) for name, table in tables.items()}, ""


def _zero_results(files: Iterable[Path], since: datetime.datetime) -> dict[str, dict[str, float]]:
    """Return the share of the sampled queries that found nothing, by arm and by release."""
    keep = pc.field("at") >= pa.scalar(since, pa.timestamp("us", tz="UTC"))
    columns = ["arm", "release_id", "results", "at"]
    parts = [read_table(path, QUERY_SAMPLES, columns).filter(keep) for path in files]
    if not parts:
        return {}
    table = pa.concat_tables(parts)
    empty = np.asarray(table["results"]) == 0
    shares: dict[str, dict[str, float]] = {}
    for name in ("arm", "release_id"):
        labels = np.asarray(table[name])
        shares[name] = {str(label): float(empty[labels == label].mean()) for label in np.unique(labels)}
    return shares


def _counted_zero_results(folder: Path, since: datetime.datetime) -> dict[str, float]:
    counts = read_service(str(folder))
    rates = service_rates(counts.filter(pc.field("at") >= pa.scalar(since, pa.timestamp("us", tz="UTC"))))
    return {
        row["arm"]: row["zero_result_rate"]
        for row in rates.select(["arm", "zero_result_rate"]).to_pylist()
        if row["zero_result_rate"] is not None and math.isfinite(row["zero_result_rate"])
    }


def look(inputs: RunInputs, served: Served, *, now: datetime.datetime) -> Assessment:
    """Assess what is served by the queries of the window.

    Raises:
        ContractError: or one of its kinds: samples or reference are damaged.
    """
    manifest, generations = served.manifest, served.generations
    try:
        window = read_window(
            sample_files(inputs.samples),
            space_id=manifest.space_id,
            arm=inputs.arm,
            since=now - datetime.timedelta(hours=inputs.hours),
        )
    except DataError:  # nobody searched, which is told as what is not known
        window = None
    live = LiveEncoder(inputs.encoder_url) if inputs.encoder_url else None
    evidence = Evidence(
        release=served.directory,
        manifest=manifest,
        index=served.index,
        items=served.release_items,
        window=window,
        additions=np.concatenate([g.vectors for g in generations]) if generations else None,
        added_items=pa.concat_tables([g.items for g in generations]) if generations else None,
        removed=frozenset(image_id for g in generations for image_id in g.removed),
        listing=inputs.listing,
        encoder=live,
        search_url=inputs.url,
        search_headers=inputs.url_headers,
        **_judged(inputs, served, live),
    )
    return assess(evidence, arm=inputs.arm, at=now)


def _judged(inputs: RunInputs, served: Served, live: LiveEncoder | None) -> dict[str, Any]:
    """Return what there is of judged queries, as fields of Evidence."""
    if inputs.judgements is None:
        return {}
    most = DiagnosisParameters().judged_queries

    def ask(encoder: Encoder, manifest: Manifest) -> JudgedQueries:
        return embed_judged_queries(
            inputs.judgements, served.release_items, encoder, manifest.encoder.preprocessing, most=most
        )

    try:
        found = {"judged": ask(live or OnnxEncoder(served.directory / ENCODER_FILE, threads=1), served.manifest)}
    except NotReadyError as error:
        return {"judged_unknown": str(error)}
    if inputs.previous is None:
        return found
    before = open_catalogue(inputs.previous)
    queries = ask(OnnxEncoder(inputs.previous / ENCODER_FILE, threads=1), before.manifest)
    ids = before.items.column("image_id").to_pylist()
    return {**found, "judged_before": judged_hits(queries, before.index, ids, DiagnosisParameters().judged_k)}


def run(inputs: RunInputs) -> Record:
    """Look once, keep the record and write the page.

    Raises:
        ContractError: or one of its kinds: the release, the samples or the ledger are damaged.
        ResourceError: the disk is full.
    """
    now = datetime.datetime.now(datetime.UTC)
    served = open_served(inputs.location)
    assessment = look(inputs, served, now=now)
    record = keep_record(inputs, served, assessment.report, now=now)
    if inputs.evidently is not None and assessment.comparison is not None:
        from monitoring.drift import evidently_report  # Evidently takes seconds to import

        tags = {"arm": inputs.arm, "release_id": served.manifest.release_id}
        snapshot = evidently_report.make_report(assessment.comparison, DriftParameters(), at=now, tags=tags)
        evidently_report.add_to_workspace(snapshot, inputs.evidently, project=f"visual-search {inputs.arm}")
    return record
