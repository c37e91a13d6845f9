from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from components.shared.errors import ContractError
from components.shared.vectors.encoder import OnnxEncoder
from components.training.encoder import Encoder, build_encoder
from components.training.export import check_parity, export_encoder
from support.inputs.training_inputs import SMALL


def pictures(n: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (n, 224, 224, 3), np.uint8)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Encoder, Path]:
    encoder = build_encoder(SMALL.model_copy(update={"training_side": 48})).eval()
    path = tmp_path_factory.mktemp("export") / "encoder.onnx"
    export_encoder(encoder, path)
    return encoder, path


def test_file_computes_what_torch_does_for_any_batch(exported: tuple[Encoder, Path]) -> None:
    encoder, path = exported
    parity = check_parity(encoder, path, pictures(3))
    assert parity.images == 7
    assert parity.max_difference <= 1e-4
    session = OnnxEncoder(path, threads=1)
    assert session.dimension == 16
    for n in (1, 5):
        with torch.no_grad():
            expected = encoder(torch.from_numpy(pictures(n))).numpy()
        assert np.abs(session.encode(pictures(n)) - expected).max() < 1e-4


def test_equal_weights_give_equal_bytes_without_a_trace_of_the_machine(
    tmp_path: Path, exported: tuple[Encoder, Path]
) -> None:
    encoder, path = exported
    export_encoder(copy.deepcopy(encoder).train(), tmp_path / "again.onnx")
    data = path.read_bytes()
    assert data == (tmp_path / "again.onnx").read_bytes()
    model = onnx.load_from_string(data)
    assert not any(part.metadata_props or part.doc_string for part in (model.graph, *model.graph.node))
    assert b"/components/" not in data
    assert b".py" not in data
    assert not any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer)
    assert [(i.domain, i.version >= 18) for i in model.opset_import if not i.domain] == [("", True)]
    assert [file.name for file in tmp_path.iterdir()] == ["again.onnx"]


def test_an_encoder_that_computes_something_else_is_refused(exported: tuple[Encoder, Path]) -> None:
    other = build_encoder(SMALL.model_copy(update={"seed": 1, "training_side": 48}))
    with pytest.raises(ContractError, match="does not compute what torch does"):
        check_parity(other, exported[1], pictures(2))
