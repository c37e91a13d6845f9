"""Makes records of monitoring by hand: healthy, drifting, with payloads; real ones come from real runs."""

from __future__ import annotations

import datetime

from monitoring.findings import Concern, Diagnosis, MovedQuery, Report
from monitoring.status.record import OnlineRow, Record, ReleaseFacts

AT = datetime.datetime(2026, 3, 1, 12, 0, tzinfo=datetime.UTC)


def make_concern(name: str = "domain_classifier", state: str = "ok", **more) -> Concern:
    given = {
        "topic": "drift", "sentence": f"{name} was looked at.", "value": 0.51, "threshold": 0.52, "p_value": 0.4,
        "effect": 0.01, "effect_name": "AUC − 0.5", "window": 1000,
    }  # fmt: skip
    return Concern(name=name, state=state, **(given | more))


def make_report(
    state: str = "ok", *, at: datetime.datetime = AT, remedy: str | None = None, cause: str = "new_items", **more
) -> Report:
    """Return a report whose concern `domain_classifier` is in `state`, with one diagnosis if there is a remedy."""
    concerns = (
        make_concern(state=state, value=0.7 if state == "alarm" else 0.51, effect=0.2 if state == "alarm" else 0.01),
        make_concern("sharpness", topic="inputs", effect_name="KS distance"),
        make_concern("index_recall", topic="index", value=0.97, threshold=0.9, p_value=None, effect=None),
        make_concern(
            "judged_queries", "unknown", topic="encoder", value=None, threshold=None, p_value=None, effect=None
        ),
    )
    diagnoses = ()
    if remedy is not None:
        moved = MovedQuery(query_id="q-1", at=at, score=0.4, image_ids=("i-1", "i-2"))
        diagnoses = (
            Diagnosis(
                cause=cause,
                remedy=remedy,
                sentence="5 % of the queries are far from all that is known.",
                evidence=("domain_classifier",),
                pictures=(moved,),
            ),
        )
    given = {
        "at": at, "release_id": "r-0123456789abcdef", "space_id": "s-0123456789abcdef", "arm": "champion", "window": 1000,
        "since": at - datetime.timedelta(hours=24), "until": at, "concerns": concerns, "diagnoses": diagnoses,
    }  # fmt: skip
    return Report(**(given | more))


def make_record(report: Report | None = None, **more) -> Record:
    report = report or make_report()
    facts = ReleaseFacts(
        release_id=report.release_id, space_id=report.space_id, architecture="tiny", dimension=16, index="exact (Flat)",
        images=18, items=6, metrics={"hit_rate_at_1": 0.75},
    )  # fmt: skip
    rows = tuple(
        OnlineRow(label=arm, searches=1000 * (i + 1), users=300, click_through_per_query=0.4 + i / 100, abandonment=0.6,
                  clicks_at_k=0.7, corrected_click_through=0.2, median_seconds_to_click=4.0, median_dwell_seconds=9.5,
                  zero_result_rate=0.01)
        for i, arm in enumerate(("champion", "challenger"))
    )  # fmt: skip
    return Record(report=report, release=facts, **({"online": {"arm": rows}, "online_since": report.since} | more))
