from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest

from components.shared.errors import ContractError, InputError, PoisonedVectorError
from components.shared.pictures.preprocessing import PreprocessingSpec
from components.shared.vectors.encoder import (
    ENCODER_FILE,
    ENCODER_SPEC_FILE,
    OnnxEncoder,
    read_encoder_spec,
    space_id_of,
)
from support.factories.encoder_factory import GRID, make_encoder


@pytest.fixture
def directory(tmp_path):
    make_encoder(tmp_path, dimension=12, side=64)
    return tmp_path


def pictures(n, *, side=64, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), np.uint8)


def test_embeddings_equal_the_same_arithmetic_in_numpy(directory):
    images = pictures(5)
    model = onnx.load(directory / ENCODER_FILE)
    weights = next(onnx.numpy_helper.to_array(i) for i in model.graph.initializer if i.name == "weights")
    expected = []
    for image in images.astype(np.float64):
        cells = image.reshape(GRID, 64 // GRID, GRID, 64 // GRID, 3).mean((1, 3)) - 128
        vector = cells.transpose(2, 0, 1).ravel() @ weights
        expected.append(vector / np.linalg.norm(vector))
    found = OnnxEncoder(directory / ENCODER_FILE, threads=1).encode(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_picture_gets_the_same_embedding_alone_in_a_batch_and_from_any_thread(directory):
    encoder = OnnxEncoder(directory / ENCODER_FILE, threads=1)
    images = pictures(8)
    together = encoder.encode(images)
    with ThreadPoolExecutor(4) as pool:
        alone = list(pool.map(lambda row: encoder.encode(images[row : row + 1])[0], list(range(8)) * 5))
    np.testing.assert_allclose(alone, np.tile(together, (5, 1)), atol=1e-6)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 64, 64, 3), np.float32),
        np.zeros((1, 3, 64, 64), np.uint8),
        np.zeros((64, 64, 3), np.uint8),
        np.zeros((1, 32, 64, 3), np.uint8),
        np.zeros((0, 64, 64, 3), np.uint8),
    ],
)
def test_pictures_of_another_shape_or_type_are_refused(directory, images):
    with pytest.raises(InputError, match="expected uint8"):
        OnnxEncoder(directory / ENCODER_FILE, threads=1).encode(images)


def test_an_embedding_that_is_not_a_unit_vector_is_never_returned(directory):
    images = pictures(3)
    images[1] = 128
    with pytest.raises(PoisonedVectorError, match="row 1 is not finite"):
        OnnxEncoder(directory / ENCODER_FILE, threads=1).encode(images)


def test_files_that_are_no_encoder_are_refused(tmp_path, directory):
    (tmp_path / "noise.onnx").write_bytes(b"\x08\x07noise" * 100)
    with pytest.raises(ContractError, match="not an encoder"):
        OnnxEncoder(tmp_path / "noise.onnx")
    with pytest.raises(ContractError, match="not an encoder"):
        OnnxEncoder(tmp_path / "absent.onnx")
    model = onnx.load(directory / ENCODER_FILE)
    model.graph.output[0].name = model.graph.node[-1].output[0] = "vectors"
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(ContractError, match="must have the input 'images' and the output 'embeddings'"):
        OnnxEncoder(tmp_path / "other.onnx")


def test_a_spec_is_read_as_written_and_only_beside_its_encoder(directory):
    spec = read_encoder_spec(directory)
    assert (spec.dimension, spec.preprocessing.side) == (12, 64)
    assert spec.space_id == space_id_of(spec.onnx_sha256, spec.preprocessing)
    (directory / ENCODER_FILE).write_bytes((directory / ENCODER_FILE).read_bytes() + b"\0")
    with pytest.raises(ContractError, match="describes another encoder"):
        read_encoder_spec(directory)


@pytest.mark.parametrize("text", ["", "[]", '{"architecture": "x"}', None])
def test_an_unusable_spec_is_refused(directory, text):
    path = directory / ENCODER_SPEC_FILE
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(ContractError, match=r"does not describe an encoder|is missing"):
        read_encoder_spec(directory)


def test_an_unknown_field_in_the_spec_is_refused(directory):
    path = directory / ENCODER_SPEC_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"normalize": True}))
    with pytest.raises(ContractError, match="normalize"):
        read_encoder_spec(directory)


def test_the_space_changes_with_encoder_and_with_preprocessing():
    base = space_id_of("a" * 64, PreprocessingSpec())
    assert base == space_id_of("a" * 64, PreprocessingSpec())
    assert base != space_id_of("b" * 64, PreprocessingSpec())
    assert base != space_id_of("a" * 64, PreprocessingSpec(fit="crop"))
    assert base != space_id_of("a" * 64, PreprocessingSpec(pad_level=0))
