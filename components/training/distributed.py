"""Several processes train as one: negatives, statistics and gradients cross between them."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

_PATIENCE = datetime.timedelta(hours=12)  # the first process may decode a whole catalogue before the others go on


@dataclass(frozen=True)
class Group:
    """The processes that train together; a process alone is a group of one, and then nothing is sent."""

    rank: int = 0
    size: int = 1

    def gather(self, values: Tensor) -> Tensor:
        """Return the (size · b, …) values of all processes in order of rank; gradients flow back to each owner."""
        return cast(Tensor, _Gather.apply(values, self.rank, self.size)) if self.size > 1 else values

    def sum(self, value: Tensor) -> Tensor:
        """Return the sum over all processes, without gradient."""
        if self.size == 1:
            return value.detach()
        total = value.detach().clone()
        dist.all_reduce(total)
        return total

    def same(self, value: Tensor) -> Tensor:
        """Return the first process's value."""
        if self.size > 1:
            dist.broadcast(value, 0)
        return value

    def sum_gradients(self, module: nn.Module) -> None:
        """Add the gradients of all processes, in one message."""
        if self.size == 1:
            return
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def process_group() -> Iterator[Group]:
    """Join the group that torchrun announces in the environment; without torchrun, a group of one."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Group()
        return
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=_PATIENCE)
    try:
        yield Group(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, rank: int, size: int) -> Tensor:
        ctx.rank, ctx.size = rank, size
        parts = [torch.empty_like(values, memory_format=torch.contiguous_format) for _ in range(size)]
        dist.all_gather(parts, values.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)  # every process has a part of the loss in which these values occur
        return total.chunk(ctx.size)[ctx.rank], None, None


class GroupBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation by the statistics of all processes' images, on any device.

    torch's SyncBatchNorm refuses CPU tensors; without it two processes would not learn what one does.
    """

    def forward(self, values: Tensor) -> Tensor:
        """Normalise (b, c) or (b, c, h, w); b is the same in every process."""
        if not self.training:
            return super().forward(values)
        exact = values.float()
        over = [axis for axis in range(values.ndim) if axis != 1]
        shape = [-1] + [1] * (values.ndim - 2)
        mean = _mean_over_group(exact.mean(over))
        centred = exact - mean.view(shape)
        variance = _mean_over_group(centred.square().mean(over))
        self._remember(mean.detach(), variance.detach(), values)
        scale = torch.rsqrt(variance + self.eps) * self.weight
        return (centred * scale.view(shape) + self.bias.view(shape)).to(values.dtype)

    def _check_input_dim(self, input: Tensor) -> None:  # torch's name
        assert input.ndim in {2, 4}

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, values: Tensor) -> None:
        if not self.momentum:
            return
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        count = values.numel() // values.shape[1] * dist.get_world_size()
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / max(count - 1, 1)), self.momentum)
        self.num_batches_tracked += 1


class _MeanOverGroup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total / dist.get_world_size()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total / dist.get_world_size()


def _mean_over_group(values: Tensor) -> Tensor:
    return cast(Tensor, _MeanOverGroup.apply(values))


def share_statistics(module: nn.Module) -> None:
    """Replace every batch normalisation below `module` by one whose statistics are the group's."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
            shared = GroupBatchNorm(child.num_features, child.eps, child.momentum)
            shared.load_state_dict(child.state_dict())
            setattr(module, name, shared)
        else:
            share_statistics(child)
