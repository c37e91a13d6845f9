"""`--act`: the right pipeline, once, not too often, never two at a time; the ledger survives kills at every step."""

from __future__ import annotations

import datetime
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from components.shared.errors import ContractError, NotReadyError
from monitoring.findings import REMEDIES
from monitoring.remedies.act import ActPolicy, RemedyOutcome, act, urgent
from monitoring.remedies.advice import ADVICE, CAUSE_TITLES, command_of
from monitoring.remedies.ledger import LEDGER_FILE, Ledger
from support.factories.monitoring_factory import AT, make_report

NOW = AT + datetime.timedelta(minutes=5)
POLICY = ActPolicy()
HOUR = datetime.timedelta(hours=1)


class Runs:
    """A cluster that keeps its runs: by name, with the state that a test gives them."""

    def __init__(self, *, state: str = "succeeded", error: Exception | None = None) -> None:
        self.started: dict[str, str] = {}
        self.state, self.error = state, error

    def submit(self, pipeline: str, name: str) -> RemedyOutcome:
        if self.error is not None:
            raise self.error
        assert name not in self.started, "two runs of one name"
        self.started[name] = pipeline
        return RemedyOutcome(self.state, f"run-{len(self.started)}")

    def look(self, name: str, reference: str) -> RemedyOutcome:
        return RemedyOutcome(self.state, reference) if name in self.started else RemedyOutcome("interrupted")


@pytest.mark.parametrize("remedy", REMEDIES)
def test_each_remedy_starts_its_pipeline_or_is_stated(tmp_path: Path, remedy: str) -> None:
    runs = Runs()
    action = act(make_report("alarm", remedy=remedy), Ledger(tmp_path), runs, POLICY, now=NOW)
    wanted = {"retrain": "training", "reindex": "reindexing", "retrain_quantiser": "reindexing"}.get(remedy)
    assert list(runs.started.values()) == ([wanted] if wanted else [])
    assert action.kind == ("started" if wanted else "nothing" if remedy == "nothing" else "stated")
    assert bool(Ledger(tmp_path).entries()) == bool(wanted)
    assert remedy in ADVICE


def test_only_an_alarm_starts_anything(tmp_path: Path) -> None:
    runs = Runs()
    for state in ("ok", "watch", "unknown"):
        assert act(make_report(state, remedy="retrain"), Ledger(tmp_path), runs, POLICY, now=NOW).kind == "nothing"
    assert not runs.started


def test_what_people_must_mend_first_is_not_trained_over(tmp_path: Path) -> None:
    first, second = (make_report("alarm", remedy=name).diagnoses[0] for name in ("fix_client", "retrain"))
    report = make_report("alarm", diagnoses=(first, second))
    assert urgent(report) == first
    runs = Runs()
    action = act(report, Ledger(tmp_path), runs, POLICY, now=NOW)
    assert action.kind == "stated"
    assert "client" in action.sentence
    assert not runs.started
    quiet = make_report("alarm", remedy="nothing").diagnoses[0]
    assert urgent(make_report("alarm", diagnoses=(quiet, second))) == second


def test_the_same_report_acts_once_and_a_later_one_waits_for_the_cool_down(tmp_path: Path) -> None:
    runs, ledger = Runs(), Ledger(tmp_path)
    report = make_report("alarm", remedy="retrain")
    first = act(report, ledger, runs, POLICY, now=NOW)
    assert (first.kind, first.entry.state, first.entry.reference) == ("started", "succeeded", "run-1")
    again = act(report, ledger, runs, ActPolicy(cool_down_hours=0), now=NOW + 100 * HOUR)
    assert again.kind == "left"
    assert "already" in again.sentence
    later = make_report("alarm", remedy="retrain", at=AT + 3 * HOUR)
    waiting = act(later, ledger, runs, POLICY, now=NOW + 3 * HOUR)
    assert waiting.kind == "left"
    assert "from 2026-03-02 12:05 UTC on" in waiting.sentence
    # Another pipeline does not wait for this one's cool-down; the same one starts when it is over.
    assert act(make_report("alarm", remedy="reindex"), ledger, runs, POLICY, now=NOW + 3 * HOUR).kind == "started"
    assert act(later, ledger, runs, POLICY, now=NOW + 24 * HOUR).kind == "started"
    assert len(runs.started) == len(ledger.entries()) == 3


def test_reindexing_for_two_remedies_is_one_pipeline_with_one_cool_down(tmp_path: Path) -> None:
    runs, ledger = Runs(), Ledger(tmp_path)
    act(make_report("alarm", remedy="reindex"), ledger, runs, POLICY, now=NOW)
    assert act(make_report("alarm", remedy="retrain_quantiser"), ledger, runs, POLICY, now=NOW).kind == "left"


