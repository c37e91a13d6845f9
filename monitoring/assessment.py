"""Everything that is known of one arm, assessed: concerns and diagnoses in a report."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from components.shared.release.manifest import Manifest
from components.shared.vectors.embeddings import Vectors
from components.shared.vectors.search import CatalogueIndex
from monitoring.diagnosis.catalogue import catalogue_lag
from monitoring.diagnosis.decision import diagnose
from monitoring.diagnosis.encoder import Expected, JudgedQueries, encoder_quality, judged_hits
from monitoring.diagnosis.golden import Encoder, golden_scores, golden_vectors
from monitoring.diagnosis.index import index_recall, quantiser_age
from monitoring.diagnosis.parameters import DiagnosisParameters
from monitoring.drift.comparison import Comparison, compare
from monitoring.drift.concerns import drift_concerns
from monitoring.drift.occupancy import list_centroids
from monitoring.drift.parameters import DriftParameters
from monitoring.drift.samples import Sample, read_reference
from monitoring.findings import Concern, Report


@dataclass(frozen=True)
class Evidence:
    """What is known of an arm. Whatever is None was not collected, and is not looked at.

    Attributes:
        release: directory of the release that serves.
        manifest: of it.
        index: of it.
        items: table ITEMS of its rows.
        window: sampled queries of its space; None: there was none.
        reference: an earlier window to compare with instead of the release's own reference.
        additions: (a, d) vectors that its generations add.
        added_items: table ITEMS of these.
        listing: what should be found: image_id, added_at.
        removed: image ids that a generation removed.
        judged: judged queries, embedded by the encoder that is looked at.
        judged_unknown: why they could not be embedded; "": they were.
        judged_before: hits of the previous release on the same queries.
        encoder: the live one; None: the release's own is tried on this machine.
        search_url: of the live transformer.
        search_headers: sent to it.
    """

    release: Path
    manifest: Manifest
    index: CatalogueIndex
    items: pa.Table
    window: Sample | None = None
    reference: Sample | None = None
    additions: Vectors | None = None
    added_items: pa.Table | None = None
    listing: pa.Table | None = None
    removed: frozenset[str] = frozenset()
    judged: JudgedQueries | None = None
    judged_unknown: str = ""
    judged_before: np.ndarray | None = None
    encoder: Encoder | None = None
    search_url: str | None = None
    search_headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Assessment:
    """A report, and the comparison that its concerns of drift come from, for the report by Evidently."""

    report: Report
    comparison: Comparison | None


def assess(
    evidence: Evidence,
    *,
    arm: str,
    at: datetime.datetime,
    drift: DriftParameters | None = None,
    parameters: DiagnosisParameters | None = None,
) -> Assessment:
    """Look at everything there is evidence of, and name causes and remedies.

    Args:
        evidence: what is known.
        arm: whose.
        at: time of the report.
        drift: of the tests.
        parameters: of the diagnosis.

    Raises:
        SpaceMismatchError: window or reference are of another space than the release.
    """
    drift, parameters = drift or DriftParameters(), parameters or DiagnosisParameters()
    comparison, concerns = _drift(evidence, drift)
    concerns = [*concerns, *_other(evidence, parameters, at)]
    diagnoses = diagnose(
        concerns, comparison, drift=drift, parameters=parameters, may_show=_public(evidence.items, evidence.added_items)
    )
    times = () if evidence.window is None or evidence.window.at is None else evidence.window.at
    report = Report(
        at=at,
        release_id=evidence.manifest.release_id,
        space_id=evidence.manifest.space_id,
        arm=arm,
        since=min(times, default=None),
        until=max(times, default=None),
        window=0 if evidence.window is None else len(evidence.window.ids),
        concerns=tuple(concerns),
        diagnoses=diagnoses,
    )
    return Assessment(report, comparison)


def _drift(evidence: Evidence, drift: DriftParameters) -> tuple[Comparison | None, Sequence[Concern]]:
    if evidence.window is None:
        return None, drift_concerns(None, 0, drift)
    reference = evidence.reference or read_reference(evidence.release, evidence.manifest)
    comparison = compare(reference, evidence.window, drift, lists=list_centroids(evidence.index))
    return comparison, drift_concerns(comparison, len(evidence.window.ids), drift)


def _other(evidence: Evidence, parameters: DiagnosisParameters, at: datetime.datetime) -> list[Concern]:
    concerns = [golden_vectors(evidence.release, evidence.manifest, evidence.encoder, parameters)]
    if evidence.search_url is not None:
        concerns.append(
            golden_scores(
                evidence.release,
                evidence.manifest,
                evidence.index,
                evidence.items,
                evidence.search_url,
                parameters,
                headers=evidence.search_headers,
            )
        )
    image_ids = evidence.items.column("image_id").to_pylist()
    if evidence.judged is not None:
        hits = judged_hits(evidence.judged, evidence.index, image_ids, parameters.judged_k)
        expected = _expected(evidence.manifest, parameters.judged_k)
        concerns += encoder_quality(hits, expected, parameters, previous=evidence.judged_before)
    elif evidence.judged_unknown:
        sentence = f"The judged queries could not be asked: {evidence.judged_unknown}."
        concerns.append(
            Concern(name="judged_hit_rate", topic="encoder", state="unknown", sentence=sentence, failed=True)
        )
    if evidence.window is not None:
        concerns.append(index_recall(evidence.index, evidence.window.vectors, parameters))
    if evidence.additions is not None:
        concerns += quantiser_age(evidence.index, evidence.additions, parameters)
    if evidence.listing is not None:
        added = [] if evidence.added_items is None else evidence.added_items.column("image_id").to_pylist()
        indexed = (set(image_ids) - evidence.removed) | set(added)
        concerns += catalogue_lag(evidence.listing, indexed, parameters, now=at)
    return concerns


def _expected(manifest: Manifest, k: int) -> Expected | None:
    """Return what the release promised at this depth, or None where its evaluation has no such figure."""
    value = manifest.metrics.get(f"hit_rate_at_{k}")
    if not isinstance(value, int | float):
        return None
    low, high = (manifest.metrics.get(f"hit_rate_at_{k}_{side}", value) for side in ("low", "high"))
    return Expected(float(value), float(low), float(high))


def _public(*tables: pa.Table | None) -> Callable[[str], bool]:
    shown = {
        row["image_id"]
        for table in tables
        if table is not None
        for row in table.select(["image_id", "is_public", "is_appropriate"]).to_pylist()
        if row["is_public"] and row["is_appropriate"]
    }
    return shown.__contains__
