from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from components.shared.vectors.encoder import ENCODER_FILE, OnnxEncoder
from components.training.encoder import build_encoder
from components.training.export import export_encoder
from components.training.quantisation import quantise_encoder
from support.factories.encoder_factory import make_encoder
from support.inputs.training_inputs import SMALL, make_dataset


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return make_dataset(items=8, views=4).training.pixels


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("quantisation") / "encoder.onnx"
    export_encoder(build_encoder(SMALL.model_copy(update={"training_side": 48})).eval(), path)
    return path


@pytest.fixture(scope="module")
def quantised(plain: Path, pictures: np.ndarray) -> Path:
    path = plain.with_name("encoder.int8.onnx")
    assert quantise_encoder(plain, path, pictures)
    return path


def test_gives_nearly_the_same_unit_vectors_for_any_batch(plain: Path, quantised: Path, pictures: np.ndarray) -> None:
    expected, received = (
        OnnxEncoder(plain, threads=1).encode(pictures),
        OnnxEncoder(quantised, threads=1).encode(pictures),
    )
    cosines = (expected * received).sum(1)
    assert 0.99 < cosines.min() < 1
    assert np.array_equal(OnnxEncoder(quantised, threads=1).encode(pictures[:3]), received[:3])


def test_weights_are_signed_per_channel_and_activations_unsigned(quantised: Path) -> None:
    model = onnx.load(quantised)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    producers = {output: node for node in model.graph.node for output in node.output}
    assert convolutions
    for node in convolutions:
        activation, weight = producers[node.input[0]], producers[node.input[1]]
        assert activation.op_type == weight.op_type == "DequantizeLinear"
        assert tensors[activation.input[2]].data_type == onnx.TensorProto.UINT8
        values = onnx.numpy_helper.to_array(tensors[weight.input[0]])
        assert values.dtype == np.int8
        assert onnx.numpy_helper.to_array(tensors[weight.input[1]]).shape == (len(values),)
        assert not onnx.numpy_helper.to_array(tensors[weight.input[2]]).any()


def test_reduction_normalisation_and_projection_stay_in_float(plain: Path, quantised: Path) -> None:
    model = onnx.load(quantised)
    producers = {output: node for node in model.graph.node for output in node.output}
    before, after = (Counter(node.op_type for node in onnx.load(path).graph.node) for path in (plain, quantised))
    for kind in ("MatMul", "Gemm", "Cast", "Sub", "Div", "ReduceL2"):
        assert after[kind] == before[kind], kind
    for node in model.graph.node:
        if node.op_type in ("MatMul", "Gemm", "Cast", "Sub", "Div"):
            kinds = {producers[name].op_type for name in node.input if name in producers}
            assert "DequantizeLinear" not in kinds or node.op_type == "Gemm", node


def test_equal_encoders_and_pictures_give_equal_bytes_without_a_trace(
    plain: Path, quantised: Path, pictures: np.ndarray, tmp_path: Path
) -> None:
    assert quantise_encoder(plain, tmp_path / "again.onnx", pictures)
    data = quantised.read_bytes()
    assert (tmp_path / "again.onnx").read_bytes() == data
    assert b"/tmp" not in data
    assert [path.name for path in tmp_path.iterdir()] == ["again.onnx"]
    assert not any(
        tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in onnx.load(quantised).graph.initializer
    )


def test_an_encoder_without_convolutions_is_left_alone(tmp_path: Path, pictures: np.ndarray) -> None:
    make_encoder(tmp_path)
    assert not quantise_encoder(tmp_path / ENCODER_FILE, tmp_path / "int8.onnx", pictures)
    assert not (tmp_path / "int8.onnx").exists()
