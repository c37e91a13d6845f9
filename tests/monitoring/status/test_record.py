"""Records: whole, bounded, of one documented shape; and what of them is drawn."""

from __future__ import annotations

import datetime
import json
import math
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.shared.errors import ContractError, UnfinishedArtifactError
from monitoring.findings import STATES, Concern
from monitoring.status.charts import sparkline, strip
from monitoring.status.record import (
    HISTORY_FOLDER,
    LATEST_FILE,
    Record,
    RecordStore,
    known_state,
    online_rows,
    overall_state,
)
from support.factories.monitoring_factory import AT, make_concern, make_record, make_report

HOUR = datetime.timedelta(hours=1)


def test_history_is_bounded_and_the_latest_stays(tmp_path: Path) -> None:
    store = RecordStore(tmp_path, limit=5)
    for i in range(8):
        store.add(make_record(make_report("alarm" if i == 7 else "ok", at=AT + i * HOUR)))
    assert len(list((tmp_path / HISTORY_FOLDER).iterdir())) == 5
    assert store.latest().report.at == AT + 7 * HOUR
    trend = store.trend()
    assert [point.at for point in trend] == [AT + i * HOUR for i in range(3, 8)]
    assert [point.state for point in trend] == ["ok"] * 4 + ["alarm"]
    assert trend[-1].values["domain_classifier"] == 0.2  # of a test, its effect
    assert len(store.trend(points=2)) == 2


def test_what_is_written_is_read(tmp_path: Path) -> None:
    record = make_record(make_report("alarm", remedy="retrain"))
    path = RecordStore(tmp_path).add(record)
    assert RecordStore(tmp_path).latest() == record
    assert path.read_bytes() == (tmp_path / LATEST_FILE).read_bytes()


def test_the_shape_of_the_json_is_the_documented_one(tmp_path: Path) -> None:
    """Programs read it: a field that goes or changes its name is a new schema version."""
    value = json.loads(RecordStore(tmp_path).add(make_record(make_report("alarm", remedy="retrain"))).read_text())
    assert set(value) == {"schema_version", "report", "release", "online", "online_note", "online_since"}
    assert value["schema_version"] == value["report"]["schema_version"] == 1
    assert {"at", "release_id", "space_id", "arm", "window", "concerns", "diagnoses"} <= set(value["report"])
    assert {"name", "topic", "state", "sentence", "value", "threshold", "p_value", "effect"} <= set(
        value["report"]["concerns"][0]
    )
    assert {"cause", "remedy", "sentence", "evidence", "pictures"} == set(value["report"]["diagnoses"][0])
    assert {"label", "searches", "click_through_per_query", "zero_result_rate"} <= set(value["online"]["arm"][0])
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(value, Record.model_json_schema())


def test_unreadable_records(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    with pytest.raises(UnfinishedArtifactError, match="monitor run"):
        store.latest()
    assert store.trend() == []
    store.add(make_record())
    (tmp_path / HISTORY_FOLDER / "record-20260301T110000000000Z.json").write_text("{")
    (tmp_path / HISTORY_FOLDER / "notes.txt").write_text("kept")
    assert len(store.trend()) == 1  # history with a hole is history
    (tmp_path / LATEST_FILE).write_text('{"schema_version": 2}')
    with pytest.raises(ContractError):
        store.latest()


@given(st.lists(st.sampled_from(STATES), max_size=6))
def test_the_unknown_hides_nothing(states: list[str]) -> None:
    concerns = [make_concern(f"c{i}", state) for i, state in enumerate(states)]
    known = [state for state in states if state != "unknown"]
    expected = next((state for state in ("alarm", "watch", "ok") if state in known), "unknown")
    assert known_state(concerns) == expected
    failed = Concern(name="due", topic="serving", state="unknown", sentence="It could not be asked.", failed=True)
    assert known_state([*concerns, failed]) == ("unknown" if expected == "ok" else expected)
    assert overall_state(make_report(concerns=tuple(concerns))) == expected
    other = make_concern("golden_vectors", topic="serving")
    blind = overall_state(make_report(concerns=(*concerns, other)))
    assert blind == ("unknown" if expected == "unknown" else expected)  # nobody searched: no reason for a green page


def test_rows_of_a_table_without_what_is_not_finite() -> None:
    table = pa.table(
        {
            "label": ["a", "b"],
            "searches": [3, 0],
            "abandonment": [0.5, math.nan],
            "clicks_at_k": [None, 1.0],
            "odd": [1, 2],
        }
    )
    first, second = online_rows(table, {"a": 0.25})
    assert (first.label, first.searches, first.abandonment, first.clicks_at_k) == ("a", 3, 0.5, None)
    assert (first.zero_result_rate, second.zero_result_rate, second.abandonment) == (0.25, None, None)
    hours = pa.table({"label": pa.array([datetime.datetime(2026, 1, 2, 3)], pa.timestamp("us"))})
    assert online_rows(hours)[0].label == "2026-01-02T03:00"


def test_a_trend_shows_alarms_thresholds_and_changes_of_the_release(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    for i, (state, release) in enumerate((("ok", "r-1"), ("alarm", "r-1"), ("ok", "r-2"))):
        store.add(make_record(make_report(state, at=AT + i * HOUR, release_id=release)))
    trend = store.trend()
    drawn = str(sparkline(trend, "domain_classifier", 0.52))
    assert drawn.count('class="dot alarm"') == 1
    assert drawn.count('class="change"') == 1
    assert drawn.count('class="limit"') == 1
    assert "nan" not in drawn
    assert sparkline(trend, "unheard_of", None) == ""
    assert sparkline(trend[:1], "domain_classifier", None) == ""
    assert str(strip(trend)).count("<rect") == 3


@given(st.lists(st.floats(-1e300, 1e300), min_size=2, max_size=8))
def test_a_trend_of_any_numbers_stays_in_its_frame(values: list[float]) -> None:
    from monitoring.status.record import TrendPoint

    points = [TrendPoint(at=AT, release_id="r", state="ok", values={"x": value}) for value in values]
    drawn = str(sparkline(points, "x", None)).partition('<polyline class="line" points="')[2].partition('"')[0]
    for pair in drawn.split():
        x, y = map(float, pair.split(","))
        assert 0 <= x <= 240
        assert 0 <= y <= 48
