"""InfoNCE over pairs, NT-Xent and its multi-positive forms, tile by tile with the gradient in closed form.

For anchor i with positives p of weight w_ip (Σ_p w_ip = W_i, v_ip = w_ip / W_i), allowed candidates A(i), negatives
N(i) = A(i) without positives, and similarity s_ij = z_i·z_j / τ:

    shared   loss_i = log Σ_{j ∈ A(i)} exp s_ij − Σ_p v_ip s_ip
             ∂loss_i/∂s_ij = softmax_{A(i)}(s_i)_j − v_ij
    each     loss_i = Σ_p v_ip · (log(exp s_ip + Σ_{j ∈ N(i)} exp s_ij) − s_ip)
             with q_ip = Σ_N exp s_ij / (exp s_ip + Σ_N exp s_ij):
             ∂loss_i/∂s_ip = −v_ip q_ip   and   ∂loss_i/∂s_ij = softmax_{N(i)}(s_i)_j · Σ_p v_ip q_ip

With one positive per anchor both are InfoNCE and NT-Xent. With several, the first is L_out of SupCon, in which positives
compete with each other; the second is the mean of one InfoNCE (query, positive, n − 1 negatives) per positive. Only one
tile of rows exists at a time, so that memory grows with the candidates, not with their square.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from components.shared.errors import NoPositivePairError

_NOTHING = -1e4  # far below any similarity over any temperature
TILE_ELEMENTS = 1 << 20  # similarities held at once: 4 MB for each of a handful of buffers


class Targets(Protocol):
    """What the loss needs to know about m anchors and n candidates."""

    @property
    def anchor_weights(self) -> Tensor:
        """(m,) float32 ≥ 0: how much each anchor counts."""

    def tile(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Return, for anchors start:stop, positive weights (r, n) float32 ≥ 0 and allowed candidates (r, n) bool.

        Positives must be allowed.
        """


def contrastive_loss(
    anchors: Tensor, candidates: Tensor, targets: Targets, temperature: float, *, each: bool = False
) -> Tensor:
    """Return the weighted mean loss over the anchors that have a positive.

    Args:
        anchors: (m, d) float32 unit vectors.
        candidates: (n, d) float32 unit vectors.
        targets: positives and allowed candidates.
        temperature: τ > 0.
        each: every positive alone against the negatives, rather than sharing the anchor's probability.

    Returns:
        A scalar with gradients for anchors and candidates.

    Raises:
        NoPositivePairError: no anchor has a positive; 0 would look like a perfect encoder.

    Source:
        InfoNCE arXiv:1807.03748 eq. 4; NT-Xent arXiv:2002.05709 eq. 1; SupCon arXiv:2004.11362 eq. 2 (L_out).
    """
    total, weight = contrastive_sum(anchors, candidates, targets, temperature, each=each)
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


def contrastive_sum(
    anchors: Tensor, candidates: Tensor, targets: Targets, temperature: float, *, each: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the weighted sum of the anchors' losses and the sum of their weights; arguments as `contrastive_loss`.

    Anchors without a positive count in neither.
    """
    total, weight = _TiledLoss.apply(anchors.float(), candidates.float(), targets, temperature, each)
    return total, weight


class _TiledLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, anchors: Tensor, candidates: Tensor, targets: Targets, temperature: float, each: bool
    ) -> tuple[Tensor, Tensor]:
        with torch.autocast(anchors.device.type, enabled=False):
            total, weight, gradients = _run(anchors, candidates, targets, temperature, each, any(ctx.needs_input_grad))
        ctx.save_for_backward(*gradients)
        ctx.mark_non_differentiable(weight)
        return total, weight

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        anchors, candidates = ctx.saved_tensors
        return gradient * anchors, gradient * candidates, None, None, None


def _run(
    anchors: Tensor, candidates: Tensor, targets: Targets, temperature: float, each: bool, with_gradient: bool
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    total, weight = anchors.new_zeros(()), anchors.new_zeros(())
    to_anchors, to_candidates = torch.zeros_like(anchors), torch.zeros_like(candidates)
    rows = max(1, TILE_ELEMENTS // len(candidates))
    tile = _each_tile if each else _shared_tile
    for start in range(0, len(anchors), rows):
        block = anchors[start : start + rows]
        positives, allowed = targets.tile(start, start + len(block))
        mass = positives.sum(1)
        counted = torch.where(mass > 0, targets.anchor_weights[start : start + rows], 0)
        share = positives.div_(mass.clamp(min=torch.finfo(mass.dtype).tiny)[:, None])
        losses, slope = tile((block / temperature) @ candidates.T, share, allowed)
        total += counted @ torch.where(mass > 0, losses, 0)
        weight += counted.sum()
        if with_gradient:
            scale = (counted / temperature)[:, None]  # of the narrow factors: the slope is wide
            torch.mm(slope, candidates, out=to_anchors[start : start + rows]).mul_(scale)
            to_candidates.addmm_(slope.T, block * scale)
    return total, weight, (to_anchors, to_candidates) if with_gradient else ()


def _shared_tile(scores: Tensor, share: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
    """Return the losses (r,) and their slopes (r, n) over the scores; scores and share are used up."""
    pulled = torch.linalg.vecdot(scores, share)
    normaliser, probabilities = _softmax(scores.masked_fill_(~allowed, -torch.inf))
    return normaliser - pulled, probabilities.sub_(share)


def _each_tile(scores: Tensor, share: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
    """Return the losses (r,) and their slopes (r, n) over the scores; scores and share are used up."""
    normaliser, probabilities = _softmax(scores.masked_fill(~allowed | (share > 0), -torch.inf))
    margin = scores.sub_(normaliser[:, None]).neg_()
    losses = torch.linalg.vecdot(torch.nn.functional.softplus(margin), share)
    pull = share.mul_(margin.sigmoid_())
    return losses, probabilities.mul_(pull.sum(1, keepdim=True)).sub_(pull)


def _softmax(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return log Σ exp (r,) and softmax (r, n) of every row, in place; a row without any candidate has neither weight.

    One pass of exponentials serves both.
    """
    highest = scores.amax(1).clamp_(min=_NOTHING)
    total = scores.sub_(highest[:, None]).exp_().sum(1)
    some = total.clamp(min=torch.finfo(total.dtype).tiny)
    return highest + some.log(), scores.div_(some[:, None])
