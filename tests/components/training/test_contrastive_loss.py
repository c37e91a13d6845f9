from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import components.training.contrastive_loss as module
from components.shared.errors import NoPositivePairError
from components.training.contrastive_loss import contrastive_loss, contrastive_sum
from support.inputs.training_inputs import unit


@dataclass
class Dense:
    positives: torch.Tensor
    allowed: torch.Tensor
    anchor_weights: torch.Tensor

    def tile(self, start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.positives[start:stop].clone(), self.allowed[start:stop].clone()


def make_targets(m: int, n: int, seed: int, *, positive_share: float = 0.2) -> Dense:
    generator = torch.Generator().manual_seed(seed)
    positives = torch.rand(m, n, generator=generator) * (torch.rand(m, n, generator=generator) < positive_share)
    allowed = (torch.rand(m, n, generator=generator) < 0.8) | (positives > 0)
    return Dense(positives, allowed, torch.rand(m, generator=generator) + 0.1)


def loss_by_loops(
    anchors: torch.Tensor, candidates: torch.Tensor, targets: Dense, temperature: float, *, each: bool = False
) -> torch.Tensor:
    """The definition, one anchor and one candidate at a time, in float64."""
    anchors, candidates = anchors.double(), candidates.double()
    total, weight = torch.zeros((), dtype=torch.float64), 0.0
    for i in range(len(anchors)):
        mass = sum(float(targets.positives[i, j]) for j in range(len(candidates)))
        if mass == 0:
            continue
        scores = [(anchors[i] * candidates[j]).sum() / temperature for j in range(len(candidates))]
        allowed = [j for j in range(len(candidates)) if targets.allowed[i, j]]
        loss = torch.zeros((), dtype=torch.float64)
        for p in range(len(candidates)):
            rivals = [j for j in allowed if not each or j == p or targets.positives[i, j] == 0]
            normaliser = torch.stack([torch.exp(scores[j]) for j in rivals]).sum()
            loss = loss - float(targets.positives[i, p]) / mass * (scores[p] - torch.log(normaliser))
        total = total + float(targets.anchor_weights[i]) * loss
        weight += float(targets.anchor_weights[i])
    return total / weight


@pytest.mark.parametrize("tile_elements", [1, 40, 1 << 20])
@pytest.mark.parametrize("temperature", [0.05, 0.5])
@pytest.mark.parametrize("each", [False, True])
def test_value_and_gradients_are_those_of_the_definition(
    monkeypatch: pytest.MonkeyPatch, tile_elements: int, temperature: float, each: bool
) -> None:
    monkeypatch.setattr(module, "TILE_ELEMENTS", tile_elements)
    targets = make_targets(9, 13, seed=1)
    anchors, candidates = unit(9, 6, 2).requires_grad_(), unit(13, 6, 3).requires_grad_()
    expected = loss_by_loops(anchors, candidates, targets, temperature, each=each)
    expected_gradients = torch.autograd.grad(expected, (anchors, candidates))
    received = contrastive_loss(anchors, candidates, targets, temperature, each=each)
    gradients = torch.autograd.grad(3 * received, (anchors, candidates))
    assert float(received.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    for gradient, reference in zip(gradients, expected_gradients, strict=True):
        assert torch.allclose(gradient, 3 * reference, atol=1e-5 / temperature, rtol=1e-4)


@pytest.mark.parametrize("each", [False, True])
def test_one_positive_among_all_is_cross_entropy(each: bool) -> None:
    anchors, candidates = unit(8, 5, 0), unit(20, 5, 1)
    label = torch.arange(8) * 2
    positives = torch.nn.functional.one_hot(label, 20).float()
    targets = Dense(positives, torch.ones(8, 20, dtype=torch.bool), torch.ones(8))
    expected = torch.nn.functional.cross_entropy(anchors @ candidates.T / 0.1, label)
    assert float(contrastive_loss(anchors, candidates, targets, 0.1, each=each)) == pytest.approx(
        float(expected), rel=1e-5
    )


def test_batch_against_itself_gives_one_gradient_from_both_sides() -> None:
    targets = make_targets(7, 7, seed=5)
    values = unit(7, 4, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(contrastive_loss(values, values, targets, 0.2), values)
    (expected,) = torch.autograd.grad(loss_by_loops(values, values, targets, 0.2), values)
    assert torch.allclose(gradient, expected.float(), atol=1e-5)


def test_batch_without_positives_is_an_error_and_not_zero() -> None:
    targets = make_targets(4, 6, seed=0, positive_share=0)
    with pytest.raises(NoPositivePairError, match="no positive pair"):
        contrastive_loss(unit(4, 3, 0), unit(6, 3, 1), targets, 0.1)


@pytest.mark.parametrize("each", [False, True])
def test_anchor_without_positive_counts_neither_in_sum_nor_in_weight(each: bool) -> None:
    targets = make_targets(4, 6, seed=0, positive_share=1)
    targets.positives[2] = 0
    targets.allowed[2] = False  # not even a candidate: no NaN may come of it
    anchors = unit(4, 3, 0).requires_grad_()
    total, weight = contrastive_sum(anchors, unit(6, 3, 1), targets, 0.1, each=each)
    (gradient,) = torch.autograd.grad(total, anchors)
    kept = [0, 1, 3]
    rest = Dense(targets.positives[kept], targets.allowed[kept], targets.anchor_weights[kept])
    expected, expected_weight = contrastive_sum(anchors[kept], unit(6, 3, 1), rest, 0.1, each=each)
    assert float(total.detach()) == pytest.approx(float(expected.detach()))
    assert float(weight) == pytest.approx(float(expected_weight))
    assert torch.isfinite(gradient).all()
    assert (gradient[2] == 0).all()


def test_positives_without_any_negative_leave_nothing_to_learn() -> None:
    anchors = unit(3, 4, 0).requires_grad_()
    targets = Dense(torch.ones(3, 3), torch.ones(3, 3, dtype=torch.bool), torch.ones(3))
    loss = contrastive_loss(anchors, unit(3, 4, 1), targets, 0.1, each=True)
    (gradient,) = torch.autograd.grad(loss, anchors)
    assert float(loss.detach()) == 0
    assert (gradient == 0).all()


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 12), st.integers(0, 1000))
def test_order_of_candidates_does_not_matter_and_the_loss_is_not_below_its_bound(n: int, seed: int) -> None:
    targets = make_targets(n, n, seed, positive_share=0.5)
    if not (targets.positives.sum(1) > 0).any():
        return
    anchors, candidates = unit(n, 4, seed), unit(n, 4, seed + 1)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    shuffled = Dense(targets.positives[:, order], targets.allowed[:, order], targets.anchor_weights)
    value = float(contrastive_loss(anchors, candidates, targets, 0.1))
    assert float(contrastive_loss(anchors, candidates[order], shuffled, 0.1)) == pytest.approx(
        value, rel=1e-4, abs=1e-5
    )
    assert value > -1e-4
    assert math.isfinite(value)
