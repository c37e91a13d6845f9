"""From a log to a verdict, a report and a forecast."""

from __future__ import annotations

import datetime
import json
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.shared.errors import DataError, ParameterError, SourceError
from components.shared.files.tables import EVENTS, SERVICE_SCHEMA, write_table
from monitoring.experiments import console
from monitoring.experiments.analysis import Analysis, analyse
from monitoring.experiments.decision import decide
from monitoring.experiments.guardrails import watch_guardrails
from monitoring.experiments.parameters import ExperimentParameters, Guardrail
from monitoring.experiments.power import plan
from monitoring.experiments.report.plots import time_axis
from monitoring.online.searches import clean_results, fold_searches
from monitoring.online.service import read_service, service_rates
from pipelines.__main__ import main
from support.factories.basics import encode_picture, make_picture
from support.factories.event_factory import START, add_events, make_events
from support.factories.release_factory import make_release

SMALL = ExperimentParameters(minimum_users=30, minimum_clicks=20, minimum_lift=0.2)


def _analyse(events: pa.Table, parameters: ExperimentParameters, service: pa.Table | None = None) -> Analysis:
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        add_events(connection, events)
        return analyse(connection, parameters, service)


def _service(rng: np.random.Generator, windows: int, errors: tuple[float, float], requests: int = 40) -> pa.Table:
    rows = [
        {
            "at": START + datetime.timedelta(minutes=window), "arm": arm, "requests": float(requests),
            "errors": float(rng.binomial(requests, errors[arm == "challenger"])),
            "slow": float(rng.binomial(requests, 0.02)), "zero_results": float(rng.binomial(requests, 0.01)),
        }
        for window in range(windows) for arm in ("champion", "challenger")
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, SERVICE_SCHEMA)


def test_trajectory_is_what_loops_give() -> None:
    events = make_events(users=200, seed=6)
    found = _analyse(events, SMALL)
    rows = events.to_pylist()
    first_at = min(row["at"] for row in rows)
    queries: dict[str, dict] = {}
    for row in rows:
        query = queries.setdefault(
            row["query_id"], {"user": row["user_id"], "arm": row["arm"], "at": row["at"], "clicked": 0}
        )
        query["at"] = min(query["at"], row["at"])
        query["clicked"] |= row["type"] == "click"
    for look, end in enumerate(found.looks):
        sums: dict[str, dict[str, list[int]]] = {
            "champion": defaultdict(lambda: [0, 0]),
            "challenger": defaultdict(lambda: [0, 0]),
        }
        for query in queries.values():
            if query["at"] < first_at + datetime.timedelta(days=look + 1):
                pair = sums[query["arm"]][query["user"]]
                pair[0] += query["clicked"]
                pair[1] += 1
        for place, arm in enumerate(("champion", "challenger")):
            assert found.users[look, place] == len(sums[arm])
            expected = sum(p[0] for p in sums[arm].values()) / sum(p[1] for p in sums[arm].values())
            value = (found.primary.control, found.primary.treatment)[place][look]
            if not np.isnan(value):
                assert value == pytest.approx(expected, rel=1e-12)
        assert end <= first_at + datetime.timedelta(days=look + 1)
    assert not np.isnan(found.primary.difference[-1])
    assert found.primary.low[-1] < found.primary.difference[-1]
    assert found.primary.p_value[-1] > 0.05


def test_verdicts() -> None:
    better = decide(_analyse(make_events(users=500, lift=1.0, seed=1), SMALL))
    assert better.verdict == "promote"
    assert "better" in better.reasons[0]
    worse = decide(_analyse(make_events(users=500, lift=-0.6, seed=1), SMALL))
    assert worse.verdict == "roll_back"
    assert "worse" in worse.reasons[0]
    same = _analyse(make_events(users=150, seed=1), SMALL)
    assert decide(same).verdict == "continue"
    over = SMALL.model_copy(update={"maximum_days": 6.0})
    assert decide(_analyse(make_events(users=150, seed=1), over)).verdict == "roll_back"
    tolerant = over.model_copy(update={"not_worse_margin": 0.5})
    assert decide(_analyse(make_events(users=300, seed=1), tolerant)).verdict == "promote"
    patient = SMALL.model_copy(update={"minimum_days": 20.0})
    assert decide(_analyse(make_events(users=500, lift=1.0, seed=1), patient)).verdict == "continue"
    early = decide(_analyse(make_events(users=30), ExperimentParameters()))
    assert early.verdict == "continue"
    assert "Too early" in early.reasons[0]


