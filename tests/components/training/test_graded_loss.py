from __future__ import annotations

import numpy as np
import pytest
import torch

from components.shared.truth.relevance import RelevanceRule
from components.training.contrastive_loss import contrastive_sum
from components.training.graded_loss import Categories
from components.training.relations import Relations, batch_targets
from support.inputs.training_inputs import make_pairs, make_relevance, unit


@pytest.mark.parametrize("seed", range(4))
def test_second_level_is_the_category_without_the_first_level_and_people_overrule_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 14
    judged = {(0, 1): 1, (2, 3): 0, (4, 5): 3}
    relevance = make_relevance(n, seed=seed, rule=RelevanceRule(), judged=judged)
    pairs = make_pairs((6, 7, 0.5))
    images = rng.integers(0, n, (5, 2))
    first = batch_targets(Relations(relevance, pairs), images, np.ones(5, np.float32))
    views = images.reshape(-1)
    second = Categories(relevance).targets(first, views, views)
    positives, allowed = second.tile(0, 10)
    parts = [second.tile(0, 4), second.tile(4, 10)]
    assert torch.equal(positives, torch.cat([part[0] for part in parts]))
    related, _ = first.tile(0, 10)
    for i, anchor in enumerate(views):
        for j, candidate in enumerate(views):
            grade = judged.get((anchor, candidate), judged.get((candidate, anchor)))
            category = relevance.category_codes[anchor] == relevance.category_codes[candidate] >= 0
            if grade is not None:
                category = grade == 1
            takes_part = i != j and float(related[i, j]) == 0
            assert bool(allowed[i, j]) == takes_part, (i, j)
            assert float(positives[i, j]) == float(takes_part and category), (i, j)


def test_both_levels_order_item_before_category_before_the_rest() -> None:
    """Two items in one category and one in another: descent on the loss must rank them so."""
    relevance = make_relevance(6, seed=0)
    relevance.item_codes[:] = [0, 0, 1, 1, 2, 2]
    relevance.category_codes[:] = [0, 0, 0, 0, 1, 1]
    images = np.array([[0, 1], [2, 3], [4, 5]])
    first = batch_targets(Relations(relevance, make_pairs()), images, np.ones(3, np.float32))
    second = Categories(relevance).targets(first, images.reshape(-1), images.reshape(-1))
    free = unit(6, 8, 0).requires_grad_()
    optimiser = torch.optim.Adam([free], lr=0.05)
    for _ in range(150):
        vectors = torch.nn.functional.normalize(free, dim=1)
        total, weight = contrastive_sum(vectors, vectors, first, 0.2)
        akin, akin_weight = contrastive_sum(vectors, vectors, second, 0.4)
        optimiser.zero_grad()
        (total / weight + akin / akin_weight).backward()
        optimiser.step()
    scores = torch.nn.functional.normalize(free.detach(), dim=1)
    scores = scores @ scores.T
    assert scores[0, 1] > scores[0, 2:4].max() + 0.1
    assert scores[0, 2:4].min() > scores[0, 4:].max() + 0.1


def test_images_without_categories_have_no_second_level() -> None:
    relevance = make_relevance(4, seed=0)
    relevance.category_codes[:] = -1
    assert not Categories(relevance).relate_any
