"""Answers of rankers against explicit loops over a small gallery."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pyarrow as pa
import pytest

from components.evaluation import measurement
from components.evaluation.gallery import Gallery
from components.evaluation.measurement import METRICS, Ranker, measure, without_own
from components.shared.files.tables import CATALOGUE
from components.shared.truth.relevance import Relevance, RelevanceRule
from support.factories.basics import EPOCH, make_vectors


def make_gallery(n: int = 40, items: int = 12, seed: int = 0) -> Gallery:
    rng = np.random.default_rng(seed)
    item = rng.integers(0, items, n)
    rows = [
        {
            "image_id": f"i{k:03d}",
            "item_id": f"item-{item[k]}",
            "uri": f"{k}.jpg",
            "sha256": "0",
            "width": 1,
            "height": 1,
            "category": "even" if item[k] % 2 == 0 else None,
            "is_public": True,
            "is_appropriate": True,
            "added_at": EPOCH,
            "split": "test",
            "duplicate_group": f"{k}",
        }
        for k in range(n)
    ]
    images = pa.Table.from_pylist(rows, CATALOGUE.schema)
    truths = {
        "all": Relevance.of(images, None, RelevanceRule(same_category=1)),
        "item": Relevance.of(images, None, RelevanceRule()),
        "category": Relevance.of(images, None, RelevanceRule(same_item=2, same_category=2)),
    }
    queries = np.sort(rng.choice(n, n - 7, replace=False)).astype(np.int64)
    return Gallery(images, queries, truths, np.zeros(len(queries), bool), 0)


def test_measuring_equals_explicit_loops():
    gallery = make_gallery()
    vectors = make_vectors(gallery.size, 8, seed=1)
    outcome = measure(gallery, [Ranker("trained", "t", vectors)], seed=0)["trained"]
    for place, query in enumerate(gallery.queries):
        others = [row for row in range(gallery.size) if row != query]
        order = sorted(others, key=lambda row: (-float(np.float32(vectors[query] @ vectors[row])), row))
        grades = {row: int(gallery.truths["all"].grades(np.array([query]), np.array([row]))[0, 0]) for row in others}
        relevant = [row for row in others if grades[row] >= 2]
        np.testing.assert_array_equal(outcome.top_rows[place], order[:20])
        np.testing.assert_array_equal(outcome.top_grades[place], [grades[row] for row in order[:20]])
        if relevant:
            ranks = [order.index(row) + 1 for row in relevant]
            precision = np.mean([(i + 1) / rank for i, rank in enumerate(sorted(ranks))])
            assert outcome.metric("map")[place] == pytest.approx(precision)
            assert outcome.metric("mrr")[place] == pytest.approx(1 / min(ranks))
            assert outcome.first_relevant[place] == min(ranks)
            assert outcome.curve[place, 3] == np.mean([rank <= 5 for rank in ranks])
        else:
            assert np.isnan(outcome.metric("map")[place])
            assert outcome.first_relevant[place] == 0


def test_blocks_do_not_change_the_result(monkeypatch):
    gallery = make_gallery()
    rankers = [Ranker("trained", "t", make_vectors(gallery.size, 8)), Ranker("chance", "c")]
    whole = measure(gallery, rankers, seed=3)
    monkeypatch.setattr(measurement, "_BLOCK_ELEMENTS", gallery.size * 5)
    parts = measure(gallery, rankers, seed=3)
    for source in gallery.truths:
        np.testing.assert_allclose(whole["trained"].values[source], parts["trained"].values[source], atol=1e-12)
        np.testing.assert_allclose(whole["chance"].values[source], parts["chance"].values[source], atol=1e-12)


def test_chance_is_what_it_is_called():
    gallery = make_gallery(n=120, items=10)
    values = [
        measure(gallery, [Ranker("chance", "c")], seed=seed)["chance"].metric("hit_rate_at_1") for seed in range(20)
    ]
    grades = gallery.truths["all"].grades(gallery.queries, np.arange(gallery.size))
    expected = np.mean((grades >= 2).sum(axis=1) / (gallery.size - 1))
    assert np.nanmean(values) == pytest.approx(expected, abs=0.02)


def test_an_index_that_is_exact_measures_like_the_exact_search():
    gallery = make_gallery()
    vectors = make_vectors(gallery.size, 8)
    exact = measure(gallery, [Ranker("trained", "t", vectors)], seed=0)["trained"]
    scores = vectors[gallery.queries] @ vectors.T
    order = np.argsort(-scores, axis=1, kind="stable")
    answers = without_own(order, np.take_along_axis(scores, order, axis=1), gallery.queries, gallery.size - 1)
    index = measure(gallery, [Ranker("index", "i", answers=answers)], seed=0)["index"]
    np.testing.assert_allclose(index.values["all"], exact.values["all"])
    np.testing.assert_array_equal(index.top_rows, exact.top_rows)


def test_an_answer_that_ends_early_counts_as_filled_up():
    gallery = make_gallery()
    rows = np.full((len(gallery.queries), 60), -1, np.int64)
    outcome = measure(gallery, [Ranker("index", "i", answers=(rows, np.zeros(rows.shape, np.float32)))], seed=0)[
        "index"
    ]
    values = outcome.values["all"]
    assert np.nanmax(values) == 0
    grades = gallery.truths["all"].grades(gallery.queries, np.arange(gallery.size))
    np.testing.assert_array_equal(np.isnan(values[:, 0]), ~(grades >= 2).any(axis=1))


def test_a_querys_own_image_leaves_no_gap():
    rows = np.array([[4, 7, 2, 9], [1, 2, 3, -1]])
    scores = np.array([[0.9, 0.8, 0.7, 0.6], [0.9, 0.8, 0.7, -np.inf]], np.float32)
    kept, kept_scores = without_own(rows, scores, np.array([7, 5]), 3)
    np.testing.assert_array_equal(kept, [[4, 2, 9], [1, 2, 3]])
    np.testing.assert_allclose(kept_scores, [[0.9, 0.7, 0.6], [0.9, 0.8, 0.7]])


def test_every_metric_is_a_share():
    gallery = make_gallery()
    values = measure(gallery, [Ranker("trained", "t", make_vectors(gallery.size, 8))], seed=0)["trained"].values["all"]
    assert values.shape == (len(gallery.queries), len(METRICS))
    known = values[~np.isnan(values)]
    assert ((known >= 0) & (known <= 1)).all()


def test_memory_does_not_grow_with_queries_times_gallery():
    gallery = make_gallery(n=3000, items=600)
    vectors = make_vectors(gallery.size, 8)
    tracemalloc.start()
    measure(gallery, [Ranker("trained", "t", vectors)], seed=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    whole = (
        len(gallery.queries) * gallery.size * 8
    )  # rows of all answers: 72 MB; a block takes about as much for all it does
    assert peak < 1.5 * whole
