from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torchvision
from pydantic import ValidationError
from safetensors.torch import save_file

from components.shared.errors import ParameterError, ResourceError
from components.training.encoder import build_encoder
from components.training.parameters import TrainingParameters
from support.inputs.training_inputs import SMALL


def images(n: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (n, 224, 224, 3), np.uint8))


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "resnet10"},
        {"architecture": "resnet10", "stem": "light"},
        {"architecture": "resnet18", "training_side": 48, "width": 0.5, "head": "normed"},
        {"architecture": "resnet50", "width": 0.25},
        {"architecture": "vit_small", "training_side": 32},
    ],
)
def test_gives_unit_vectors_and_takes_the_whole_picture(changes: dict[str, object]) -> None:
    encoder = build_encoder(SMALL.model_copy(update=changes)).eval()
    with torch.no_grad():
        vectors = encoder(images())
    assert vectors.shape == (3, 16)
    assert vectors.dtype == torch.float32
    assert torch.allclose(vectors.norm(dim=1), torch.ones(3), atol=1e-5)


@pytest.mark.parametrize("side", [32, 50, 96, 112, 150])
def test_reduction_averages_areas(side: int) -> None:
    encoder = build_encoder(SMALL.model_copy(update={"training_side": side}))
    reduced = encoder._reduce(images(1).permute(0, 3, 1, 2).float())[0].permute(1, 2, 0).numpy()
    expected = cv2.resize(images(1)[0].numpy().astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    assert np.abs(reduced - expected).max() < 0.05


def test_the_input_may_have_another_side_than_224() -> None:
    encoder = build_encoder(SMALL.model_copy(update={"side": 128, "training_side": 64})).eval()
    blocks = torch.arange(64 * 64 * 3, dtype=torch.int64).remainder(251).to(torch.uint8).reshape(1, 64, 64, 3)
    with torch.no_grad():
        assert torch.allclose(
            encoder(blocks), encoder(blocks.repeat_interleave(2, 1).repeat_interleave(2, 2)), atol=1e-5
        )
    assert (encoder.side, encoder.seen_side) == (128, 64)


def test_a_reduced_picture_gives_the_same_as_the_whole() -> None:
    encoder = build_encoder(SMALL.model_copy(update={"training_side": 112})).eval()
    blocks = torch.arange(112 * 112 * 3, dtype=torch.int64).remainder(251).to(torch.uint8).reshape(1, 112, 112, 3)
    whole = blocks.repeat_interleave(2, 1).repeat_interleave(2, 2)
    with torch.no_grad():
        assert torch.allclose(encoder(blocks), encoder(whole), atol=1e-5)


@pytest.mark.parametrize(("name", "channels"), [("resnet18", 512), ("resnet34", 512), ("resnet50", 2048)])
def test_full_width_is_torchvisions_network(name: str, channels: int) -> None:
    theirs = torchvision.models.get_model(name)
    theirs.fc = torch.nn.Identity()
    ours = build_encoder(SMALL.model_copy(update={"architecture": name})).backbone
    theirs.load_state_dict(ours.state_dict())
    picture = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = theirs.eval()(picture)
        assert expected.shape == (1, channels)
        assert torch.allclose(ours.eval()(picture), expected, atol=1e-5)


def test_initial_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(5)
    first = build_encoder(SMALL).state_dict()
    torch.manual_seed(6)
    again = build_encoder(SMALL).state_dict()
    other = build_encoder(SMALL.model_copy(update={"seed": 1})).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_weights_come_from_a_file_of_ours_or_under_torchvisions_names(tmp_path: Path) -> None:
    source = build_encoder(SMALL.model_copy(update={"seed": 9}))
    save_file({k: v.contiguous() for k, v in source.state_dict().items()}, tmp_path / "ours.safetensors")
    loaded = build_encoder(SMALL.model_copy(update={"weights": str(tmp_path / "ours.safetensors")}))
    assert all(
        torch.equal(a, b) for a, b in zip(source.state_dict().values(), loaded.state_dict().values(), strict=True)
    )
    theirs = torchvision.models.resnet18()
    save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    path = str(tmp_path / "theirs.safetensors")
    encoder = build_encoder(SMALL.model_copy(update={"weights": path, "architecture": "resnet18"}))
    assert torch.equal(encoder.backbone.layer1[0].conv1.weight, theirs.layer1[0].conv1.weight)
    with pytest.raises(ParameterError, match="does not fit"):
        build_encoder(SMALL.model_copy(update={"weights": path}))


def test_unusable_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(ParameterError, match="not a readable"):
        build_encoder(SMALL.model_copy(update={"weights": str(tmp_path / "bad.safetensors")}))
    with pytest.raises(ParameterError, match=r"expected a file .* or one of IMAGENET1K_V1"):
        build_encoder(SMALL.model_copy(update={"weights": "IMAGENET9", "architecture": "resnet18"}))
    with pytest.raises(ParameterError, match="one of none for resnet10"):
        build_encoder(SMALL.model_copy(update={"weights": "IMAGENET1K_V1"}))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # a closed network
    with pytest.raises(ResourceError, match="cannot be fetched"):
        build_encoder(SMALL.model_copy(update={"weights": "IMAGENET1K_V1", "architecture": "resnet18"}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rates": 1}, "Extra inputs"),
        ({"width": 0.5}, "this project's networks"),
        ({"start_side": 64}, "this project's networks"),
        ({"mode": "head", "weights": ""}, "needs pretrained weights"),
        ({"mode": "full", "onnx": "encoder.onnx"}, "own ONNX file"),
        ({"architecture": "timm/../x"}, "pattern"),
        ({"architecture": "resnet19"}, "pattern"),
        ({"side": 16}, "at least 32"),
        ({"side": 600}, "518"),
        ({"architecture": "vit_small", "stem": "light"}, "ResNets only"),
        ({"architecture": "vit_small", "width": 0.5}, "ResNets only"),
        ({"architecture": "vit_small", "final_side": 64}, "ResNets only"),
        ({"batch_pairs": 5, "processes": 2}, "multiple of processes"),
        ({"architecture": "resnet18", "start_side": 16}, "at least 32"),
    ],
)
def test_contradictory_parameters_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrainingParameters.model_validate(changes)


def test_views_grow_and_then_keep_the_last_side() -> None:
    parameters = TrainingParameters(
        architecture="resnet18", training_side=112, start_side=64, final_side=96, epochs=10, growth_share=0.5
    )
    sides = [parameters.view_side(epoch) for epoch in range(10)]
    assert sides == [64, 72, 80, 80, 88, 96, 96, 96, 96, 96] or sides[5:] == [96] * 5
    assert sides == sorted(sides)
    assert sides[0] == 64
    assert TrainingParameters(training_side=100).view_side(0) == 100
