"""Ranking metrics against explicit loops, trec_eval, torchmetrics and the properties that they must have."""

from __future__ import annotations

import math

import numpy as np
import pytest
import pytrec_eval
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torchmetrics.functional.retrieval import retrieval_average_precision, retrieval_normalized_dcg

from components.shared.errors import DataError, InputError, ParameterError
from components.shared.truth.metrics import (
    ann_recall_at_k,
    average,
    average_precision,
    count_relevant,
    hit_rate_at_k,
    ideal_grades,
    ndcg_at_k,
    precision_at_k,
    rank_rows,
    recall_at_k,
    reciprocal_rank,
)

CUTS = (1, 3, 5, 10)


def draw(seed: int, q: int = 30, n: int = 25, share: float = 0.25) -> tuple[np.ndarray, np.ndarray]:
    """Scores (some negative, many tied) and grades; some queries have nothing relevant."""
    rng = np.random.default_rng(seed)
    scores = np.round(rng.normal(size=(q, n)), 1).astype(np.float32)
    grades = (rng.integers(1, 4, (q, n)) * (rng.random((q, n)) < share * rng.random((q, 1)))).astype(np.uint8)
    return scores, grades


def ranked(scores: np.ndarray, grades: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.take_along_axis(grades, rank_rows(scores), axis=1), count_relevant(grades)


def all_metrics(scores: np.ndarray, grades: np.ndarray) -> dict[str, np.ndarray]:
    lists, relevant = ranked(scores, grades)
    values = {"map": average_precision(lists, relevant), "recip_rank": reciprocal_rank(lists, relevant)}
    for k in CUTS:
        values[f"success_{k}"] = hit_rate_at_k(lists, relevant, k)
        values[f"recall_{k}"] = recall_at_k(lists, relevant, k)
        values[f"P_{k}"] = precision_at_k(lists, relevant, k)
        values[f"ndcg_cut_{k}"] = ndcg_at_k(lists, ideal_grades(grades, k), k)
    return values


def by_loops(order: list[int], grades: list[int]) -> dict[str, float]:
    """All metrics of one query, as the textbook says them."""
    relevant = [g for g in grades if g >= 2]
    shown = [grades[row] for row in order]
    values = {}
    precisions, first = [], 0.0
    for rank, grade in enumerate(shown, start=1):
        if grade >= 2:
            precisions.append(sum(g >= 2 for g in shown[:rank]) / rank)
            first = first or 1 / rank
    values["map"] = sum(precisions) / len(relevant) if relevant else math.nan
    values["recip_rank"] = first if relevant else math.nan
    for k in CUTS:
        found = sum(g >= 2 for g in shown[:k])
        values[f"success_{k}"] = float(found > 0) if relevant else math.nan
        values[f"recall_{k}"] = found / len(relevant) if relevant else math.nan
        values[f"P_{k}"] = found / k if relevant else math.nan
        gain = sum(g / math.log2(rank + 1) for rank, g in enumerate(shown[:k], start=1))
        best = sum(g / math.log2(r + 1) for r, g in enumerate(sorted(grades, reverse=True)[:k], start=1))
        values[f"ndcg_cut_{k}"] = gain / best if best else math.nan
    return values


@pytest.mark.parametrize("seed", range(5))
def test_metrics_equal_explicit_loops(seed):
    scores, grades = draw(seed)
    values = all_metrics(scores, grades)
    for query in range(len(scores)):
        order = sorted(range(scores.shape[1]), key=lambda row: (-scores[query, row], row))
        expected = by_loops(order, grades[query].tolist())
        for name, value in expected.items():
            np.testing.assert_allclose(values[name][query], value, atol=1e-12, err_msg=f"{name} of query {query}")


@pytest.mark.parametrize("seed", range(3))
def test_metrics_equal_trec_eval(seed):
    scores, grades = draw(seed, share=0.5)
    # trec_eval breaks ties by its own rule, so every score is made distinct without changing our order.
    order = rank_rows(scores)
    distinct = np.empty_like(scores)
    np.put_along_axis(distinct, order, np.arange(scores.shape[1], 0, -1, dtype=np.float32)[None] - 40, axis=1)
    values = all_metrics(scores, grades)
    qrel = {f"q{q}": {f"d{d}": int(grades[q, d]) for d in range(grades.shape[1])} for q in range(len(grades))}
    run = {f"q{q}": {f"d{d}": float(distinct[q, d]) for d in range(grades.shape[1])} for q in range(len(grades))}
    cuts = ",".join(map(str, CUTS))
    names = {"map", "recip_rank", *(f"{name}.{cuts}" for name in ("ndcg_cut", "success", "P", "recall"))}
    judged = pytrec_eval.RelevanceEvaluator(qrel, names, relevance_level=2).evaluate(run)
    compared = 0
    for query, expected in judged.items():
        for name, value in expected.items():
            ours = values[name][int(query[1:])]
            if not math.isnan(ours):
                assert ours == pytest.approx(value, abs=1e-9), (query, name)
                compared += 1
    assert compared > 200


def test_metrics_equal_torchmetrics():
    scores, grades = draw(7, share=0.6)
    values = all_metrics(scores + 10, grades)  # torchmetrics drops scores below zero
    for query in range(len(scores)):
        if len(set(scores[query])) < scores.shape[1] and not math.isnan(values["map"][query]):
            order = rank_rows(scores[query : query + 1])[0]
            predictions = torch.empty(len(order))
            predictions[torch.as_tensor(order)] = torch.arange(len(order), 0, -1, dtype=torch.float32)
            relevant = torch.as_tensor(grades[query] >= 2)
            assert values["map"][query] == pytest.approx(
                float(retrieval_average_precision(predictions, relevant)), abs=1e-5
            )
            gain = retrieval_normalized_dcg(predictions, torch.as_tensor(grades[query].astype(np.int64)), top_k=10)
            assert values["ndcg_cut_10"][query] == pytest.approx(float(gain), abs=1e-5)


GRADES = hnp.arrays(np.uint8, st.tuples(st.integers(1, 4), st.integers(1, 12)), elements=st.integers(0, 3))


@settings(deadline=None)
@given(grades=GRADES, data=st.data())
def test_increasing_transforms_of_the_scores_change_nothing(grades, data):
    # Multiples of 1/8: the transforms below keep distinct scores distinct in float32.
    eighths = data.draw(hnp.arrays(np.int32, grades.shape, elements=st.integers(-80, 80)))
    scores = (eighths / 8).astype(np.float32)
    before = all_metrics(scores, grades)
    for changed in (scores * 3 - 100, np.exp(scores / 4), scores - 1000, scores.astype(np.float64) ** 3):
        after = all_metrics(changed, grades)
        for name in before:
            np.testing.assert_array_equal(before[name], after[name], err_msg=name)


@settings(deadline=None)
@given(grades=GRADES)
def test_hits_and_recall_grow_with_k_and_end_at_one(grades):
    relevant, n = count_relevant(grades), grades.shape[1]
    with np.errstate(invalid="ignore"):
        for metric in (hit_rate_at_k, recall_at_k):
            values = np.stack([metric(grades, relevant, k) for k in range(1, n + 3)])
            there = relevant > 0
            assert (np.diff(values[:, there], axis=0) >= 0).all()
            assert (values[-1, there] == 1).all()
            assert np.isnan(values[:, ~there]).all()


@settings(deadline=None)
@given(grades=GRADES)
def test_a_perfect_ranking_scores_one_and_no_ranking_scores_more(grades):
    relevant, best = count_relevant(grades), -np.sort(-grades.astype(int), axis=1).astype(np.uint8)
    k = grades.shape[1]
    for lists, exact in ((best, True), (grades, False)):
        for values in (
            average_precision(lists, relevant),
            reciprocal_rank(lists, relevant),
            hit_rate_at_k(lists, relevant, 1),
            ndcg_at_k(lists, ideal_grades(grades, k), k),
        ):
            known = values[~np.isnan(values)]
            assert (np.abs(known - 1) < 1e-12).all() if exact else ((known >= 0) & (known <= 1 + 1e-12)).all()


def test_negative_scores_count_like_any_other():
    scores = np.array([[-0.9, -0.1, -0.5]], np.float32)
    grades = np.array([[0, 3, 0]], np.uint8)
    assert {name: float(v[0]) for name, v in all_metrics(scores, grades).items() if name in ("map", "success_1")} == {
        "map": 1.0,
        "success_1": 1.0,
    }


def test_ties_are_broken_by_row_also_at_the_cut_and_for_both_zeros():
    scores = np.array([[0.5, 0.5, 0.9, 0.5], [0.0, -0.0, 0.0, -1.0]], np.float32)
    np.testing.assert_array_equal(rank_rows(scores), [[2, 0, 1, 3], [0, 1, 2, 3]])
    np.testing.assert_array_equal(rank_rows(scores, 2), [[2, 0], [0, 1]])
    np.testing.assert_array_equal(rank_rows(scores.astype(np.float64), 2), [[2, 0], [0, 1]])


@settings(deadline=None, max_examples=50)
@given(
    scores=hnp.arrays(np.float32, (3, 17), elements=st.floats(-4, 4, width=16) | st.just(-np.inf)), k=st.integers(1, 20)
)
def test_ranking_equals_a_stable_sort(scores, k):
    np.testing.assert_array_equal(rank_rows(scores, k), np.argsort(-scores, axis=1, kind="stable")[:, :k])


def test_a_short_list_counts_as_filled_up():
    lists, relevant = np.array([[3, 0]], np.uint8), np.array([4])
    assert precision_at_k(lists, relevant, 10)[0] == 0.1
    assert recall_at_k(lists, relevant, 10)[0] == 0.25
    assert average_precision(lists, relevant)[0] == 0.25
    ideal = ideal_grades(np.array([[3, 3, 3, 3]], np.uint8), 10)
    assert ndcg_at_k(lists, ideal, 10)[0] == pytest.approx(3 / sum(3 / math.log2(r + 1) for r in range(1, 5)))


def test_empty_lists_find_nothing():
    lists, relevant = np.zeros((2, 0), np.uint8), np.array([1, 0])
    for values in (
        average_precision(lists, relevant),
        reciprocal_rank(lists, relevant),
        hit_rate_at_k(lists, relevant, 3),
    ):
        np.testing.assert_array_equal(values, [0.0, np.nan])


def test_ideal_lists_are_the_sorted_grades():
    _, grades = draw(3)
    np.testing.assert_array_equal(ideal_grades(grades, 9), -np.sort(-grades.astype(int), axis=1)[:, :9])
    assert ideal_grades(grades, 40).shape == (30, 40)


def test_ann_recall_is_the_share_of_the_exact_neighbours():
    exact = np.array([[1, 2, 3], [4, 5, 6], [7, -1, -1], [-1, -1, -1]])
    found = np.array([[3, 1, 9], [6, 5, 4], [8, 7, -1], [1, 2, 3]])
    np.testing.assert_allclose(ann_recall_at_k(found, exact, 3), [2 / 3, 1, 1, np.nan])
    np.testing.assert_allclose(ann_recall_at_k(found, exact, 1), [0, 0, 0, np.nan])


def test_ann_recall_takes_an_equal_neighbour_for_found_but_never_more_than_all():
    exact, found = np.array([[1, 2], [1, 2]]), np.array([[1, 9], [9, 8]])
    tied = np.array([[True, True], [True, True]])
    np.testing.assert_allclose(ann_recall_at_k(found, exact, 2), [0.5, 0])
    np.testing.assert_allclose(ann_recall_at_k(found, exact, 2, tied=tied), [1, 1])
    np.testing.assert_allclose(ann_recall_at_k(exact, exact, 2, tied=tied), [1, 1])


def test_average_leaves_out_and_counts():
    result = average(np.array([1.0, np.nan, 0.0, np.nan]))
    assert (result.value, result.queries, result.left_out) == (0.5, 2, 2)
    with pytest.raises(DataError, match="none of the 2 queries"):
        average(np.array([np.nan, np.nan]))


def test_bad_arguments_are_refused():
    with pytest.raises(InputError, match="query 1 and gallery row 0"):
        rank_rows(np.array([[0.0, 1.0], [np.nan, 1.0]], np.float32))
    for k in (0, -3):
        with pytest.raises(ParameterError):
            hit_rate_at_k(np.zeros((1, 3), np.uint8), np.ones(1, np.int64), k)
