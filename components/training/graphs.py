"""ONNX graphs of encoders: features joined with a linear head, and an encoder of one's own wrapped to the product's form."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from components.shared.vectors.encoder import INPUT_NAME, OUTPUT_NAME
from components.training.export import OPSET, write_model

FEATURES_NAME = "features"
_SMALLEST_NORM = 1e-12  # as torch.nn.functional.normalize


@dataclass(frozen=True)
class LinearHead:
    """A linear map from features to what is scaled to an embedding.

    Attributes:
        weight: (w, d) float32.
        bias: (d,) float32.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def apply(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the (n, d) unit vectors of (n, w) features."""
        vectors = features.astype(np.float32) @ self.weight + self.bias
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(norms, _SMALLEST_NORM), np.float32)


def join_head(features: Path, head: LinearHead, destination: Path) -> None:
    """Write features and head as one encoder: pictures in, unit vectors out.

    Args:
        features: a graph from "images" to "features" (b, w).
        head: applied to the features.
        destination: file to write.
    """
    model = onnx.load_from_string(features.read_bytes())
    graph = model.graph
    batch = graph.input[0].type.tensor_type.shape.dim[0].dim_param or "batch"
    constants = {
        "head.weight": head.weight.astype(np.float32),
        "head.bias": head.bias.astype(np.float32),
        "head.axes": np.array([1], np.int64),
        "head.smallest_norm": np.array(_SMALLEST_NORM, np.float32),
    }
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    graph.node.extend(
        [
            helper.make_node("MatMul", [FEATURES_NAME, "head.weight"], ["head.product"], name="head.product"),
            helper.make_node("Add", ["head.product", "head.bias"], ["head.projected"], name="head.projected"),
            helper.make_node("ReduceL2", ["head.projected", "head.axes"], ["head.norm"], name="head.norm", keepdims=1),
            helper.make_node("Max", ["head.norm", "head.smallest_norm"], ["head.divisor"], name="head.divisor"),
            helper.make_node("Div", ["head.projected", "head.divisor"], [OUTPUT_NAME], name="head.unit"),
        ]
    )
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, [batch, head.weight.shape[1]]))
    write_model(model, destination)


def with_random_weights(features: Path, destination: Path, seed: int) -> None:
    """Write a graph with its matrices and kernels drawn at random: the same network before any training.

    Kernels get the variance that keeps activations in range; vectors (biases, norms) stay, but those of convolutions and
    products, which hold what was learnt, become 0.

    Source:
        He et al., arXiv:1502.01852, eq. 10.
    """
    model = onnx.load_from_string(features.read_bytes())
    rng = np.random.default_rng((seed, 0x52))
    biases = {n.input[2] for n in model.graph.node if n.op_type in {"Conv", "Gemm"} and len(n.input) > 2}
    kernels = {n.input[1] for n in model.graph.node if n.op_type in {"Conv", "Gemm", "MatMul"} and len(n.input) > 1}
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or tensor.name not in biases | kernels:
            continue
        value = numpy_helper.to_array(tensor)
        fan_in = max(1, value[0].size if value.ndim == 4 else value.shape[0])
        drawn = rng.normal(size=value.shape) * np.sqrt(2 / fan_in) if tensor.name in kernels else np.zeros(value.shape)
        tensor.CopyFrom(numpy_helper.from_array(drawn.astype(np.float32), tensor.name))
    write_model(model, destination)


def wrap_pictures(
    model: onnx.ModelProto,
    *,
    side: int,
    channels_first: bool,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    output: str,
    width: int,
    element: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """Return a model that takes uint8 RGB (b, side, side, 3) and gives `FEATURES_NAME` (b, width).

    Args:
        model: takes float32 pictures, normalised by `mean` and `std`, (b, 3, s, s) or (b, s, s, 3); opset 13 or later.
        side: s.
        channels_first: whether it takes (b, 3, s, s).
        mean: per channel, in grey levels 0–255.
        std: likewise.
        output: its output to keep.
        width: length of that output's rows, all axes but the first taken together.
        element: type of its input, float32 or float16.
    """
    wrapped = onnx.compose.add_prefix(model, "own/")
    graph = wrapped.graph
    entrance, exit_ = graph.input[0].name, f"own/{output}"
    constants = {
        "mean": np.array(mean, np.float32),
        "scale": (1 / np.array(std, np.float64)).astype(np.float32),
        "flat": np.array([-1, width], np.int64),
    }
    nodes = [
        helper.make_node("Cast", [INPUT_NAME], ["pixels"], name="pixels", to=TensorProto.FLOAT),
        helper.make_node("Sub", ["pixels", "mean"], ["centred"], name="centred"),
        helper.make_node("Mul", ["centred", "scale"], ["scaled"], name="scaled"),
        helper.make_node(
            "Transpose", ["scaled"], ["planes"], name="planes", perm=[0, 3, 1, 2] if channels_first else [0, 1, 2, 3]
        ),
        helper.make_node("Cast", ["planes"], [entrance], name="typed", to=element),
    ]
    nodes += list(graph.node)
    nodes.append(helper.make_node("Reshape", [exit_, "flat"], ["rows"], name="flattened"))
    nodes.append(helper.make_node("Cast", ["rows"], [FEATURES_NAME], name="features", to=TensorProto.FLOAT))
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    graph.input.append(helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["batch", side, side, 3]))
    graph.output.append(helper.make_tensor_value_info(FEATURES_NAME, TensorProto.FLOAT, ["batch", width]))
    return (
        wrapped if wrapped.opset_import[0].version >= OPSET else onnx.version_converter.convert_version(wrapped, OPSET)
    )
