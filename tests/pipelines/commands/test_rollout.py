"""Statistics decide about a rollout: what they see, and what is done about it."""

from __future__ import annotations

import datetime
import itertools
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.registration.registry import Registry
from components.shared.errors import ParameterError
from components.shared.files.tables import EVENTS, SERVICE_SCHEMA, read_table, write_table
from components.shared.release.manifest import read_manifest
from monitoring.experiments.parameters import ExperimentParameters
from pipelines.__main__ import build_parser, main
from pipelines.commands.rollout import seconds_of
from pipelines.rehearsal.session import _releases
from pipelines.rehearsal.verdicts import judge, write_newcomers
from pipelines.settings import read_settings
from serving.rollout import decisions
from serving.rollout.ladder import Action, Verdict, next_action, read_ladder
from serving.rollout.state import Rollout, read_rollout
from support.factories.event_factory import START, make_events
from support.factories.release_factory import make_release

HOUR = datetime.timedelta(hours=1)


def rollout(share=50, since=START):
    return Rollout(challenger=2, champion=1, share=share, since=since, state="running", why="", revision=3)


def counters(path, errors=0.0, windows=60, since=START):
    """Write counters of both arms in which a share of the challenger's requests fails."""
    rows = [
        {"at": since + datetime.timedelta(minutes=minute), "arm": arm, "requests": 20.0, "slow": 0.0, "zero_results": 0.0,
         "errors": round(20 * errors) * float(arm == "challenger")}
        for minute in range(windows) for arm in ("champion", "challenger")
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, SERVICE_SCHEMA), path)
    return str(path)


def events(path, since=START, **options):
    table = make_events(**options)
    moved = pa.array([at + (since - START) for at in table.column("at").to_pylist()], EVENTS.schema.field("at").type)
    write_table(path, table.set_column(table.schema.get_field_index("at"), "at", moved), EVENTS)
    return str(path)


PARAMETERS = ExperimentParameters(minimum_users=50, minimum_clicks=20)


def test_a_better_challenger_is_promoted_and_a_worse_one_goes_back(tmp_path):
    service = counters(tmp_path / "s.parquet")
    better = judge(events(tmp_path / "b.parquet", users=600, lift=0.5), service, PARAMETERS, rollout())
    worse = judge(events(tmp_path / "w.parquet", users=600, lift=-0.4), service, PARAMETERS, rollout())
    same = judge(events(tmp_path / "n.parquet", users=300), service, PARAMETERS, rollout())
    assert (better.verdict, worse.verdict, same.verdict) == ("promote", "roll_back", "continue")
    assert better.is_measured


def test_guardrails_decide_even_where_the_challenger_answers_nobody(tmp_path):
    only = make_events(users=100, share=0.0)
    write_table(tmp_path / "e.parquet", only, EVENTS)
    found = judge(str(tmp_path / "e.parquet"), counters(tmp_path / "s.parquet", errors=0.5), PARAMETERS, rollout())
    assert found.verdict == "roll_back"
    assert found.reasons[0].startswith("Failed requests rose from 0.0% to 50.0%")


def test_without_anything_to_see_it_waits(tmp_path):
    found = judge(f"sqlite:///{tmp_path}/none.db", None, PARAMETERS, rollout())
    assert (found.verdict, found.is_measured) == ("continue", False)


def test_only_those_who_came_first_at_this_share_are_compared(tmp_path):
    source = events(tmp_path / "e.parquet", users=200)
    moment = START + datetime.timedelta(days=2)
    path = write_newcomers(source, moment, tmp_path / "new.parquet")
    before, after = (
        read_table(name, EVENTS).to_pylist() for name in (tmp_path / "e.parquet", tmp_path / "new.parquet")
    )
    known = {event["user_id"] for event in before if event["at"] < moment}
    assert path == str(tmp_path / "new.parquet")
    assert {event["event_id"] for event in after} == {e["event_id"] for e in before if e["user_id"] not in known}
    assert after
    assert known


def test_sample_ratio_is_that_of_the_share(tmp_path):
    source = events(tmp_path / "e.parquet", users=900, share=0.5)
    found = judge(source, None, PARAMETERS, rollout(share=25))
    assert found.verdict == "roll_back"
    assert "where 25.0% should be" in found.reasons[0]


@pytest.mark.parametrize(
    ("share", "verdict", "measured", "held", "expected"),
    [
        (1, "continue", True, 2, Action("step", 5, "no guardrail is broken at 1 %. so")),
        (1, "continue", False, 2, None),
        (1, "continue", True, 0.5, None),
        (5, "promote", True, 2, Action("step", 25, "no guardrail is broken at 5 %. so")),
        (50, "continue", True, 99, None),
        (50, "promote", True, 0, Action("promote", 100, "so")),
        (60, "promote", True, 0, Action("promote", 100, "so")),
        (1, "roll_back", False, 0, Action("roll_back", 0, "so")),
    ],
)  # fmt: skip
def test_the_ladder(share, verdict, measured, held, expected):
    found = next_action(rollout(share), Verdict(verdict, ("so",), measured), now=START + held * HOUR, hold=HOUR)
    assert found == expected


