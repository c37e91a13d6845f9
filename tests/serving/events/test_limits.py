"""Flood limits against a plain count, and their memory."""

from __future__ import annotations

import random

from serving.events.limits import FloodLimits, RateLimit


def test_a_burst_of_n_then_n_a_minute() -> None:
    limit, taken = RateLimit(60), []
    for tenth in range(3000):  # 300 seconds of ten attempts a second
        now = 1000 + tenth / 10
        if limit.wait_seconds("a", 1, now) == 0:
            limit.take("a", 1, now)
            taken.append(now)
    assert sum(now < 1001 for now in taken) <= 61
    assert abs(len(taken) - (60 + 300)) <= 1
    assert limit.wait_seconds("b", 60, 1300) == 0
    assert limit.wait_seconds("b", 61, 1300) > 0


def test_memory_is_bounded_and_stale_keys_go() -> None:
    limit, generator = RateLimit(60, most_keys=100), random.Random(0)
    for attempt in range(5000):
        limit.take(str(generator.random()), 5, attempt / 1000)
        assert len(limit) <= 100
    limit.take("last", 1, 10_000)
    assert len(limit) == 1


def test_all_or_nothing_by_person_and_by_search() -> None:
    limits = FloodLimits(per_user=10, per_query=5)
    assert limits.admit([("u", "q1")] * 5, 0)
    assert not limits.admit([("u", "q2"), ("u", "q1")], 0)  # q1 is full, so q2 takes nothing either
    assert limits.admit([("u", "q2")] * 5, 0)
    assert not limits.admit([("u", "q3")], 0)  # the person is
    assert limits.admit([("v", "q3")] * 5, 0)
    assert limits.admit([("u", "q3")], 60)
