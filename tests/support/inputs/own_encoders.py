"""Image encoders as other people export them: float pictures in, features out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def make_own_encoder(
    path: Path,
    *,
    side: int | str = 64,
    channels_first: bool = True,
    width: int = 24,
    batch: int | str = "n",
    channels: int = 3,
    height: int | None = None,
    element: int = TensorProto.FLOAT,
    tail: str = "",
    opset: int = 17,
) -> Path:
    """Write average colours on a grid of 8 × 8 cells, projected at random.

    Args:
        path: file to write.
        side: pixels per side; a name leaves it open.
        channels_first: NCHW rather than NHWC.
        width: features of a picture.
        batch: pictures of a call; a name leaves it open.
        channels: of a picture.
        height: where it is not `side`.
        element: type of the pictures.
        tail: "dropout" gives other features each time, "tokens" several vectors a picture, "nan" no numbers,
            "company" features that depend on the other pictures of the call.
        opset: of the file.
    """
    cells = 8 * 8 * channels
    kernel = [int(side) // 8 if isinstance(side, int) else 8] * 2
    weights = np.random.default_rng(0).normal(size=(cells, width)).astype(np.float32)
    planes = "planes" if not channels_first else "floats"
    nodes = [helper.make_node("Cast", ["pixel_values"], ["floats"], to=TensorProto.FLOAT)]
    if not channels_first:
        nodes.append(helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]))
    nodes += [
        helper.make_node("AveragePool", [planes], ["cells"], kernel_shape=kernel, strides=kernel),
        helper.make_node("Flatten", ["cells"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["product"]),
    ]
    last: dict[str, list[onnx.NodeProto]] = {
        "": [helper.make_node("Identity", ["product"], ["pooled"])],
        "dropout": [
            helper.make_node("RandomNormalLike", ["product"], ["noise"]),
            helper.make_node("Add", ["product", "noise"], ["pooled"]),
        ],
        "tokens": [helper.make_node("Reshape", ["product", "tokens"], ["pooled"])],
        "nan": [helper.make_node("Log", ["minus"], ["log"]), helper.make_node("Mul", ["product", "log"], ["pooled"])],
        "company": [
            helper.make_node("ReduceMean", ["product"], ["mean"], axes=[0]),
            helper.make_node("Sub", ["product", "mean"], ["pooled"]),
        ],
    }
    nodes += last[tail]
    rows: list[int | str] = [batch, height or side, side] if isinstance(side, int) else [batch, side, side]
    shape = [rows[0], channels, *rows[1:]] if channels_first else [*rows, channels]
    constants = {
        "weights": weights,
        "tokens": np.array([-1, 2, width // 2], np.int64),
        "minus": np.array(-1.0, np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "own",
        [helper.make_tensor_value_info("pixel_values", element, shape)],
        [helper.make_tensor_value_info("pooled", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path
