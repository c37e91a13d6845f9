"""The encoder of the benchmark: a ResNet-50 that has learnt for a few minutes to tell the pictures' products apart.

With random weights every rounding error doubles from block to block, and says nothing of how bf16, int8 or another decoder
change the answers of a trained network.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional
from torchvision.models.resnet import Bottleneck

from components.training.augment import Augmentation, augment, draw
from components.training.encoder import Encoder, build_encoder
from components.training.optimiser import build_optimiser, learning_rate
from components.training.parameters import TrainingParameters
from components.training.precision import choose_device, choose_type, mixed

ARCHITECTURE, DIMENSION = "resnet50", 256
_FILE = "weights.safetensors"
_PARAMETERS = TrainingParameters(
    architecture=ARCHITECTURE, training_side=224, dimension=DIMENSION, head="normed", device="cpu", learning_rate=0.05
)
_PAIRS = 16  # of a step
_SMALL, _SMALL_SHARE = 112, 0.8  # most steps see smaller pictures, which cost a quarter
_TEMPERATURE = 0.1
_BRANCH_GAIN = 0.2  # residual branches begin with little, and so learn sooner


def make_network(squares: np.ndarray, products: np.ndarray, steps: int) -> Encoder:
    """Return an encoder that brings two views of one product together and keeps those of others apart (NT-Xent).

    Args:
        squares: (n, 224, 224, 3) uint8, preprocessed pictures.
        products: (n,) what each shows.
        steps: of the optimiser; 0: random weights.
    """
    network = build_encoder(_PARAMETERS)
    for module in network.modules():
        if isinstance(module, Bottleneck):
            nn.init.constant_(module.bn3.weight, _BRANCH_GAIN)
    optimiser, kind = build_optimiser(network, _PARAMETERS), choose_type(_PARAMETERS, torch.device("cpu"))
    network.train()
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, steps, _PARAMETERS)
        views = torch.from_numpy(_views(squares, products, step, _SMALL if step < _SMALL_SHARE * steps else 224))
        optimiser.zero_grad(set_to_none=True)
        with mixed(choose_device(_PARAMETERS, 0), kind):
            embeddings = network(views)
        scores = embeddings @ embeddings.T / _TEMPERATURE
        scores = scores.masked_fill(torch.eye(len(scores), dtype=torch.bool), -torch.inf)
        functional.cross_entropy(scores, torch.arange(len(scores)) ^ 1).backward()
        optimiser.step()
    return _with_statistics_of(network, squares)


def save_network(network: Encoder, folder: Path) -> None:
    """Write the weights."""
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(weights, folder / _FILE)


def load_network(folder: Path) -> Encoder:
    """Return the network that was saved."""
    return build_encoder(_PARAMETERS.model_copy(update={"weights": str(folder / _FILE)})).eval()


def _views(squares: np.ndarray, products: np.ndarray, step: int, side: int) -> np.ndarray:
    """Return (2 pairs, side, side, 3) uint8: two pictures of each of some products, one after the other, changed at random."""
    chance = np.random.default_rng(step)
    known = np.unique(products)
    rows = [
        row
        for product in chance.choice(known, min(_PAIRS, len(known)), replace=False)
        for row in chance.permutation(np.resize(np.flatnonzero(products == product), max(2, (products == product).sum())))[:2]
    ]  # fmt: skip
    changes = Augmentation(side=side)
    return np.stack(
        [augment(squares[row], each, changes) for row, each in zip(rows, draw(0, 0, step, len(rows)), strict=True)]
    )


def _with_statistics_of(network: Encoder, squares: np.ndarray) -> Encoder:
    """Let batch normalisation know the statistics of whole pictures: the plain mean of all batches."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = None
            module.reset_running_stats()
    with torch.no_grad():
        for start in range(0, len(squares) - len(squares) % 32, 32):
            network(torch.from_numpy(squares[start : start + 32]))
    return network.eval()
