"""The inputs of a monitoring run: their locations, and how they are collected."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from components.shared.errors import DataError, NotReadyError
from components.shared.release.manifest import Manifest, open_catalogue
from components.shared.release.served import ReleaseInForce
from components.shared.vectors.encoder import ENCODER_FILE, OnnxEncoder
from monitoring.assessment import Evidence
from monitoring.diagnosis.encoder import JudgedQueries, judged_hits
from monitoring.diagnosis.golden import LiveEncoder, PictureEncoder
from monitoring.diagnosis.judged import embed_judged_queries
from monitoring.diagnosis.parameters import DiagnosisParameters
from monitoring.drift.samples import read_window, sample_files


@dataclass(frozen=True)
class RunInputs:
    """The inputs and outputs of a monitoring run.

    Attributes:
        location: directory of a release, or of a root with `CURRENT`.
        samples: folder of the query samples that the transformer writes.
        events: event log, as `monitoring.events.open_events` takes it; None: there is none.
        folder: folder of monitoring; the arm has a folder in it.
        arm: arm that is watched.
        hours: length of the window of queries; it ends now.
        listing: images that should be indexed (image_id, added_at), to measure the lag of the catalogue; None: not checked.
        url: address of the live transformer, which gets the golden pictures; None: it is not checked.
        url_headers: headers of these requests, for example an API key.
        encoder_url: address of the live encoder (Open Inference Protocol over HTTP), which gets the golden pictures and
            the judged queries; None: the release's own encoder takes its place.
        judgements: table JUDGEMENTS, with people's grades; None: there are no judgements.
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


def collect(inputs: RunInputs, served: ReleaseInForce, *, now: datetime.datetime) -> Evidence:
    """Collect what is known of an arm.

    Raises:
        ContractError: or one of its kinds: samples or releases are damaged.
    """
    try:
        window = read_window(
            sample_files(inputs.samples),
            space_id=served.manifest.space_id,
            arm=inputs.arm,
            since=now - datetime.timedelta(hours=inputs.hours),
        )
    except DataError:  # no query was made: the concern is unknown
        window = None
    live = LiveEncoder(inputs.encoder_url) if inputs.encoder_url else None
    return Evidence(
        served,
        window=window,
        listing=inputs.listing,
        encoder=live,
        search_url=inputs.url,
        search_headers=inputs.url_headers,
        **_judged(inputs, served, live),
    )


def _judged(inputs: RunInputs, served: ReleaseInForce, live: LiveEncoder | None) -> dict[str, Any]:
    """Return what there is of judged queries, as fields of Evidence."""
    if inputs.judgements is None:
        return {}
    most = DiagnosisParameters().judged_queries

    def ask(encoder: PictureEncoder, manifest: Manifest) -> JudgedQueries:
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
