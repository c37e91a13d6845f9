"""Everything that is known of one arm, assessed: concerns and diagnoses in a report."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from components.shared.release.manifest import Manifest
from components.shared.release.served import ReleaseInForce
from monitoring.diagnosis.catalogue import catalogue_lag
from monitoring.diagnosis.decision import diagnose
from monitoring.diagnosis.encoder import Expected, JudgedQueries, encoder_quality, judged_hits
from monitoring.diagnosis.golden import PictureEncoder, golden_scores, golden_vectors
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
    """Evidence about an arm. A field that is None was not collected, and is not assessed.

    Attributes:
        served: the current release, with its generations.
        window: sampled queries of its space; None: there was none.
        reference: an earlier window to compare with instead of the release's own reference.
        listing: images that should be indexed, with image_id and added_at.
        judged: judged queries, embedded by the encoder under assessment.
        judged_unknown: why they could not be embedded; "": they were.
        judged_before: hits of the previous release on the same queries.
        encoder: the live one; None: the release's own is tried on this machine.
        search_headers: headers sent with each search.
    """

    served: ReleaseInForce
    window: Sample | None = None
    reference: Sample | None = None
    listing: pa.Table | None = None
    judged: JudgedQueries | None = None
    judged_unknown: str = ""
    judged_before: np.ndarray | None = None
    encoder: PictureEncoder | None = None
    search_url: str | None = None
    search_headers: dict[str, str] = field(default_factory=dict)


def assess(
    evidence: Evidence,
    *,
    arm: str,
    at: datetime.datetime,
    drift: DriftParameters | None = None,
    parameters: DiagnosisParameters | None = None,
) -> tuple[Report, Comparison | None]:
    """Assess everything there is evidence of, and name causes and remedies.

    Args:
        evidence: everything that the run collected.
        arm: name of the arm.
        at: time of the report.
        drift: drift of the tests.
        parameters: parameters of the diagnosis.

    Returns:
        The report, and the comparison that its concerns of drift come from, where there was a window.

    Raises:
        SpaceMismatchError: window or reference are of another space than the release.
    """
    drift, parameters = drift or DriftParameters(), parameters or DiagnosisParameters()
    comparison, concerns = _drift(evidence, drift)
    concerns = [*concerns, *_other(evidence, parameters, at)]
    manifest = evidence.served.manifest
    diagnoses = diagnose(concerns, comparison, drift=drift, parameters=parameters, may_show=_public(evidence.served))
    times = () if evidence.window is None or evidence.window.at is None else evidence.window.at
    report = Report(
        at=at,
        release_id=manifest.release_id,
        space_id=manifest.space_id,
        arm=arm,
        since=min(times, default=None),
        until=max(times, default=None),
        window=0 if evidence.window is None else len(evidence.window.ids),
        concerns=tuple(concerns),
        diagnoses=diagnoses,
    )
    return report, comparison


def _drift(evidence: Evidence, drift: DriftParameters) -> tuple[Comparison | None, Sequence[Concern]]:
    if evidence.window is None:
        return None, drift_concerns(None, 0, drift)
    served = evidence.served
    reference = evidence.reference or read_reference(served.directory, served.manifest)
    comparison = compare(reference, evidence.window, drift, lists=list_centroids(served.index))
    return comparison, drift_concerns(comparison, len(evidence.window.ids), drift)


def _other(evidence: Evidence, parameters: DiagnosisParameters, at: datetime.datetime) -> list[Concern]:
    served, index = evidence.served, evidence.served.index
    concerns = [golden_vectors(served.directory, served.manifest, evidence.encoder, parameters)]
    if evidence.search_url is not None:
        concerns.append(
            golden_scores(
                served.directory,
                served.manifest,
                index,
                served.release_items,
                evidence.search_url,
                parameters,
                headers=evidence.search_headers,
            )
        )
    if evidence.judged is not None:
        image_ids = served.release_items.column("image_id").to_pylist()
        hits = judged_hits(evidence.judged, index, image_ids, parameters.judged_k)
        expected = _expected(served.manifest, parameters.judged_k)
        concerns += encoder_quality(hits, expected, parameters, previous=evidence.judged_before)
    elif evidence.judged_unknown:
        sentence = f"The judged queries could not be asked: {evidence.judged_unknown}."
        concerns.append(
            Concern(name="judged_hit_rate", topic="encoder", state="unknown", sentence=sentence, failed=True)
        )
    if evidence.window is not None:
        concerns.append(index_recall(index, evidence.window.vectors, parameters))
    if served.generations:
        additions = np.concatenate([each.vectors for each in served.generations])
        concerns += quantiser_age(index, additions, parameters)
    if evidence.listing is not None:
        indexed = set(served.items.column("image_id").to_pylist())
        concerns += catalogue_lag(evidence.listing, indexed, parameters, now=at)
    return concerns


def _expected(manifest: Manifest, k: int) -> Expected | None:
    """Return what the release promised at this depth, or None where its evaluation has no such figure."""
    value = manifest.metrics.get(f"hit_rate_at_{k}")
    if not isinstance(value, int | float):
        return None
    low, high = (manifest.metrics.get(f"hit_rate_at_{k}_{side}", value) for side in ("low", "high"))
    return Expected(float(value), float(low), float(high))


def _public(served: ReleaseInForce) -> Callable[[str], bool]:
    tables = [served.release_items, *(each.items for each in served.generations)]
    shown = {
        row["image_id"]
        for table in tables
        for row in table.select(["image_id", "is_public", "is_appropriate"]).to_pylist()
        if row["is_public"] and row["is_appropriate"]
    }
    return shown.__contains__
