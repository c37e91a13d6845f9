from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto

from components.shared.errors import ParameterError
from components.shared.vectors.encoder import OnnxEncoder
from components.training.graphs import LinearHead, join_head
from components.training.own_onnx import wrap_own
from components.training.parameters import NORMALISATIONS, TrainingParameters
from support.inputs.own_encoders import make_own_encoder

PICTURES = np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3), np.uint8)


@pytest.mark.parametrize("channels_first", [True, False])
@pytest.mark.parametrize("normalisation", ["imagenet", "half", "levels"])
def test_wrapped_encoder_computes_what_the_original_does(
    tmp_path: Path, channels_first: bool, normalisation: str
) -> None:
    path = make_own_encoder(tmp_path / "own.onnx", channels_first=channels_first)
    parameters = TrainingParameters(onnx=str(path), normalisation=normalisation)  # type: ignore[arg-type]
    own = wrap_own(str(path), parameters, tmp_path / "features.onnx")
    assert (own.width, own.preprocessing.side) == (24, 64)
    assert own.parity > 0.9999
    mean, std = (np.array(values, np.float32) for values in NORMALISATIONS[normalisation])
    values = (PICTURES - mean) / std
    values = values.transpose(0, 3, 1, 2) if channels_first else values
    (expected,) = onnxruntime.InferenceSession(path).run(None, {"pixel_values": np.ascontiguousarray(values)})
    (received,) = onnxruntime.InferenceSession(tmp_path / "features.onnx").run(None, {"images": PICTURES})
    assert np.allclose(received, expected, rtol=1e-3, atol=1e-3)

    rng = np.random.default_rng(0)
    head = LinearHead(rng.normal(size=(24, 8)).astype(np.float32), rng.normal(size=8).astype(np.float32))
    join_head(tmp_path / "features.onnx", head, tmp_path / "encoder.onnx")
    vectors = OnnxEncoder(tmp_path / "encoder.onnx", threads=1).encode(PICTURES)
    assert np.allclose(vectors, head.apply(received), atol=1e-5)


def test_an_open_side_a_fixed_batch_and_half_precision_are_taken(tmp_path: Path) -> None:
    path = make_own_encoder(tmp_path / "open.onnx", side="s")
    assert wrap_own(str(path), TrainingParameters(side=64), tmp_path / "f.onnx").preprocessing.side == 64
    path = make_own_encoder(tmp_path / "one.onnx", batch=1)
    assert wrap_own(str(path), TrainingParameters(), tmp_path / "f.onnx").width == 24
    path = make_own_encoder(tmp_path / "half.onnx", element=TensorProto.FLOAT16)
    assert wrap_own(str(path), TrainingParameters(), tmp_path / "f.onnx").parity > 0.999


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 1}, r"must take float pictures \(b, 3, s, s\)"),
        ({"height": 32}, "square pictures"),
        ({"element": TensorProto.UINT8}, "must take float pictures"),
        ({"tail": "dropout"}, "other features each time"),
        ({"tail": "tokens"}, "one vector a picture"),
        ({"tail": "nan"}, "not finite"),
        ({"tail": "company"}, "in company"),
        ({"opset": 11}, "opset 11"),
        ({"side": 16}, "from 32 to 518"),
    ],
)
def test_unfit_encoders_are_refused_in_one_sentence(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = make_own_encoder(tmp_path / "own.onnx", **changes)
    with pytest.raises(ParameterError, match=message) as found:
        wrap_own(str(path), TrainingParameters(), tmp_path / "features.onnx")
    assert str(path) in str(found.value)


def test_files_that_are_no_encoder_are_named(tmp_path: Path) -> None:
    (tmp_path / "noise.onnx").write_bytes(b"\x89PNG not a graph")
    (tmp_path / "empty.onnx").write_bytes(b"")
    for name in ("noise.onnx", "empty.onnx"):
        with pytest.raises(ParameterError, match="not an ONNX file"):
            wrap_own(str(tmp_path / name), TrainingParameters(), tmp_path / "f.onnx")
    with pytest.raises(ParameterError, match="cannot be read"):
        wrap_own(str(tmp_path / "absent.onnx"), TrainingParameters(), tmp_path / "f.onnx")
    path = make_own_encoder(tmp_path / "own.onnx")
    with pytest.raises(ParameterError, match="takes 64 pixels, 96 were asked for"):
        wrap_own(str(path), TrainingParameters(side=96), tmp_path / "f.onnx")
