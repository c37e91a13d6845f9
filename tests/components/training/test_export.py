from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from training_inputs import SMALL

from components.shared.encoder import OnnxEncoder
from components.shared.errors import ContractError
from components.training.encoder import build_encoder
from components.training.export import check_parity, export_encoder


def pictures(n: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (n, 224, 224, 3), np.uint8)


@pytest.mark.parametrize("side", [32, 48])
def test_file_computes_what_torch_does_for_any_batch(tmp_path: Path, side: int) -> None:
    encoder = build_encoder(SMALL.model_copy(update={"training_side": side})).eval()
    export_encoder(encoder, tmp_path / "encoder.onnx")
    parity = check_parity(encoder, tmp_path / "encoder.onnx", pictures(3))
    assert parity.images == 7
    assert parity.max_difference <= 1e-4
    session = OnnxEncoder(tmp_path / "encoder.onnx", threads=1)
    assert session.dimension == 16
    for n in (1, 5):
        with torch.no_grad():
            expected = encoder(torch.from_numpy(pictures(n))).numpy()
        assert np.abs(session.encode(pictures(n)) - expected).max() < 1e-4


def test_equal_weights_give_equal_bytes_without_a_trace_of_the_machine(tmp_path: Path) -> None:
    for name in ("a", "b"):
        export_encoder(build_encoder(SMALL), tmp_path / name)
    data = (tmp_path / "a").read_bytes()
    assert data == (tmp_path / "b").read_bytes()
    model = onnx.load_from_string(data)
    assert not any(part.metadata_props or part.doc_string for part in (model.graph, *model.graph.node))
    assert b"/components/" not in data
    assert b".py" not in data
    assert not any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer)
    assert [(i.domain, i.version >= 18) for i in model.opset_import if i.domain == ""] == [("", True)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_an_encoder_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    export_encoder(build_encoder(SMALL), tmp_path / "encoder.onnx")
    other = build_encoder(SMALL.model_copy(update={"seed": 1}))
    with pytest.raises(ContractError, match="does not compute what torch does"):
        check_parity(other, tmp_path / "encoder.onnx", pictures(2))
