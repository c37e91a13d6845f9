from __future__ import annotations

import numpy as np
import pytest

import components.training.validation as module
from components.shared.truth.relevance import Relevance, RelevanceRule
from components.training.validation import validate
from support.factories.basics import make_vectors
from support.inputs.training_inputs import make_relevance


def test_figures_are_those_of_explicit_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 7)
    n = 30
    relevance = make_relevance(n, seed=1, items=18, judged={(0, 1): 3, (2, 3): 0})
    vectors = make_vectors(n, 6, seed=2, clusters=5)
    grades = relevance.grades(np.arange(n), np.arange(n))
    hits, recalls, precisions = [], [], []
    for query in range(n):
        others = sorted((i for i in range(n) if i != query), key=lambda i: -float(vectors[query] @ vectors[i]))
        relevant = [grades[query, i] >= 2 for i in others]
        if not any(relevant):
            continue
        hits.append(relevant[0])
        recalls.append(sum(relevant[:10]) / sum(relevant))
        found = [sum(relevant[: rank + 1]) / (rank + 1) for rank in range(n - 1) if relevant[rank]]
        precisions.append(sum(found) / sum(relevant))
    figures = validate(vectors, relevance, np.arange(n))
    assert figures is not None
    assert figures.hit_rate_at_1 == pytest.approx(np.mean(hits))
    assert figures.recall_at_10 == pytest.approx(np.mean(recalls))
    assert figures.mean_average_precision == pytest.approx(np.mean(precisions))
    assert (figures.queries, figures.left_out) == (len(hits), n - len(hits))
    assert 0 < figures.left_out < n


def test_images_that_are_not_there_count_neither_as_queries_nor_as_relevant() -> None:
    relevance, rows = make_relevance(12, seed=1, judged={(0, 1): 3}), np.array([0, 2, 3, 5, 7, 11])
    vectors = make_vectors(12, 4, seed=2)[rows]
    alone = Relevance(relevance.item_codes[rows], relevance.category_codes[rows], {}, relevance.rule)
    assert validate(vectors, relevance, rows) == validate(vectors, alone, np.arange(6))


def test_nothing_relevant_gives_no_figure_rather_than_zero() -> None:
    relevance = make_relevance(5, seed=0, rule=RelevanceRule(same_item=0))
    assert validate(make_vectors(5, 4), relevance, np.arange(5)) is None
    assert validate(np.zeros((0, 4), np.float32), make_relevance(0, seed=0), np.arange(0)) is None
    assert validate(make_vectors(1, 4), make_relevance(1, seed=0), np.arange(1)) is None
