"""InfoNCE over pairs, NT-Xent and its multi-positive form, tile by tile with the gradient in closed form.

For anchor i with positives p of weight w_ip (Σ_p w_ip = W_i), allowed candidates A(i) and similarity s_ij = z_i·z_j / τ:

    loss_i = log Σ_{j ∈ A(i)} exp s_ij − Σ_p (w_ip / W_i) s_ip        ∂loss_i/∂s_ij = softmax_j(s_i) − w_ij / W_i

One positive per anchor gives InfoNCE and NT-Xent, several give L_out of SupCon. Only one tile of rows exists at a time,
so that memory grows with the candidates, not with their square.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from components.shared.errors import NoPositivePairError

TILE_ELEMENTS = 1 << 21  # similarities held at once: 8 MB each for a handful of buffers


class Targets(Protocol):
    """What the loss needs to know about m anchors and n candidates."""

    @property
    def anchor_weights(self) -> Tensor:
        """(m,) float32 ≥ 0: how much each anchor counts."""

    def tile(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Return, for anchors start:stop, positive weights (r, n) float32 ≥ 0 and allowed candidates (r, n) bool.

        Positives must be allowed.
        """


def contrastive_loss(anchors: Tensor, candidates: Tensor, targets: Targets, temperature: float) -> Tensor:
    """Return the weighted mean loss over the anchors that have a positive.

    Args:
        anchors: (m, d) float32 unit vectors.
        candidates: (n, d) float32 unit vectors.
        targets: positives and allowed candidates.
        temperature: τ > 0.

    Returns:
        A scalar with gradients for anchors and candidates.

    Raises:
        NoPositivePairError: no anchor has a positive; 0 would look like a perfect encoder.

    Source:
        InfoNCE arXiv:1807.03748 eq. 4; NT-Xent arXiv:2002.05709 eq. 1; SupCon arXiv:2004.11362 eq. 2 (L_out).
    """
    total, weight = contrastive_sum(anchors, candidates, targets, temperature)
    return total / require_positives(weight)


def require_positives(weight: Tensor) -> Tensor:
    """Return the total weight of the anchors that have a positive.

    Raises:
        NoPositivePairError: it is 0.
    """
    if not float(weight) > 0:
        raise NoPositivePairError(
            "a batch holds no positive pair, so that there is nothing to learn from it; "
            "check the pairs table, or make batches larger"
        )
    return weight


def contrastive_sum(anchors: Tensor, candidates: Tensor, targets: Targets, temperature: float) -> tuple[Tensor, Tensor]:
    """Return the weighted sum of the anchors' losses and the sum of their weights; arguments as `contrastive_loss`.

    Anchors without a positive count in neither.
    """
    total, weight = _TiledLoss.apply(anchors.float(), candidates.float(), targets, temperature)
    return total, weight


class _TiledLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, anchors: Tensor, candidates: Tensor, targets: Targets, temperature: float
    ) -> tuple[Tensor, Tensor]:
        with torch.autocast(anchors.device.type, enabled=False):
            total, weight, gradients = _run(anchors, candidates, targets, temperature, any(ctx.needs_input_grad))
        ctx.save_for_backward(*gradients)
        ctx.mark_non_differentiable(weight)
        return total, weight

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None, None]:
        anchors, candidates = ctx.saved_tensors
        return gradient * anchors, gradient * candidates, None, None


def _run(
    anchors: Tensor, candidates: Tensor, targets: Targets, temperature: float, with_gradient: bool
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    total, weight = anchors.new_zeros(()), anchors.new_zeros(())
    to_anchors, to_candidates = torch.zeros_like(anchors), torch.zeros_like(candidates)
    rows = max(1, TILE_ELEMENTS // len(candidates))
    for start in range(0, len(anchors), rows):
        block = anchors[start : start + rows]
        positives, allowed = targets.tile(start, start + len(block))
        mass = positives.sum(1)
        counted = torch.where(mass > 0, targets.anchor_weights[start : start + rows], 0)
        share = positives.div_(mass.clamp(min=torch.finfo(mass.dtype).tiny)[:, None])
        scores = (block @ candidates.T).div_(temperature)
        pulled = torch.einsum("rn,rn->r", scores, share)
        scores.masked_fill_(~allowed, -torch.inf)
        normaliser = torch.logsumexp(scores, 1)
        losses = torch.where(mass > 0, normaliser - pulled, 0)
        total += counted @ losses
        weight += counted.sum()
        if with_gradient:
            normaliser = torch.where(mass > 0, normaliser, 0)  # an anchor with no candidate at all would give NaN
            slope = scores.sub_(normaliser[:, None]).exp_().sub_(share).mul_((counted / temperature)[:, None])
            torch.mm(slope, candidates, out=to_anchors[start : start + rows])
            to_candidates.addmm_(slope.T, block)
    return total, weight, (to_anchors, to_candidates) if with_gradient else ()
