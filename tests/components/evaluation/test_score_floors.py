"""Score floors against explicit loops, and what they promise on fresh draws."""

from __future__ import annotations

import math

import numpy as np
import pytest

from components.evaluation.score_floors import calibrate, lower_bound

CONFIDENCE = 0.95
Z = 1.6448536269514722


def loop_bound(relevant: list[bool], clusters: list[int]) -> float:
    """The same by loops over clusters."""
    total, share = len(relevant), sum(relevant) / len(relevant)
    names = sorted(set(clusters))
    squares = 0.0
    for name in names:
        mine = [r for r, c in zip(relevant, clusters, strict=True) if c == name]
        squares += (sum(mine) - share * len(mine)) ** 2
    spread = squares / total**2 * (len(names) / (len(names) - 1) if len(names) > 1 else 1)
    n = len(names) if spread == 0 else min(max(share * (1 - share) / spread, 1), total)
    root = math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return (share + Z**2 / (2 * n) - Z * root) / (1 + Z**2 / n)


def draw(seed: int, queries: int = 120, k: int = 25) -> tuple[np.ndarray, ...]:
    """Scores in rank order, grades that follow them, by clusters of three queries with a mood each."""
    rng = np.random.default_rng(seed)
    scores = -np.sort(-rng.random((queries, k)).astype(np.float32), axis=1)
    clusters = np.arange(queries) // 3
    mood = rng.normal(0, 0.1, clusters.max() + 1)[clusters][:, None]
    grades = (rng.random((queries, k)) < np.clip(scores * 1.25 + mood, 0, 1)).astype(np.uint8) * 2
    rows = np.where(rng.random((queries, k)) < 0.05, -1, 1).astype(np.int64)
    return scores, grades, rows, clusters


def test_the_bound_is_what_loops_give() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        n = int(rng.integers(1, 60))
        relevant, clusters = rng.random(n) < rng.random(), rng.integers(0, max(1, n // 3), n)
        wanted = loop_bound(relevant.tolist(), clusters.tolist())
        assert lower_bound(relevant, clusters, confidence=CONFIDENCE) == pytest.approx(wanted, abs=1e-12)
        assert wanted <= relevant.mean() + 1e-12


def test_floors_are_the_lowest_scores_that_a_loop_finds() -> None:
    scores, grades, rows, clusters = draw(1, queries=9, k=20)  # fewer than 200 results: every score is a candidate
    found = calibrate(scores, grades, rows, clusters, confidence=CONFIDENCE, precisions=(0.3, 0.5, 0.7, 0.99))
    cases = [
        (float(scores[q, i]), bool(grades[q, i] >= 2), int(clusters[q]))
        for q in range(9)
        for i in range(20)
        if rows[q, i] >= 0
    ]
    assert found.results == len(cases)
    for precision in (0.3, 0.5, 0.7, 0.99):
        wanted = None
        for floor in sorted(math.floor(score * 1e6) / 1e6 for score, _, _ in cases):
            above = [(r, c) for score, r, c in cases if score >= floor]
            if loop_bound([r for r, _ in above], [c for _, c in above]) >= precision:
                wanted = floor
                break
        assert found.floors[f"{precision:g}"] == wanted
    assert found.floors["0.99"] is None
    assert found.floors["0.3"] is not None


def test_the_precision_holds_on_fresh_queries() -> None:
    kept = asked = 0
    for seed in range(30):
        floors = calibrate(*draw(seed), confidence=CONFIDENCE).floors
        scores, grades, rows, _ = draw(1000 + seed, queries=2000)
        for name, floor in floors.items():
            if floor is None:
                continue
            shown = (rows >= 0) & (scores >= floor)
            asked += 1
            kept += bool((grades[shown] >= 2).mean() >= float(name))
    assert asked >= 30
    assert kept / asked >= 0.8  # the lowest of many candidates is chosen, so a little below the 0.95 of one


def test_only_the_first_twenty_count_and_nothing_is_no_floor() -> None:
    scores, grades, rows, clusters = draw(3)
    worse = grades.copy()
    worse[:, 20:] = 0
    assert calibrate(scores, worse, rows, clusters, confidence=CONFIDENCE) == calibrate(
        scores, grades, rows, clusters, confidence=CONFIDENCE
    )
    for empty_rows, empty_grades in ((np.full_like(rows, -1), grades), (rows, np.zeros_like(grades))):
        floors = calibrate(scores, empty_grades, empty_rows, clusters, confidence=CONFIDENCE).floors
        assert floors == {"0.8": None, "0.9": None, "0.95": None}