def test_less_is_better_for_time_to_click() -> None:
    events = make_events(users=300, seed=8).to_pylist()
    for row in events:
        if row["arm"] == "challenger" and row["type"] == "click":
            row["at"] += datetime.timedelta(seconds=10)
    slower = SMALL.model_copy(update={"metric": "seconds_to_click"})
    assert decide(_analyse(pa.Table.from_pylist(events, EVENTS.schema), slower)).verdict == "roll_back"


def test_users_in_both_arms_are_left_out_and_told() -> None:
    events = make_events(users=200, seed=2).to_pylist()
    for row in events:
        if row["user_id"] in {"u-1", "u-2", "u-3", "u-4", "u-5"} and row["query_id"].endswith("-0"):
            row["arm"] = "champion" if row["arm"] == "challenger" else "challenger"
    found = _analyse(pa.Table.from_pylist(events, EVENTS.schema), SMALL)
    assert 1 <= found.in_both <= 5
    assert found.users[-1].sum() == 200 - found.in_both
    if found.in_both > 2:
        assert any("both arms" in text for text in decide(found).warnings)


def test_a_wrong_share_of_users_overrules_a_better_metric() -> None:
    decision = decide(_analyse(make_events(users=800, lift=1.0, share=0.3, seed=1), SMALL))
    assert decision.verdict == "roll_back"
    assert "which users are counted" in decision.reasons[0]
    planned = SMALL.model_copy(update={"treatment_share": 0.3})
    assert decide(_analyse(make_events(users=800, lift=1.0, share=0.3, seed=1), planned)).verdict == "promote"


def test_what_users_did_before_narrows_the_interval() -> None:
    events = make_events(users=300, searches_per_user=20, days=14, seed=4)
    parameters = SMALL.model_copy(update={"start": START + datetime.timedelta(days=7)})
    adjusted, plain = (_analyse(events, parameters.model_copy(update={"cuped": use})) for use in (True, False))
    assert adjusted.primary.adjusted_by > 0.05
    assert plain.primary.adjusted_by == 0
    assert np.ptp([adjusted.primary.low[-1], adjusted.primary.high[-1]]) < np.ptp(
        [plain.primary.low[-1], plain.primary.high[-1]]
    )
    assert adjusted.searches.sum() == plain.searches.sum()


def test_guardrails_rarely_alarm_without_reason_and_soon_with() -> None:
    rng = np.random.default_rng(0)
    calm = [watch_guardrails(_service(rng, 60, (0.02, 0.02)), ExperimentParameters()) for _ in range(60)]
    assert sum(any(result.alarmed for result in results) for results in calm) <= 4
    errors, slow, nothing = watch_guardrails(_service(rng, 25, (0.01, 0.3)), ExperimentParameters())
    assert errors.alarmed
    assert errors.lower > 0.1
    assert not slow.alarmed
    assert not nothing.alarmed
    few = watch_guardrails(_service(rng, 5, (0.01, 0.9)), ExperimentParameters())
    assert not few[0].alarmed
    assert few[0].control is None
    allowed = ExperimentParameters(guardrails=(Guardrail(name="errors", margin=0.5),))
    assert not watch_guardrails(_service(rng, 25, (0.01, 0.3)), allowed)[0].alarmed
    silent = watch_guardrails(_service(rng, 25, (0.0, 0.0)), ExperimentParameters())
    assert (silent[0].alarmed, silent[0].treatment) == (False, 0.0)


def test_a_guardrail_overrules_a_better_metric() -> None:
    service = _service(np.random.default_rng(1), 100, (0.01, 0.2))
    decision = decide(_analyse(make_events(users=500, lift=1.0, seed=1), SMALL, service))
    assert decision.verdict == "roll_back"
    assert "Failed requests" in decision.reasons[0]


def test_counters_are_checked(tmp_path: Path) -> None:
    table = _service(np.random.default_rng(0), 5, (0.1, 0.1))
    pq.write_table(table, tmp_path / "s.parquet")
    import pyarrow.csv

    pyarrow.csv.write_csv(table, tmp_path / "s.csv")
    assert read_service(str(tmp_path / "s.csv")).equals(read_service(str(tmp_path / "s.parquet")))
    assert service_rates(table)["requests"].to_pylist() == [200.0, 200.0]
    broken = table.set_column(3, "errors", pa.array([99.0] * 10))
    pq.write_table(broken, tmp_path / "b.parquet")
    with pytest.raises(SourceError, match="errors must be"):
        read_service(str(tmp_path / "b.parquet"))
    with pytest.raises(SourceError, match="cannot be read"):
        read_service(str(tmp_path / "absent.parquet"))