def test_one_at_a_time_on_a_cluster(tmp_path: Path) -> None:
    runs, ledger = Runs(state="running"), Ledger(tmp_path)
    act(make_report("alarm", remedy="retrain"), ledger, runs, POLICY, now=NOW)
    other = make_report("alarm", remedy="reindex")
    waiting = act(other, ledger, runs, POLICY, now=NOW + HOUR)
    assert waiting.kind == "left"
    assert "still running" in waiting.sentence
    runs.state = "failed"
    assert act(other, ledger, runs, POLICY, now=NOW + 2 * HOUR).kind == "started"
    first, second = ledger.entries()
    assert (first.state, first.ended_at) == ("failed", NOW + 2 * HOUR)
    assert second.pipeline == "reindexing"


def test_what_could_not_be_started_is_written_down_and_raised(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    report = make_report("alarm", remedy="retrain")
    with pytest.raises(NotReadyError):
        act(report, ledger, Runs(error=NotReadyError("no server; start it")), POLICY, now=NOW)
    (entry,) = ledger.entries()
    assert (entry.state, entry.detail) == ("failed", "no server; start it")
    assert act(report, ledger, Runs(), POLICY, now=NOW).kind == "left"  # a failure is not tried again every minute


def test_a_damaged_ledger_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / LEDGER_FILE).write_text('{"entries": [')
    runs = Runs()
    with pytest.raises(ContractError, match="move it away"):
        act(make_report("alarm", remedy="retrain"), Ledger(tmp_path), runs, POLICY, now=NOW)
    assert not runs.started


ACTOR = """
    import datetime, os, signal, sys
    from pathlib import Path
    from monitoring.findings import Report
    from monitoring.remedies import act as module
    from monitoring.remedies.ledger import Ledger

    folder, runs, die = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    now = datetime.datetime.fromisoformat(sys.argv[4])

    class Runs:
        def submit(self, pipeline, name):
            if die == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            (runs / name).write_text(pipeline)  # the server has it from here on
            if die == "after":
                os.kill(os.getpid(), signal.SIGKILL)
            return module.RemedyOutcome("running", name)

        def look(self, name, reference):
            return module.RemedyOutcome("running" if (runs / name).exists() else "interrupted", name)

    ledger = Ledger(folder)
    put, count = ledger.put, 0
    def dying_put(entry):
        global count
        count += 1
        if die == f"put-{count}":
            os.kill(os.getpid(), signal.SIGKILL)
        return put(entry)
    ledger.put = dying_put
    report = Report.model_validate_json((folder / "report.json").read_text())
    print(module.act(report, ledger, Runs(), module.ActPolicy(), now=now).kind)
"""


@pytest.mark.parametrize("moment", ["put-1", "before", "after", "put-2"])
def test_killed_anywhere_the_pipeline_is_started_once(tmp_path: Path, moment: str) -> None:
    folder, runs = tmp_path / "monitoring", tmp_path / "runs"
    folder.mkdir()
    runs.mkdir()
    report = make_report("alarm", remedy="retrain")
    (folder / "report.json").write_text(report.model_dump_json())
    program = tmp_path / "actor.py"
    program.write_text(textwrap.dedent(ACTOR))

    def start(die: str) -> subprocess.CompletedProcess[str]:
        root = Path(__file__).parents[3]
        words = [sys.executable, str(program), str(folder), str(runs), die, NOW.isoformat()]
        environment = {**os.environ, "PYTHONPATH": str(root)}
        return subprocess.run(words, capture_output=True, text=True, env=environment)

    assert start(moment).returncode == -signal.SIGKILL
    json.loads((folder / LEDGER_FILE).read_text() if (folder / LEDGER_FILE).exists() else "{}")
    again = start("never")
    assert again.returncode == 0, again.stderr
    assert len(list(runs.iterdir())) == 1
    entry = Ledger(folder).entries()[-1]
    assert entry.state == "running"
    assert entry.reference in {path.name for path in runs.iterdir()}
    assert again.stdout.strip() == ("left" if moment in {"after", "put-2"} else "started")


def test_who_holds_the_lock_acts_alone(tmp_path: Path) -> None:
    runs, ledger = Runs(), Ledger(tmp_path)
    with Ledger(tmp_path).alone():
        action = act(make_report("alarm", remedy="retrain"), ledger, runs, POLICY, now=NOW)
    assert action.kind == "left"
    assert "another process" in action.sentence
    assert not runs.started


def test_every_cause_has_words_and_a_champion_is_rolled_back_by_promoting_another() -> None:
    from monitoring.findings import CAUSES

    assert set(CAUSE_TITLES) == set(CAUSES)
    assert set(ADVICE) == set(REMEDIES)
    assert command_of("roll_back", "champion").startswith("visual-search promote")
    assert command_of("roll_back", "challenger").startswith("visual-search rollout rollback")
