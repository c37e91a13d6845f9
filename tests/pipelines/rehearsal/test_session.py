"""Rollouts rehearsed with real server processes: the end-to-end test of releasing.

A short form by default: the better release wins, one with a wrong encoder goes. The others, and the 20,000 answers under swaps
and kills, in the long form.
"""

from __future__ import annotations

import random
import threading
import time

import pytest

from components.shared.files.layout import ITEMS_FILE
from components.shared.release.manifest import read_manifest
from pipelines.rehearsal.local import LocalCluster
from pipelines.rehearsal.oracle import Oracle
from pipelines.rehearsal.report import as_text
from pipelines.rehearsal.session import Rehearsal, _make_pair, _read
from pipelines.rehearsal.shoppers import RehearsalShoppers, read_queries
from pipelines.rehearsal.traffic import RehearsalPlan, Traffic
from pipelines.rehearsal.variant import make_variant
from serving.rollout.plan import ArmRelease, Desired
from serving.rollout.store import ReleaseStore
from support.servers.serving_processes import make_local_release

pytestmark = pytest.mark.timeout(3_000)
QUERIES_WITHIN_WHICH = 4_000  # a better release is found, and a worse one


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return make_local_release(tmp_path_factory.mktemp("release"), items=24, views=3, seed=1)


def rehearse(tmp_path, scenario, release, queries, ladder=RehearsalPlan.ladder, interleaved=0):
    champion, challenger = (None, release) if scenario == "better" else (release, None)
    rehearsal = Rehearsal(tmp_path / "reh", f"sqlite:///{tmp_path / 'mlflow.db'}", scenario, champion, challenger)
    said = []
    report = rehearsal.run(
        RehearsalPlan(queries=queries, ladder=ladder, check_every=10, interleaved=interleaved),
        page=tmp_path / "r.html",
        say=said.append,
    )
    print("\n".join(said), as_text(report), sep="\n")
    assert report.tally.wrong_count == 0, report.tally.wrong
    assert report.tally.checked >= min(report.tally.queries, report.tally.answers) // 20
    history = rehearsal.registry.history()
    assert all(entry.took_effect for entry in history)
    assert [e.move.why for e in history if e.move.who == "rehearsal"][-1] == report.decisions[-1].action.why
    return rehearsal, report


def test_a_better_release_wins_and_is_promoted(tmp_path, release):
    rehearsal, report = rehearse(tmp_path, "better", release, QUERIES_WITHIN_WHICH)
    assert report.passed
    assert report.outcome == "done"
    assert report.champion == read_manifest(release).release_id
    kinds = [decision.action.kind for decision in report.decisions]
    assert kinds == ["step", "promote"]
    assert report.tally.failed.total() <= report.tally.queries // 50  # none, but for a busy machine
    assert {r for arm, r in report.tally.answered if arm == "challenger"} == {report.champion}
    assert rehearsal.registry.get("champion").release_id == report.champion
    assert "<html" in report.page.read_text()