def test_what_people_write_is_read():
    assert [seconds_of(text) for text in ("30s", "2m", "1h", "1.5d", "500ms", "7")] == [30, 120, 3600, 129600, 0.5, 7]
    assert read_ladder("1,5,25,50") == (1, 5, 25, 50)
    for wrong in ("", "5,1", "0,5", "50,100", "a", "5,5"):
        with pytest.raises(ParameterError):
            read_ladder(wrong)
    for wrong in ("", "s", "-1s", "1w"):
        with pytest.raises(ParameterError):
            seconds_of(wrong)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    registry = Registry(f"sqlite:///{home / 'mlflow.db'}")
    for seed in range(2):
        registry.register(make_release(home / "made" / str(seed), items=3, views=2, seed=seed))
    return home


def test_auto_goes_up_the_ladder_and_promotes(home, tmp_path, monkeypatch, capsys):
    registry = Registry(f"sqlite:///{home / 'mlflow.db'}")
    assert main(["rollout", "start", "2", "--share", "5", "--home", str(home)]) == 0
    seeds = itertools.count()
    for share in (5, 50):
        since = read_rollout(registry).since
        source = events(
            tmp_path / f"{share}.parquet", since=since, users=1_500, share=share / 100, lift=0.5, seed=next(seeds)
        )
        service = counters(tmp_path / f"s{share}.parquet", since=since)
        words = ["--events", source, "--service", service, "--ladder", "5,50", "--hold", "0s", "--settle", "0s"]
        assert main(["rollout", "auto", *words, "--home", str(home)]) == 0
    assert "→ promote" in capsys.readouterr().out
    assert registry.get("champion").version == 2
    log = [entry.move for entry in registry.history() if entry.move.who == "rollout auto"]
    assert [move.alias for move in log] == ["rollout", "rollout", "champion", "rollout"]
    assert "no guardrail is broken at 5 %" in log[0].why
    assert "is better" in log[2].why


def test_ab_looks_below_the_home_folder(tmp_path, monkeypatch, capsys):
    """Events and counters of this machine by default; never its counters beside the events of another."""
    source = events(tmp_path / "e.parquet", users=600, lift=0.5)
    monkeypatch.setenv("VISUAL_SEARCH_EVENTS_URL", source)
    (tmp_path / "ab.json").write_text('{"minimum_users": 50, "minimum_clicks": 20}')
    words = ["ab", "decide", "--json", "--home", str(tmp_path), "--parameters", str(tmp_path / "ab.json")]
    measured = []
    for options in ([], ["--events", source]):
        for errors in (None, 0.0, 0.5):
            folder = tmp_path / "service-counts"
            if errors is not None:
                folder.mkdir(exist_ok=True)
                counters(folder / "a.parquet", errors=errors)
            assert main([*words, *options]) == 0
            found = json.loads(capsys.readouterr().out)
            measured.append((found["verdict"], found["guardrails"].get("errors", {}).get("measured", False)))
        (folder / "a.parquet").unlink()
        folder.rmdir()
    assert measured == [("promote", False), ("promote", True), ("roll_back", True), *[("promote", False)] * 3]


@pytest.mark.parametrize(
    ("words", "champion", "challenger"),
    [
        (["--scenario", "better"], None, "champion"),
        (["--scenario", "slow"], "champion", None),
        (["--challenger", "1"], "champion", "1"),
        (["--champion", "1", "--challenger", "2"], "1", "2"),
    ],
)
def test_a_rehearsal_takes_releases_of_the_registry(home, words, champion, challenger):
    options = build_parser().parse_args(["rollout", "rehearse", *words, "--home", str(home)])
    registry = Registry(f"sqlite:///{home / 'mlflow.db'}")
    expected = [None if name is None else registry.get(name).release_id for name in (champion, challenger)]
    found = _releases(options, read_settings(home=home))
    assert [None if path is None else read_manifest(path).release_id for path in found] == expected


def test_wrong_calls_say_what_to_do(home, capsys):
    for words in (["--queries", "0"], ["--interleave", "-1"], ["--ladder", "5,1"]):
        assert main(["rollout", "rehearse", *words, "--home", str(home)]) == 1
        assert capsys.readouterr().err.count("\n") == 1
    assert main(["rollout", "step", "7", "--home", str(home)]) == 1
    assert "rollout start VERSION" in capsys.readouterr().err
    registry = Registry(f"sqlite:///{home / 'mlflow.db'}")
    assert decisions.settle(registry) is None or not decisions.settle(registry).is_open
    with pytest.raises(SystemExit):
        main(["rollout", "rollback", "--home", str(home)])