def test_unknown_arms_are_named() -> None:
    with pytest.raises(DataError, match="no searches"):
        _analyse(make_events(users=10), ExperimentParameters(control="a", treatment="b"))
    with pytest.raises(DataError, match="the arm b has no"):
        _analyse(make_events(users=10), ExperimentParameters(treatment="b"))


def test_the_forecast_is_what_the_experiment_then_needs() -> None:
    """With the information that the plan asks for, a fixed test has the planned power by construction; days follow the log."""
    events = make_events(users=400, days=14, seed=3)
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        add_events(connection, events)
        clean_results(connection, SMALL.online)
        fold_searches(connection, SMALL.online)
        found = plan(connection, SMALL, lifts=(0.02, 0.1, 0.4))
        days = [row.fixed_days or np.inf for row in found.forecasts]
        assert days == sorted(days, reverse=True)
        for row in found.forecasts:
            assert (row.sequential_days or np.inf) >= (row.fixed_days or np.inf)
        inside = found.forecasts[-2]
        # Independent: a lift's standard error at full length, by bootstrap over users, against the interpolated time.
        rows = connection.execute("SELECT user_id, sum(clicked), count(*) FROM searches GROUP BY 1").fetchall()
    values = np.array([row[1:] for row in rows])
    rng = np.random.default_rng(0)
    draws = [values[rng.integers(0, len(values), len(values))].sum(axis=0) for _ in range(3_000)]
    variance = np.var([a / b for a, b in draws])
    needed = (inside.lift * found.baseline / (1.959964 + 0.841621)) ** 2
    assert (inside.fixed_days <= 14) == (4 * variance <= needed)
    with duckdb.connect(":memory:") as connection:
        add_events(connection, make_events(users=10, days=1))
        clean_results(connection, SMALL.online)
        fold_searches(connection, SMALL.online)
        with pytest.raises(DataError, match="three days"):
            plan(connection, SMALL)


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_table(tmp_path / "events.parquet", make_events(users=500, lift=1.0, seed=1), EVENTS)
    pq.write_table(_service(np.random.default_rng(1), 50, (0.01, 0.01)), tmp_path / "service.parquet")
    (tmp_path / "ab.json").write_text(json.dumps({"minimum_users": 30, "minimum_lift": 0.2}))
    common = ["--events", str(tmp_path / "events.parquet"), "--parameters", str(tmp_path / "ab.json")]
    assert main(["ab", "plan", *common]) == 0
    assert "looking daily" in capsys.readouterr().out
    assert main(["ab", "decide", *common, "--json", "--service", str(tmp_path / "service.parquet")]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["verdict"] == "promote"
    assert answer["guardrails"]["errors"] == {"alarmed": False, "measured": True}
    releases = [make_release(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 1))]
    (tmp_path / "<b>query.jpg").write_bytes(encode_picture(make_picture(5)))
    page = tmp_path / "out" / "page.html"
    arguments = ["--output", str(page), "--releases", *map(str, releases), "--queries", str(tmp_path / "<b>query.jpg")]
    assert main(["ab", "report", *common, *arguments]) == 0
    text = page.read_text()
    assert "Promote the challenger" in text
    assert "&lt;b&gt;query.jpg" in text
    assert "<b>query" not in text
    assert text.count('<li class="tile') == 12
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert main(["ab", "decide", *common, "--share", "7"]) == 1
    assert "treatment_share" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "unit", "last"), [(90, "seconds", 90), (600, "minutes", 10), (7 * 86_400, "days", 7)]
)
def test_times_are_in_a_unit_that_fits(seconds: int, unit: str, last: float) -> None:
    start = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
    looks = [start + datetime.timedelta(seconds=seconds / 2), start + datetime.timedelta(seconds=seconds)]
    found, elapsed = time_axis(SimpleNamespace(start=start, looks=looks))
    assert (found, elapsed.tolist()) == (unit, [last / 2, last])


def test_parameters_refuse_what_makes_no_sense() -> None:
    for values in (
        {"control": "challenger"},
        {"alpha": 2},
        {"mistyped": 1},
        {"start": "2026-01-02T00:00Z", "until": "2026-01-01T00:00Z"},
    ):
        with pytest.raises(ParameterError):
            console.read_parameters(None, values)