def rolls_back(tmp_path, scenario, release, queries, ladder, interleaved=0):
    _, report = rehearse(tmp_path, scenario, release, queries, ladder, interleaved)
    assert report.passed
    assert report.outcome == "rolled_back"
    assert report.decisions[-1].action.kind == "roll_back"
    assert report.tally.failed["champion"] <= max(10, report.tally.queries // 50)
    return report


def test_a_release_with_another_ones_encoder_never_answers_wrongly_and_goes(tmp_path, release):
    report = rolls_back(tmp_path, "broken-space", release, 1_500, (50,))
    assert "Failed requests" in report.decisions[-1].action.why
    assert report.tally.failed["challenger"] > 0


def test_lists_of_both_find_a_worse_release_before_any_user_is_split(tmp_path, release):
    report = rolls_back(tmp_path, "worse", release, 1_500, (10, 50), interleaved=1_500)
    assert [(decision.share, decision.action.kind) for decision in report.decisions] == [(0, "roll_back")]
    assert "preference -" in report.decisions[-1].action.why
    assert report.preference.losses > report.preference.wins
    assert "challenger" not in {arm for arm, _ in report.tally.answered}


@pytest.mark.long
def test_what_breaks_in_lists_of_both_is_seen_by_nobody(tmp_path, release):
    report = rolls_back(tmp_path, "broken-crash", release, 1_500, (10, 50), interleaved=1_500)
    assert "Failed requests" in report.decisions[-1].action.why
    assert report.tally.failed.total() == 0


@pytest.mark.long
def test_a_better_release_wins_in_lists_of_both_and_then_with_users(tmp_path, release):
    _, report = rehearse(tmp_path, "better", release, QUERIES_WITHIN_WHICH, interleaved=1_000)
    assert report.outcome == "done"
    assert report.preference.low > 0
    assert "Interleaved searches" in report.page.read_text()


@pytest.mark.long
def test_a_worse_release_is_rolled_back(tmp_path, release):
    report = rolls_back(tmp_path, "worse", release, QUERIES_WITHIN_WHICH, (10, 50))
    assert "got worse" in report.decisions[-1].action.why


@pytest.mark.long
def test_a_release_that_crashes_is_rolled_back(tmp_path, release):
    report = rolls_back(tmp_path, "broken-crash", release, 2_500, (5, 25, 50))
    assert "Failed requests" in report.decisions[-1].action.why


@pytest.mark.long
def test_a_release_that_is_slow_is_rolled_back(tmp_path, release):
    report = rolls_back(tmp_path, "slow", release, 2_500, (50,))
    assert any(word in report.decisions[-1].action.why for word in ("Slow answers", "Failed requests"))


@pytest.mark.long
def test_no_answer_mixes_releases_under_swaps_and_kills(tmp_path, release):
    """Two arms, three releases that come and go, processes killed at random; every answer's ids, one in ten offline."""
    answers = 20_000
    folders = [release]
    for number, mixed_up in enumerate((0.5, 0.3), 1):
        make_variant(release, tmp_path / f"variant-{number}", mixed_up=mixed_up, seed=number)
        folders.append(tmp_path / f"variant-{number}")
    store = ReleaseStore(str(tmp_path / "store"))
    arms = []
    for number, folder in enumerate(folders, 1):
        store.publish(folder)
        name = read_manifest(folder).release_id
        arms.append(ArmRelease(number, name, store.uri(name)))
    settings = {
        "events_url": f"sqlite:///{tmp_path / 'events.db'}", "events_keys": "0123456789abcdef" * 4, "poll_seconds": "0.2",
        "encoder_threads": "1", "search_threads": "1", "decode_workers": "1", "events_per_user": "1000000",
    }  # fmt: skip
    cluster = LocalCluster(tmp_path / "cluster", _make_pair, settings)
    cluster.start()
    plan = RehearsalPlan(check_every=10, workers=6)
    oracle = Oracle({read_manifest(path).release_id: path for path in folders})
    traffic = Traffic(cluster.router, RehearsalShoppers(read_queries(release / ITEMS_FILE, _read, 200)), oracle, plan)
    rng, stopping, done = random.Random(3), threading.Event(), {"swaps": 0, "kills": 0}

    def reach(desired):
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not stopping.is_set():
            step = cluster.plan(desired)
            for patch in step.patches:
                cluster.apply(patch)
            if step.is_done:
                return
            time.sleep(0.2)

    def restart(arm, name):
        pair = cluster.pairs[arm]
        pair.children[name].kill()
        pair.children[name].wait()
        pair.start_one(name)

    def trouble():
        while not stopping.wait(rng.uniform(2, 8)):
            if rng.random() < 0.5:
                champion, challenger = rng.sample(arms, 2)
                reach(Desired(champion, challenger, rng.choice([10, 50, 90])))
                done["swaps"] += 1
            else:
                restart(rng.choice(["champion", "challenger"]), rng.choice(["encoder", "transformer"]))
                done["kills"] += 1

    try:
        reach(Desired(arms[0], arms[1], 50))
        thread = threading.Thread(target=trouble)
        thread.start()
        began = time.monotonic()
        while traffic.tally.answers < answers or min(done.values()) < 20:
            traffic.send(500)
            tally = traffic.tally
            print(f"{tally.queries} requests, {tally.answers} answers, {time.monotonic() - began:.0f} s, {done}, "
                  f"failed {dict(tally.failed)}, checked {tally.checked}, mixed {tally.wrong_count}", flush=True)  # fmt: skip
            assert tally.wrong_count == 0, tally.wrong
    finally:
        stopping.set()
        thread.join()
        traffic.close()
        cluster.stop()
    assert len(tally.answered) >= 4
    assert tally.checked >= answers // 20
