"""The optimiser, its learning rate over the steps, and the moving average of the weights."""

from __future__ import annotations

import copy
import math
from typing import cast

import torch
from timm.models import group_parameters
from torch import Tensor, nn

from components.training.parameters import TrainingParameters


def build_optimiser(
    encoder: nn.Module, parameters: TrainingParameters, *, fine_tuning: bool = False
) -> torch.optim.Optimizer:
    """Build the optimiser. Matrices and kernels decay; biases, norms and position embeddings do not.

    Args:
        encoder: the network.
        parameters: kind of optimiser, rates and decay.
        fine_tuning: only the last groups of layers learn, each at `full_layer_decay` times the rate of the next one; the
            others are frozen. A group's "scale" is its rate relative to the peak.
    """
    scales = layer_scales(encoder, parameters) if fine_tuning else {}
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in encoder.named_parameters():
        scale = scales.get(name, 1.0)
        if scale == 0:
            parameter.requires_grad_(False)
            continue
        groups.setdefault((parameter.ndim in {2, 4}, scale), []).append(parameter)
    listed = [
        {"params": found, "weight_decay": parameters.weight_decay if decays else 0.0, "scale": scale}
        for (decays, scale), found in sorted(groups.items(), key=lambda each: each[0], reverse=True)
    ]
    if parameters.optimiser == "sgd":
        return torch.optim.SGD(listed, lr=parameters.learning_rate, momentum=0.9, nesterov=True, fused=True)
    return torch.optim.AdamW(listed, lr=parameters.learning_rate, fused=True)


def layer_scales(encoder: nn.Module, parameters: TrainingParameters) -> dict[str, float]:
    """Return, for each parameter of the backbone, its learning rate relative to the projection's; 0: frozen.

    Source:
        Layer-wise decay as in BEiT, arXiv:2106.08254, appendix; the groups are timm's.
    """
    backbone = cast(nn.Module, encoder.backbone)
    matcher = getattr(backbone, "group_matcher", None)
    if matcher is None:  # this project's own networks: everything learns
        return {}
    found = group_parameters(backbone, matcher(coarse=False), reverse=True)
    depths = {name: int(depth) for name, depth in found.items()}
    deepest = max(depths.values(), default=0)
    frozen = (1 - parameters.full_share) * (deepest + 1)
    return {
        f"backbone.{name}": 0.0 if depth < frozen else parameters.full_layer_decay ** (deepest - depth + 1)
        for name, depth in depths.items()
    }


def learning_rate(step: int, steps: int, parameters: TrainingParameters) -> float:
    """Return the learning rate of a step counted from 0: a linear rise, then half a cosine down to 1 % of the peak.

    Source:
        SGDR arXiv:1608.03983 eq. 5, without restarts.
    """
    rise = max(1, round(steps * parameters.warm_up_share))
    if step < rise:
        return parameters.learning_rate * (step + 1) / rise
    done = (step - rise) / max(1, steps - rise)
    return parameters.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * min(1.0, done))) / 2)


class WeightAverage:
    """An exponential moving average of an encoder's weights and batch statistics, young at first and slower later.

    Source:
        Polyak averaging as in MoCo arXiv:1911.05722 eq. 2; the decay of the first steps is (1 + t) / (10 + t).
    """

    def __init__(self, encoder: nn.Module, decay: float) -> None:
        self.encoder = copy.deepcopy(encoder).eval().requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, encoder: nn.Module, step: int) -> None:
        """Move the average towards `encoder`; `step` counts from 0."""
        weight = 1 - min(self._decay, (1 + step) / (10 + step))
        averaged, current = self.encoder.state_dict(), encoder.state_dict()
        floats = [name for name, value in averaged.items() if value.is_floating_point()]
        torch._foreach_lerp_([averaged[name] for name in floats], [current[name] for name in floats], weight)
        for name in averaged.keys() - set(floats):
            averaged[name].copy_(current[name])


def scale_gradients(encoder: nn.Module, norm: float) -> Tensor:
    """Scale the gradients down to the given total norm; return the norm that they had."""
    return torch.nn.utils.clip_grad_norm_([p for p in encoder.parameters() if p.requires_grad], norm)
