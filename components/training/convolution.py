"""Convolutions over a few pixels as matrix products, where a processor multiplies tiles of bf16 (AMX).

oneDNN sums a kernel's gradient over the pixels of one picture at a time. Where a picture has shrunk to 4 × 4 pixels, most of
a tile stays empty, and the last stages of a ResNet took half of a step. A product over the pixels of the whole batch fills
the tiles: 4 to 18 times as fast on 64 pictures of 512 channels (torch 2.14, oneDNN 3.12; benchmarks/training.py).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_input

MOST_PIXELS = 16  # of an output; at 7 × 7 oneDNN is as fast, and faster above


class Convolution(nn.Conv2d):
    """A Conv2d that trains as a matrix product where that is faster; otherwise, and always outside training, a Conv2d."""

    def forward(self, images: Tensor) -> Tensor:
        """Convolve (b, c, h, w) images."""
        if self.training and self._is_fast(images):
            kind = torch.get_autocast_dtype("cpu")
            product: Tensor = PatchProduct.apply(
                images.to(kind), self.weight.to(kind), self.stride[0], int(self.padding[0])
            )
            return product
        return super().forward(images)

    def _is_fast(self, images: Tensor) -> bool:
        height, width = _places(images, self.kernel_size[0], self.stride[0], int(self.padding[0]))
        return (
            images.device.type == "cpu"
            and height * width <= MOST_PIXELS
            and torch.is_autocast_enabled("cpu")
            and torch.get_autocast_dtype("cpu") is torch.bfloat16
            and torch.cpu._is_amx_tile_supported()
        )


class PatchProduct(torch.autograd.Function):
    """Convolution without bias by a square kernel, as the product of patches and kernels; likewise its gradients."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        """Convolve (b, c, h, w) images by (o, c, k, k) kernels."""
        ctx.save_for_backward(images, weight)
        ctx.stride, ctx.padding = stride, padding
        return _multiply(images, weight, stride, padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Return the gradients of images and kernels."""
        (gradient,) = gradients
        images, weight = ctx.saved_tensors
        stride, padding, side = ctx.stride, ctx.padding, weight.shape[2]
        of_images = of_weight = None
        if ctx.needs_input_grad[0]:
            if stride == 1:  # the convolution by the kernels turned around
                of_images = _multiply(gradient, weight.flip(2, 3).transpose(0, 1), 1, side - 1 - padding)
            else:
                of_images = conv2d_input(list(images.shape), weight, gradient, stride, padding)  # type: ignore[no-untyped-call]
        if ctx.needs_input_grad[1]:
            product = gradient.permute(0, 2, 3, 1).flatten(0, 2).T @ _patches(images, side, stride, padding)
            of_weight = product.view(-1, side, side, images.shape[1]).permute(0, 3, 1, 2)
        return of_images, of_weight, None, None


def convert(network: nn.Module) -> None:
    """Replace a network's plain convolutions by `Convolution`, with the same names and values."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Conv2d and _is_plain(child):
                fast = Convolution(
                    child.in_channels, child.out_channels, child.kernel_size[0], child.stride[0], child.padding[0],
                    bias=False, device="meta",
                )  # fmt: skip
                fast.weight = child.weight
                setattr(parent, name, fast)


def _is_plain(module: nn.Conv2d) -> bool:
    sizes = (module.kernel_size, module.stride, module.padding)
    square = all(isinstance(size, tuple) and len(set(size)) == 1 for size in sizes)
    plain = module.groups == 1 and module.bias is None and module.padding_mode == "zeros"
    return square and plain and module.dilation == (1, 1) and int(module.padding[0]) < module.kernel_size[0]


def _multiply(images: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    side = weight.shape[2]
    height, width = _places(images, side, stride, padding)
    rows = _patches(images, side, stride, padding) @ weight.permute(2, 3, 1, 0).flatten(0, 2)
    return rows.view(len(images), height, width, len(weight)).permute(0, 3, 1, 2)


def _places(images: Tensor, side: int, stride: int, padding: int) -> tuple[int, int]:
    """Return rows and columns of the output of a convolution."""
    height, width = images.shape[2:]
    return (height + 2 * padding - side) // stride + 1, (width + 2 * padding - side) // stride + 1


def _patches(images: Tensor, side: int, stride: int, padding: int) -> Tensor:
    """Return the patches under each place of a kernel, (b · places, side · side · c)."""
    pixels = functional.pad(images.permute(0, 2, 3, 1), (0, 0, padding, padding, padding, padding))
    patches = pixels.unfold(1, side, stride).unfold(2, side, stride)  # (b, h, w, c, side, side)
    return patches.permute(0, 1, 2, 4, 5, 3).flatten(3).flatten(0, 2)
