"""The encoder of the benchmark: a ResNet-50, trained for a few minutes to distinguish the pictures' products.

With random weights every rounding error doubles from block to block, and reveals nothing about the effect of bf16, int8 or
another decoder on the answers of a trained network.
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
from components.training.precision import choose_type, mixed

ARCHITECTURE, DIMENSION = "resnet50", 256
_FILE = "weights.safetensors"
_PARAMETERS = TrainingParameters(
    architecture=ARCHITECTURE,
    training_side=224,
    dimension=DIMENSION,
    head="normed",
    device="cpu",
    optimiser="adamw",
    learning_rate=0.001,
)
_VIEWS = 32  # per step
_SMALL, _SMALL_SHARE = 112, 0.8  # most steps use smaller pictures, which cost a quarter
_SCALE = 10.0  # factor of the cosines, before the softmax
_BRANCH_GAIN = 0.2  # residual branches begin small, and so the network learns sooner


def make_network(squares: np.ndarray, products: np.ndarray, steps: int) -> Encoder:
    """Return an encoder trained to bring pictures of one product together and to keep those of others apart.

    Args:
        squares: (n, 224, 224, 3) uint8, preprocessed pictures.
        products: (n,) product of each, from 0.
        steps: steps of the optimiser; 0: random weights.

    Source: Wang et al., NormFace, 2017: softmax over the cosines with one learnt vector per product.
    """
    network = build_encoder(_PARAMETERS)
    for module in network.modules():
        if isinstance(module, Bottleneck):
            nn.init.constant_(module.bn3.weight, _BRANCH_GAIN)
    torch.manual_seed(0)
    centres = nn.Linear(DIMENSION, int(products.max()) + 1, bias=False)
    optimiser = build_optimiser(nn.ModuleList([network, centres]), _PARAMETERS)
    kind, cpu = choose_type(_PARAMETERS, torch.device("cpu")), torch.device("cpu")
    network.train()
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, steps, _PARAMETERS)
        rows = np.random.default_rng(step).permutation(len(squares))[:_VIEWS]
        changes = Augmentation(side=_SMALL if step < _SMALL_SHARE * steps else 224, crop_area=0.5)
        numbers = draw(0, 0, step, len(rows))
        views = np.stack([augment(squares[row], each, changes) for row, each in zip(rows, numbers, strict=True)])
        optimiser.zero_grad(set_to_none=True)
        with mixed(cpu, kind):
            embeddings = network(torch.from_numpy(views))
        cosines = embeddings @ functional.normalize(centres.weight, dim=1).T
        functional.cross_entropy(_SCALE * cosines, torch.from_numpy(products[rows])).backward()
        optimiser.step()
    return _with_statistics_of(network, squares)


def save_network(network: Encoder, folder: Path) -> None:
    """Write the weights."""
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(weights, folder / _FILE)


def load_network(folder: Path) -> Encoder:
    """Return the saved network."""
    return build_encoder(_PARAMETERS.model_copy(update={"weights": str(folder / _FILE)})).eval()


def _with_statistics_of(network: Encoder, squares: np.ndarray) -> Encoder:
    """Set the statistics of batch normalisation to those of whole pictures: the plain mean of all batches."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = None
            module.reset_running_stats()
    with torch.no_grad():
        mixed_up = np.random.default_rng(0).permutation(len(squares))
        for start in range(0, len(squares) - len(squares) % _VIEWS, _VIEWS):
            network(torch.from_numpy(squares[mixed_up[start : start + _VIEWS]]))
    return network.eval()
