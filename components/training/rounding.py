"""Weights rounded to int8 so that what a layer computes changes least, rather than each weight by itself.

The error of a weight that is rounded is made up for by those of the same output that are rounded after it, as far as the
layer's inputs go together; those of pictures do: neighbouring pixels are nearly equal, and backgrounds are the same everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from components.shared.vectors.encoder import INPUT_NAME

Floats = NDArray[np.float32]

_MOST_INPUTS = 1_200  # of one output; larger layers take most of the time, and err least by themselves
_LARGEST = 127
_PICTURES, _BATCH = 64, 4
_PATCHES = 128  # of a picture and layer
_DAMPING = 0.01  # of the mean of the diagonal, as in the paper
_BLOCK = 128  # columns whose errors are passed on to the others at once


class Pictures(Protocol):
    """(n, side, side, 3) uint8 that is read in parts: an array, or rows of a memory map."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: NDArray[np.int64], /) -> NDArray[np.uint8]: ...


@dataclass(frozen=True)
class _Layer:
    """A convolution whose weights are to be rounded.

    Attributes:
        node: in the plain model.
        weights: (o, c, h, w) of the plain model.
        scales: (o,) of one step.
        stored: the int8 weights in the quantised model.
    """

    node: onnx.NodeProto
    weights: Floats
    scales: Floats
    stored: onnx.TensorProto


def evenly_spread(count: int, most: int) -> NDArray[np.int64]:
    """Return up to `most` of the numbers from 0 to `count` − 1, from the first to the last."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))


def round_weights(plain: onnx.ModelProto, quantised: onnx.ModelProto, pictures: Pictures) -> None:
    """Round the weights of convolutions anew, in place; steps and everything else stay as they are.

    Of the convolutions, those of one group with up to 1,200 weights an output.

    Args:
        plain: the model in float32.
        quantised: the same, with int8 weights behind a DequantizeLinear by output channel; changed.
        pictures: (n, side, side, 3) uint8, of which at most 64 are used, evenly spread.

    Source: Frantar et al., GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers,
    arXiv:2210.17323, algorithm 1.
    """
    layers = _layers(plain, quantised)
    if not layers:
        return
    rows = evenly_spread(len(pictures), _PICTURES)
    for layer, moments in zip(layers, _second_moments(plain, layers, pictures, rows), strict=True):
        weights = layer.weights.reshape(len(layer.weights), -1)
        steps = round_together(weights, layer.scales, moments)
        layer.stored.CopyFrom(onnx.numpy_helper.from_array(steps.reshape(layer.weights.shape), layer.stored.name))


def round_together(weights: Floats, scales: Floats, moments: NDArray[np.float64]) -> NDArray[np.int8]:
    """Round weights to whole steps so that the outputs' mean squared error is small.

    Args:
        weights: (o, i).
        scales: (o,) of one step, > 0.
        moments: (i, i) mean of x xᵀ over inputs x.

    Returns:
        (o, i) steps, −127 to 127.
    """
    count = weights.shape[1]
    damping = _DAMPING * (np.trace(moments) / count or 1.0)
    inverse = np.linalg.inv(moments + damping * np.eye(count))
    upper = np.linalg.cholesky((inverse + inverse.T) / 2).T.astype(np.float32)
    left = weights.astype(np.float32)
    steps = np.empty(left.shape, np.int8)
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        errors = np.empty((len(left), stop - start), np.float32)
        for place in range(start, stop):
            rounded = np.clip(np.rint(left[:, place] / scales), -_LARGEST, _LARGEST)
            steps[:, place] = rounded
            error = (left[:, place] - rounded * scales) / upper[place, place]
            left[:, place:stop] -= np.outer(error, upper[place, place:stop])
            errors[:, place - start] = error
        left[:, stop:] -= errors @ upper[start:stop, stop:]
    return steps


def _layers(plain: onnx.ModelProto, quantised: onnx.ModelProto) -> list[_Layer]:
    before = {tensor.name: tensor for tensor in plain.graph.initializer}
    after = {tensor.name: tensor for tensor in quantised.graph.initializer}
    nodes = {node.name: node for node in plain.graph.node}
    producers = {output: node for node in quantised.graph.node for output in node.output}
    layers = []
    for node in quantised.graph.node:
        source = producers.get(node.input[1]) if node.op_type == "Conv" else None
        if source is None or source.op_type != "DequantizeLinear" or _attribute(node, "group", 1) != 1:
            continue
        weights = onnx.numpy_helper.to_array(before[nodes[node.name].input[1]])
        if weights[0].size <= _MOST_INPUTS:
            scales = onnx.numpy_helper.to_array(after[source.input[1]])
            layers.append(_Layer(nodes[node.name], weights, scales, after[source.input[0]]))
    return layers


def _second_moments(
    plain: onnx.ModelProto, layers: Sequence[_Layer], pictures: Pictures, rows: NDArray[np.int64]
) -> list[NDArray[np.float64]]:
    """Return, for each layer, the mean of x xᵀ over patches of what it sees of the pictures, drawn at random."""
    import onnxruntime

    names = list(dict.fromkeys(layer.node.input[0] for layer in layers))
    watched = onnx.ModelProto()
    watched.CopyFrom(plain)
    del watched.graph.output[:]
    watched.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names
    )
    session = onnxruntime.InferenceSession(watched.SerializeToString())
    sums = [np.zeros((layer.weights[0].size,) * 2) for layer in layers]
    counts = [0] * len(layers)
    rng = np.random.default_rng(0)
    for start in range(0, len(rows), _BATCH):
        seen = dict(zip(names, session.run(names, {INPUT_NAME: pictures[rows[start : start + _BATCH]]}), strict=True))
        for number, layer in enumerate(layers):
            patches = _patches(seen[layer.node.input[0]], layer.node, layer.weights.shape[2:], rng)
            sums[number] += patches.T @ patches
            counts[number] += len(patches)
    return [total / max(1, count) for total, count in zip(sums, counts, strict=True)]


def _patches(inputs: Floats, node: onnx.NodeProto, kernel: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Return (p, c · h · w) patches of (b, c, height, width) inputs, as the convolution's kernel meets them."""
    top, left, bottom, right = _attribute(node, "pads", [0, 0, 0, 0])
    down, across = _attribute(node, "strides", [1, 1])
    padded = np.pad(inputs, ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = sliding_window_view(padded, kernel, axis=(2, 3))[:, :, ::down, ::across]
    shape = windows.shape[0], *windows.shape[2:4]
    places = int(np.prod(shape))
    chosen = np.unravel_index(rng.choice(places, min(places, _PATCHES * len(inputs)), replace=False), shape)
    patches: Floats = windows[chosen[0], :, chosen[1], chosen[2]].reshape(len(chosen[0]), -1)
    return patches


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    return next((onnx.helper.get_attribute_value(each) for each in node.attribute if each.name == name), default)
