"""Minutes of service: what counts, and that whoever reads them can add them up."""

from __future__ import annotations

import datetime
import time

import pyarrow.parquet as pq
import pytest

from serving.server.request import CurrentRequest
from serving.transformer.watching.service_counts import ServiceCounts

NOON = datetime.datetime(2026, 3, 1, 12, 0, 30, tzinfo=datetime.UTC)
MINUTE = datetime.timedelta(minutes=1)
PREDICT = "/v1/models/visual-search:predict"


def over(status: int, *, took: float = 0.0, nothing: bool = False, route: str = PREDICT) -> CurrentRequest:
    request = CurrentRequest("id", route=route, status=status, started=time.monotonic() - took)
    request.found_nothing = nothing
    return request


@pytest.fixture
def counts(tmp_path) -> ServiceCounts:
    return ServiceCounts(tmp_path, arm="blue", slow_seconds=0.5)


def rows_of(folder) -> list[tuple]:
    found = [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    return [
        (row["at"], row["arm"], row["requests"], row["errors"], row["slow"], row["zero_results"])
        for row in sorted(found, key=lambda row: row["at"])
    ]


def test_a_minute_is_a_row_once_it_is_over(counts, tmp_path):
    for request in (
        over(200), over(200, took=1.0), over(200, nothing=True), over(503), over(504, took=2.0), over(499, took=3.0),
        over(400), over(422, took=4.0), over(404), over(200, route="/v1/samples"),
        over(200, route="/v2/models/visual-search/infer"),
    ):  # fmt: skip
        counts.count(request, NOON)
    counts.write_finished(NOON + datetime.timedelta(seconds=20))
    assert rows_of(tmp_path) == [], "the minute is not over"
    counts.write_finished(NOON + MINUTE)
    end = NOON.replace(second=0) + MINUTE
    assert rows_of(tmp_path) == [(end, "blue", 7, 2, 3, 1)]


def test_minutes_without_requests_are_no_rows_and_a_stop_writes_the_rest(counts, tmp_path):
    for minute in (0, 1, 5):
        counts.count(over(200), NOON + minute * MINUTE)
        counts.write_finished(NOON + minute * MINUTE)
    assert len(rows_of(tmp_path)) == 2, "the first row is not forgotten when the second ends it"
    counts.stop()
    counts.stop()
    assert [row[0].minute for row in rows_of(tmp_path)] == [1, 2, 6]
    assert sum(row[2] for row in rows_of(tmp_path)) == 3
    assert len(list(tmp_path.iterdir())) == 1


def test_files_stay_small_and_no_row_is_in_two(counts, tmp_path):
    for minute in range(150):
        counts.count(over(200), NOON + minute * MINUTE)
        counts.write_finished(NOON + (minute + 1) * MINUTE)
    counts.stop()
    assert len(rows_of(tmp_path)) == len({row[0] for row in rows_of(tmp_path)}) == 150
    assert sorted(pq.read_metadata(path).num_rows for path in tmp_path.iterdir()) == [30, 60, 60]


def test_a_disk_that_fails_costs_no_request_and_no_count(counts, tmp_path):
    tmp_path.rmdir()
    tmp_path.write_text("in the way")
    counts.count(over(200), NOON)
    counts.write_finished(NOON + MINUTE)
    tmp_path.unlink()
    counts.count(over(200), NOON + MINUTE)
    counts.write_finished(NOON + 2 * MINUTE)
    assert [row[2] for row in rows_of(tmp_path)] == [1, 1]
