from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.shared.truth.relevance import RelevanceRule
from components.training.relations import Relations, batch_targets
from support.inputs.training_inputs import make_pairs, make_relevance

RULES = [RelevanceRule(), RelevanceRule(same_category=2), RelevanceRule(same_item=1, same_category=1)]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from(RULES), st.booleans())
def test_tiles_follow_the_grades_of_relevance_the_pairs_and_the_people(
    seed: int, rule: RelevanceRule, single: bool
) -> None:
    rng = np.random.default_rng(seed)
    n = 12
    judged = {(int(a), int(b)): int(g) for a, b, g in rng.integers(0, [n, n, 4], (6, 3)) if a != b}
    judged = {key: grade for key, grade in judged.items() if key[::-1] not in judged}
    relevance = make_relevance(n, seed=seed, rule=rule, judged=judged)
    triples = {(int(a), int(b)): 0.5 for a, b in rng.integers(0, n, (8, 2))}
    triples |= dict.fromkeys(list(judged)[:2], 0.5)  # clicked together, and judged as well
    relations = Relations(relevance, make_pairs(*((a, b, w) for (a, b), w in triples.items())))
    images = rng.integers(0, n, (4, 2))
    for pair in images:  # a person who says "unrelated" is not contradicted by the sampler
        if judged.get(tuple(pair), judged.get(tuple(pair[::-1]), 3)) < 2:
            pair[1] = pair[0]
    weights = rng.random(4).astype(np.float32) + 0.5
    targets = batch_targets(relations, images, weights, single=single)
    positives, allowed = targets.tile(0, 8)
    halves = [targets.tile(0, 3), targets.tile(3, 8)]
    assert torch.equal(positives, torch.cat([half[0] for half in halves]))
    assert torch.equal(allowed, torch.cat([half[1] for half in halves]))

    views = images.reshape(-1)
    grades = relevance.grades(np.arange(n), np.arange(n))
    for i, anchor in enumerate(views):
        for j, candidate in enumerate(views):
            related = _relation(int(anchor), int(candidate), grades, judged, triples)
            if j == (i ^ 1):
                related = max(related, float(weights[i // 2]))
            if i == j:
                expected = (0.0, False)
            elif single:
                expected = (1.0, True) if j == (i ^ 1) else (0.0, related == 0)
            else:
                expected = (related, True)
            assert (float(positives[i, j]), bool(allowed[i, j])) == (pytest.approx(expected[0]), expected[1]), (i, j)


def _relation(
    anchor: int,
    candidate: int,
    grades: np.ndarray,
    judged: dict[tuple[int, int], int],
    pairs: dict[tuple[int, int], float],
) -> float:
    if anchor == candidate:
        return 1.0
    for key in ((anchor, candidate), (candidate, anchor)):
        if key in judged:
            return float(judged[key] >= 2)
    if grades[anchor, candidate] >= 2:
        return 1.0
    return max(pairs.get((anchor, candidate), 0.0), pairs.get((candidate, anchor), 0.0))


def test_part_of_a_process_is_the_same_rows_of_the_whole() -> None:
    relations = Relations(make_relevance(20, seed=0), make_pairs((0, 5, 1.0)))
    images = np.random.default_rng(0).integers(0, 20, (6, 2))
    weights = np.arange(1, 7, dtype=np.float32)
    whole = batch_targets(relations, images, weights).tile(0, 12)
    part = batch_targets(relations, images, weights, first=2, count=2)
    assert torch.equal(part.anchor_weights, torch.tensor([3.0, 3.0, 4.0, 4.0]))
    for mine, all_of_it in zip(part.tile(0, 4), whole, strict=True):
        assert torch.equal(mine, all_of_it[4:8])
