from __future__ import annotations

import json

import pytest

from components.registration.registry import StaleTagError
from components.shared.errors import ContractError, ParameterError
from serving.rollout import decisions
from serving.rollout.state import TAG, begin, change, read_rollout

BY = {"who": "tester", "why": "to see"}


def test_a_rollout_from_start_to_champion_stands_in_registry_and_log(registry):
    assert read_rollout(registry) is None
    decisions.start(registry, 2, share=5, **BY)
    assert registry.get("challenger").version == 2
    decisions.step(registry, 25, who="tester", why="nothing broke")
    after = decisions.promote(registry, **BY)
    assert (after.state, after.revision) == ("done", 4)
    assert registry.get("champion").version == 2
    assert json.loads(registry.read_tag(TAG)) == json.loads(after.text())
    rollout = [entry for entry in registry.history() if entry.move.alias == TAG]
    assert [json.loads(entry.move.state)["share"] for entry in rollout] == [5, 25, 25, 100]
    assert [entry.move.why for entry in rollout][1] == "nothing broke"
    assert all(entry.took_effect for entry in registry.history())


def test_a_rollback_leaves_the_champion(registry):
    decisions.start(registry, "v3", share=1, **BY)
    after = decisions.roll_back(registry, who="auto", why="errors rose")
    assert (after.state, after.share, after.why) == ("rolled_back", 0, "errors rose")
    assert registry.get("champion").version == 1
    with pytest.raises(ParameterError, match="nothing is being rolled out"):
        decisions.step(registry, 5, **BY)
    assert decisions.start(registry, 3, share=5, **BY).revision == 3


def test_what_makes_no_sense_is_refused(registry):
    for version, share, match in (
        (1, 5, "is the champion"),
        (9, 5, "no version"),
        (2, 100, "0 to 99"),
        (2, -1, "0 to 99"),
    ):
        with pytest.raises(ParameterError, match=match):
            decisions.start(registry, version, share=share, **BY)
    decisions.start(registry, 2, share=5, **BY)
    with pytest.raises(ParameterError, match="being rolled out already"):
        decisions.start(registry, 3, share=5, **BY)
    with pytest.raises(ParameterError, match="has 5 % already"):
        decisions.step(registry, 5, **BY)


def test_of_two_who_decide_at_once_one_is_refused(registry):
    before = decisions.start(registry, 2, share=5, **BY)
    change(registry, before, state="running", share=25, **BY)
    with pytest.raises(StaleTagError):
        change(registry, before, state="rolled_back", share=0, **BY)
    with pytest.raises(StaleTagError):
        begin(registry, None, challenger=3, champion=1, share=5, **BY)
    assert read_rollout(registry).share == 25


def test_a_promotion_that_was_killed_is_finished_by_who_comes_next(registry):
    before = decisions.start(registry, 2, share=50, **BY)
    change(registry, before, state="promoting", **BY)  # and here it was killed
    assert decisions.settle(registry).state == "done"
    assert registry.get("champion").version == 2


def test_a_champion_moved_by_hand_ends_the_rollout(registry):
    decisions.start(registry, 2, share=50, **BY)
    registry.promote(3, "champion", **BY)
    assert decisions.settle(registry).state == "rolled_back"
    decisions.start(registry, 2, share=5, **BY)
    registry.promote(2, "champion", **BY)
    assert decisions.settle(registry).state == "done"


def test_a_foreign_tag_is_named(registry):
    registry.exchange_tag(TAG, expected=None, value="50%", version=2, **BY)
    with pytest.raises(ContractError, match="delete it in MLflow"):
        read_rollout(registry)
