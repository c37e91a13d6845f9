"""The gate: every check on both sides of its threshold."""

from __future__ import annotations

import json

import pytest

from components.evaluation.bootstrap import Interval
from components.evaluation.gate import decide
from components.evaluation.parameters import EvaluationParameters

METRICS = ("hit_rate_at_1", "map")


def interval(value: float, half: float = 0.02, queries: int = 200) -> Interval:
    return Interval(value, value - half, value + half, queries, 0)


def decision(*, trained=0.9, baseline=0.5, recall=0.97, champion=None, queries=200, half=0.02, **parameters):
    figures = {m: interval(trained, half, queries) for m in METRICS}
    others = {m: interval(baseline, half, queries) for m in METRICS}
    ahead = {"chance": {m: interval(trained - baseline, half, queries) for m in METRICS}}
    if champion is not None:
        ahead["champion"] = {m: interval(champion, half, queries) for m in METRICS}
    return decide(
        measured={"trained": figures, "chance": others},
        ahead=ahead,
        ann_recall=interval(recall, 0.01),
        baselines={"chance": "chance"},
        parameters=EvaluationParameters(**parameters),
    )


def test_a_good_release_passes_and_says_why():
    result = decision(champion=0.01)
    assert result.passed
    assert result.reasons == []
    assert [check.name for check in result.checks] == [
        "enough_queries",
        "ahead_of_chance_on_hit_rate_at_1",
        "ahead_of_chance_on_map",
        "index_recall",
        "not_behind_champion_on_hit_rate_at_1",
        "not_behind_champion_on_map",
    ]
    assert all(check.explanation.endswith(".") for check in result.checks)
    json.dumps(result.as_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("change", "failing", "words"),
    [
        ({"queries": 49}, {"enough_queries"}, "49 held-out queries"),
        ({"trained": 0.51}, {"ahead_of_chance_on_hit_rate_at_1", "ahead_of_chance_on_map"}, "not clearly ahead"),
        ({"trained": 0.3}, {"ahead_of_chance_on_hit_rate_at_1", "ahead_of_chance_on_map"}, "0.200 behind the baseline"),
        ({"recall": 0.93}, {"index_recall"}, "the target is 0.950: missed"),
        (
            {"champion": -0.02},
            {"not_behind_champion_on_hit_rate_at_1", "not_behind_champion_on_map"},
            "keep the champion",
        ),
    ],
    ids=["too few queries", "not clearly ahead", "behind", "index misses", "champion better"],
)
def test_each_fault_is_refused_with_its_reason(change, failing, words):
    result = decision(**change)
    assert not result.passed
    assert {check.name for check in result.checks if not check.passed} == failing
    assert len(result.reasons) == len(failing)
    assert words in result.reasons[0]


def test_separate_intervals_ask_for_more_than_pairs():
    close = {"trained": 0.53, "baseline": 0.5}
    assert decision(**close).passed
    refused = decision(**close, superiority="separate")
    assert not refused.passed
    assert "they overlap" in refused.reasons[0]
    assert decision(trained=0.55, superiority="separate").passed


def test_an_index_within_the_noise_of_its_target_passes():
    assert decision(recall=0.945).passed  # the interval reaches 0.955


def test_the_margin_to_the_champion_can_be_set():
    assert not decision(champion=-0.03).passed
    assert decision(champion=-0.03, champion_margin=0.06).passed


def test_only_the_chosen_metrics_decide():
    result = decision(gate_metrics=("map",))
    assert [check.name for check in result.checks] == ["enough_queries", "ahead_of_chance_on_map", "index_recall"]
