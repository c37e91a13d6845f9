"""Convolutions as matrix products, against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from components.training.convolution import Convolution, PatchProduct, convert

SHAPES = [(3, 1, 1), (3, 2, 1), (1, 1, 0), (1, 2, 0), (3, 1, 0), (5, 2, 2)]


def random(*shape: int, seed: int = 0, kind: torch.dtype = torch.float64) -> torch.Tensor:
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return values.to(kind).requires_grad_()


@pytest.mark.parametrize(("side", "stride", "padding"), SHAPES)
def test_values_and_gradients_are_those_of_torch(side: int, stride: int, padding: int) -> None:
    images, weight = random(2, 3, 6, 5), random(4, 3, side, side, seed=1)
    ours = PatchProduct.apply(images, weight, stride, padding)
    theirs = nn.functional.conv2d(images, weight, stride=stride, padding=padding)
    torch.testing.assert_close(ours, theirs)
    upstream = torch.randn(theirs.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for found, expected in zip(
        torch.autograd.grad(ours, (images, weight), upstream),
        torch.autograd.grad(theirs, (images, weight), upstream),
        strict=True,
    ):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_against_finite_differences(stride: int) -> None:
    arguments = (random(1, 2, 4, 4), random(2, 2, 3, 3, seed=1), stride, 1)
    assert torch.autograd.gradcheck(PatchProduct.apply, arguments)


def make_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
        nn.Conv2d(8, 8, 3, padding=1, groups=2, bias=False),
        nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=True), nn.Conv2d(8, 8, (1, 3), bias=False)),
    )


def test_conversion_keeps_names_values_and_what_it_does_not_know() -> None:
    network = make_network()
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    convert(network)
    assert [type(m) for m in network.modules() if isinstance(m, nn.Conv2d)] == [Convolution] + 3 * [nn.Conv2d]
    assert network.state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("tiles", [True, False])
@pytest.mark.parametrize(("kind", "side", "training", "product"), [
    (torch.bfloat16, 8, True, True),
    (torch.bfloat16, 10, True, False),  # more than sixteen pixels
    (torch.bfloat16, 8, False, False),  # what is exported and served is torch's convolution
    (None, 8, True, False),
])  # fmt: skip
def test_the_product_runs_where_it_is_faster_and_agrees(
    monkeypatch: pytest.MonkeyPatch, tiles: bool, kind: torch.dtype | None, side: int, training: bool, product: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
    plain = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
    ours = nn.Sequential(plain)
    convert(ours)
    ours.train(training)
    images = random(4, 3, side, side, kind=torch.float32)
    with torch.autocast("cpu", torch.bfloat16, enabled=kind is not None):
        found, expected = ours(images), plain(images)
    assert type(found.grad_fn).__name__.startswith("PatchProduct") == (product and tiles)
    assert found.dtype is expected.dtype
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)
    gradients = [torch.autograd.grad(result.float().square().sum(), plain.weight)[0] for result in (found, expected)]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=3e-2, atol=3e-1)
    assert gradients[0].dtype is torch.float32
