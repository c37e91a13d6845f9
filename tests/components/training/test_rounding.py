"""Rounding that spares the outputs: never worse than to the nearest where it counts, and exact where nothing is to be rounded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.shared.vectors.encoder import OnnxEncoder
from components.training import quantisation, rounding
from components.training.encoder import build_encoder
from components.training.export import export_encoder
from components.training.quantisation import quantise_encoder
from components.training.rounding import _patches, round_together
from support.inputs.training_inputs import SMALL, make_dataset


def inputs(rng: np.random.Generator, count: int, width: int) -> np.ndarray:
    """Inputs that go together, as neighbouring pixels do: a common level and a few causes, with little noise."""
    causes = rng.normal(size=(count, 3)) @ rng.normal(size=(3, width))
    return (2.0 + causes + 0.1 * rng.normal(size=(count, width))).astype(np.float32)


def layer(rng: np.random.Generator, outputs: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    weights = rng.normal(size=(outputs, width)).astype(np.float32)
    return weights, np.abs(weights).max(1) / 127


def moments_of(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    return x.T @ x / len(x)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(64, 300), st.integers(8, 20))
def test_outputs_err_less_than_with_the_nearest_steps(seed: int, width: int, outputs: int) -> None:
    rng = np.random.default_rng(seed)
    x, fresh = np.split(inputs(rng, 4_000, width), 2)
    weights, scales = layer(rng, outputs, width)
    steps = round_together(weights, scales, moments_of(x))
    assert steps.dtype == np.int8
    assert np.abs(steps.astype(int)).max() <= 127

    def error(some: np.ndarray) -> float:
        return float(np.square(fresh @ (weights - some).T).mean())

    nearest = np.rint(weights / scales[:, None]) * scales[:, None]
    assert error(steps * scales[:, None]) < error(nearest) / 4


def test_weights_that_are_whole_steps_stay_as_they_are():
    rng = np.random.default_rng(0)
    whole = rng.integers(-127, 128, (7, 260))
    scales = rng.uniform(0.001, 0.1, 7).astype(np.float32)
    moments = moments_of(inputs(rng, 500, 260))
    found = round_together((whole * scales[:, None]).astype(np.float32), scales, moments)
    assert np.array_equal(found, whole)


@pytest.mark.parametrize("moments", [np.zeros((5, 5)), np.diag([1.0, 2.0, 3.0, 4.0, 5.0])])
def test_inputs_that_are_nought_or_independent_leave_the_nearest_steps(moments: np.ndarray) -> None:
    weights, scales = layer(np.random.default_rng(0), 4, 5)
    assert np.array_equal(round_together(weights, scales, moments), np.rint(weights / scales[:, None]).astype(np.int8))


@pytest.mark.parametrize(("kernel", "stride", "pad"), [(1, 1, 0), (3, 1, 1), (3, 2, 1), (7, 2, 3)])
def test_patches_are_what_the_convolution_multiplies(kernel: int, stride: int, pad: int) -> None:
    import torch

    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 11, 9)).astype(np.float32)
    node = onnx.helper.make_node(
        "Conv", ["x", "w"], ["y"], kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4
    )
    found = _patches(x, node, (kernel, kernel), np.random.default_rng(1))
    unfolded = torch.nn.functional.unfold(torch.from_numpy(x), kernel, padding=pad, stride=stride)
    wanted = {tuple(row) for row in unfolded.permute(0, 2, 1).reshape(-1, unfolded.shape[1]).numpy().tolist()}
    assert {tuple(row) for row in found.tolist()} == wanted, "all of them, since there are fewer than are drawn"


def test_an_encoder_errs_less_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = make_dataset(items=8, views=4).training.pixels
    path = tmp_path / "encoder.onnx"
    export_encoder(build_encoder(SMALL.model_copy(update={"training_side": 48})).eval(), path)
    assert quantise_encoder(path, tmp_path / "spared.onnx", pictures)
    monkeypatch.setattr(quantisation, "round_weights", lambda *_: None)
    assert quantise_encoder(path, tmp_path / "nearest.onnx", pictures)
    wanted = OnnxEncoder(path, threads=1).encode(pictures)
    spared, nearest = (
        np.square(OnnxEncoder(tmp_path / f"{name}.onnx", threads=1).encode(pictures) - wanted).sum()
        for name in ("spared", "nearest")
    )
    assert spared < 0.7 * nearest


def test_where_every_layer_is_too_large_nothing_is_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = make_dataset(items=4, views=2).training.pixels
    path = tmp_path / "encoder.onnx"
    export_encoder(build_encoder(SMALL.model_copy(update={"training_side": 48})).eval(), path)
    monkeypatch.setattr(rounding, "_MOST_INPUTS", 0)
    assert quantise_encoder(path, tmp_path / "left.onnx", pictures)
    monkeypatch.setattr(quantisation, "round_weights", lambda *_: None)
    assert quantise_encoder(path, tmp_path / "nearest.onnx", pictures)
    assert (tmp_path / "left.onnx").read_bytes() == (tmp_path / "nearest.onnx").read_bytes()
