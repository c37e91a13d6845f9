"""The results of monitoring: they survive JSON, and the worst state wins."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from monitoring.findings import (
    CAUSES,
    REMEDIES,
    STATES,
    Concern,
    Diagnosis,
    MovedQuery,
    Report,
)

AT = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)


def concern(name="top_similarity", state="ok", **more):
    return Concern(name=name, topic="drift", state=state, sentence="seen", **more)


def report(*concerns, diagnoses=()):
    return Report(at=AT, release_id="r-1", space_id="s-1", arm="champion", concerns=concerns, diagnoses=diagnoses)


@given(
    state=st.sampled_from(STATES),
    value=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    p_value=st.none() | st.floats(0, 1),
    cause=st.sampled_from(CAUSES),
    remedy=st.sampled_from(REMEDIES),
    score=st.floats(-1, 1),
)
def test_a_report_survives_json(state, value, p_value, cause, remedy, score):
    moved = MovedQuery(query_id="q-1", at=AT, score=score, image_ids=("a", "b"))
    diagnosis = Diagnosis(cause=cause, remedy=remedy, sentence="so", evidence=("top_similarity",), pictures=(moved,))
    whole = report(concern(state=state, value=value, p_value=p_value), diagnoses=(diagnosis,))
    assert Report.model_validate_json(whole.model_dump_json()) == whole


def test_the_worst_state_is_the_reports():
    assert report().state == "unknown"
    assert report(concern()).state == "ok"
    assert report(concern(), concern("b", "unknown")).state == "unknown"
    assert report(concern("a", "watch"), concern("b", "unknown"), concern("c", "alarm"), concern()).state == "alarm"


def test_refused():
    with pytest.raises(ValidationError):
        concern(value=float("nan"))
    with pytest.raises(ValidationError):
        concern(p_value=1.5)
    with pytest.raises(ValidationError):
        concern(unknown=1)
