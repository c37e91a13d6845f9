from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from components.training.optimiser import WeightAverage, build_optimiser, learning_rate, scale_gradients
from support.inputs.training_inputs import SMALL


def test_learning_rate_rises_and_then_falls_like_a_cosine() -> None:
    parameters = SMALL.model_copy(update={"learning_rate": 1.0, "warm_up_share": 0.1})
    rates = [learning_rate(step, 100, parameters) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (k + 1) for k in range(10)])
    assert rates[55] == pytest.approx(0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * 45 / 90)))
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0.01 <= rates[-1] < 0.012


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_only_matrices_and_kernels_decay(name: str) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    optimiser = build_optimiser(network, SMALL.model_copy(update={"optimiser": name, "weight_decay": 0.3}))
    decays = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert {parameter: decays[id(value)] for parameter, value in network.named_parameters()} == {
        "0.weight": 0.3,
        "0.bias": 0.0,
        "1.weight": 0.0,
        "1.bias": 0.0,
        "2.weight": 0.3,
        "2.bias": 0.0,
    }


def test_average_follows_slower_and_slower_and_takes_statistics_along() -> None:
    network = nn.BatchNorm1d(1)
    average = WeightAverage(network, 0.9)
    expected = 1.0
    for step in range(200):
        with torch.no_grad():
            network.weight.fill_(step)
            network.running_mean.fill_(step)
            network.num_batches_tracked.fill_(step)
        average.update(network, step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert float(average.encoder.weight) == pytest.approx(expected, rel=1e-5)
    assert int(average.encoder.num_batches_tracked) == 199
    assert 185 < float(average.encoder.running_mean) < 195
    assert not average.encoder.weight.requires_grad


def test_gradients_are_scaled_down_to_the_norm_and_never_up() -> None:
    layer = nn.Linear(2, 1, bias=False)
    for given, expected in (([3.0, 4.0], 1.0), ([0.3, 0.4], 0.5)):
        layer.weight.grad = torch.tensor([given])
        scale_gradients(layer, 1.0)
        assert float(layer.weight.grad.norm()) == pytest.approx(expected, rel=1e-4)
