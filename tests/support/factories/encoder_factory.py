"""A small real encoder in ONNX: average colours on an 8 × 8 grid, projected at random and scaled to unit norm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from components.shared.files.artifacts import seal_artifact
from components.shared.pictures.preprocessing import PreprocessingSpec
from components.shared.vectors.encoder import ENCODER_FILE, EncoderSpec, write_encoder_spec

GRID = 8


def make_encoder(
    directory: Path,
    *,
    dimension: int = 16,
    seed: int = 0,
    side: int = 224,
    preprocessing: PreprocessingSpec | None = None,
) -> EncoderSpec:
    """Write `encoder.onnx` and `encoder.json`, sealed as the training step's output; a picture of grey 128 gives NaN."""
    directory.mkdir(parents=True, exist_ok=True)
    weights = np.random.default_rng(seed).normal(size=(3 * GRID * GRID, dimension)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node(
            "AveragePool", ["planes"], ["cells"], kernel_shape=[side // GRID] * 2, strides=[side // GRID] * 2
        ),
        helper.make_node("Sub", ["cells", "grey"], ["centred"]),
        helper.make_node("Flatten", ["centred"], ["features"]),
        helper.make_node("MatMul", ["features", "weights"], ["projected"]),
        helper.make_node("ReduceL2", ["projected"], ["norms"], axes=[1], keepdims=1),
        helper.make_node("Div", ["projected", "norms"], ["embeddings"]),
    ]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", side, side, 3])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["batch", dimension])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(np.float32(128), "grey")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, directory / ENCODER_FILE)
    spec = write_encoder_spec(
        directory,
        architecture="grid",
        dimension=dimension,
        preprocessing=preprocessing or PreprocessingSpec(side=side, fit="stretch"),
        training={},
    )
    seal_artifact(directory, "training", {"architecture": "grid"})
    return spec
