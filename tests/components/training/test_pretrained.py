from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from components.shared.errors import ParameterError, ResourceError
from components.shared.files.artifacts import Artifact, open_artifact
from components.shared.vectors.encoder import OnnxEncoder, read_encoder_spec
from components.training.backbone import build_backbone, input_format
from components.training.encoder import build_encoder
from components.training.optimiser import build_optimiser
from components.training.parameters import TrainingParameters
from components.training.step import run
from components.training.weights import fetch_published
from support.factories.basics import make_catalogue
from support.inputs.own_encoders import make_own_encoder
from support.inputs.training_inputs import make_labels

QUICK: dict[str, Any] = {"dimension": 16, "threads": 1, "head_steps": 10, "head_pairs": 8, "precision": "fp32"}
FAMILIES = ["test_efficientnet", "test_convnext", "test_vit"]  # of timm: tiny networks of three families


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pretrained")
    make_labels(root, make_catalogue(root, items=8, views=4))
    return root


def train(data: Path, root: Path, **changes: object) -> Artifact:
    run(
        catalogue=data / "catalogue",
        labels=data / "labels",
        destination=root / "trained",
        workspace=root / "workspace",
        tracking_uri="",
        parameters=TrainingParameters.model_validate(QUICK | changes),
    )
    return open_artifact(root / "trained", "training", verify=True)


def random_weights(name: str, path: Path) -> str:
    torch.manual_seed(3)
    save_file({k: v.contiguous() for k, v in timm.create_model(name).state_dict().items()}, path)
    return str(path)


def test_default_weights_are_embedded_and_classify_as_published() -> None:
    parameters = TrainingParameters(side=64)
    backbone = build_backbone(parameters)
    assert backbone.weights is not None
    assert backbone.weights.licence == "Apache-2.0"
    assert len(backbone.weights.sha256) == 64
    assert (backbone.width, backbone.input.mean, backbone.input.std) == (1280, (127.0,) * 3, (128.0,) * 3)
    state, _ = fetch_published(parameters.architecture)
    assert state["classifier.weight"].shape == (1000, 1280)
    loaded = backbone.network.state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in loaded)
    # Tensors in the wrong places would still fit by shape; the statistics of norms would then not be those of their inputs.
    with torch.no_grad():
        features = backbone.network.eval()(torch.randn(2, 3, 64, 64))
    assert torch.isfinite(features).all()
    assert 0 < float(features.mean()) < 6


@pytest.mark.parametrize("name", FAMILIES)
def test_networks_of_timm_train_a_head_and_keep_their_own_input(data: Path, tmp_path: Path, name: str) -> None:
    weights = random_weights(name, tmp_path / "weights.safetensors")
    artifact = train(data, tmp_path, architecture=f"timm/{name}", weights=weights, mode="head")
    spec = read_encoder_spec(tmp_path / "trained")
    configuration = timm.data.resolve_model_data_config(timm.create_model(name))
    assert spec.preprocessing.side == configuration["input_size"][1] == 160
    assert spec.preprocessing.interpolation == configuration["interpolation"]
    assert artifact.summary["parity_min_cosine"] > 0.9999
    assert spec.training["weights"]["source"] == "weights.safetensors"
    side = spec.preprocessing.side
    images = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), np.uint8)
    trained, untrained = (
        OnnxEncoder(tmp_path / "trained" / each).encode(images) for each in ("encoder.onnx", "untrained.onnx")
    )
    assert np.abs(trained - untrained).max() > 0.01


def test_fine_tuning_starts_from_the_head_and_leaves_early_layers_alone(data: Path, tmp_path: Path) -> None:
    weights = random_weights("test_efficientnet", tmp_path / "weights.safetensors")
    changes = {"architecture": "timm/test_efficientnet", "weights": weights, "full_epochs": 1, "batch_pairs": 8}
    artifact = train(data, tmp_path, mode="full", side=64, **changes)
    assert artifact.summary["mode"] == "full"
    history = json.loads((tmp_path / "trained" / "history.json").read_text())
    assert [figures["epoch"] for figures in history] == [1, 2]
    assert artifact.summary["parity_min_cosine"] > 0.9999
    parameters = TrainingParameters.model_validate(QUICK | changes | {"side": 64}).for_fine_tuning()
    encoder = build_encoder(parameters)
    optimiser = build_optimiser(encoder, parameters, fine_tuning=True)
    scales = {id(p): group["scale"] for group in optimiser.param_groups for p in group["params"]}
    assert not encoder.backbone.conv_stem.weight.requires_grad  # type: ignore[union-attr, operator]
    assert id(encoder.backbone.conv_stem.weight) not in scales  # type: ignore[union-attr]
    assert scales[id(encoder.projection.weight)] == 1
    assert 0 < scales[id(encoder.backbone.conv_head.weight)] < 1  # type: ignore[union-attr]


def test_an_own_encoder_is_served_frozen_or_with_a_head(data: Path, tmp_path: Path) -> None:
    path = make_own_encoder(tmp_path / "own.onnx")
    for mode in ("frozen", "head"):
        artifact = train(data, tmp_path / mode, onnx=str(path), mode=mode)
        assert artifact.summary["mode"] == mode
        assert set(artifact.files) == {"encoder.onnx", "encoder.json", "untrained.onnx", "history.json"}
        spec = read_encoder_spec(tmp_path / mode / "trained")
        assert (spec.architecture, spec.preprocessing.side) == ("onnx/own", 64)


def test_pictures_without_any_label_are_served_frozen_and_the_reason_is_recorded(tmp_path: Path) -> None:
    catalogue = make_catalogue(tmp_path, items=8, views=1)
    make_labels(tmp_path, catalogue)  # one view an item: no pair
    path = make_own_encoder(tmp_path / "own.onnx")
    artifact = train(tmp_path, tmp_path, onnx=str(path))
    assert artifact.summary["mode"] == "frozen"
    assert "no label" in artifact.summary["mode_reason"]
    assert artifact.summary["pairs"] == 0


class _Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("code ran",))


def test_unusable_weights_and_names_are_one_sentence_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def build(**changes: object) -> None:
        build_backbone(TrainingParameters.model_validate({"architecture": "timm/test_vit"} | changes))

    (tmp_path / "code.pth").write_bytes(pickle.dumps({"w": _Code()}))
    with pytest.raises(ParameterError, match="could run code"):
        build(weights=str(tmp_path / "code.pth"))
    assert "code ran" not in capsys.readouterr().out
    (tmp_path / "noise.safetensors").write_bytes(b"noise")
    with pytest.raises(ParameterError, match="not a readable file"):
        build(weights=str(tmp_path / "noise.safetensors"))
    with pytest.raises(ParameterError, match="cannot be read"):
        build(weights=str(tmp_path / "absent.pth"))
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ParameterError, match="does not map names"):
        build(weights=str(tmp_path / "list.pth"))
    other = random_weights("test_convnext", tmp_path / "other.safetensors")
    with pytest.raises(ParameterError, match="does not fit"):
        build(weights=other)
    with pytest.raises(ParameterError, match="no network 'resnet_of_nobody'"):
        build(architecture="timm/resnet_of_nobody")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ResourceError, match="cannot be fetched from the hub"):
        build()


def test_side_and_crop_follow_the_network() -> None:
    default = input_format(TrainingParameters()).preprocessing
    assert (default.side, default.fit, default.interpolation) == (224, "pad", "area")
    cropped = input_format(TrainingParameters(fit="crop")).preprocessing
    assert cropped.crop == 0.875
    large = input_format(TrainingParameters(architecture="timm/vit_small_patch14_dinov2")).preprocessing
    assert large.side == 518


@pytest.mark.long
@pytest.mark.parametrize(("name", "side"), [("vit_small_patch14_dinov2", 224), ("convnext_atto", 160)])
def test_real_networks_of_other_sides(data: Path, tmp_path: Path, name: str, side: int) -> None:
    weights = random_weights(name, tmp_path / "weights.safetensors") if side != 224 else ""
    if not weights:
        network = timm.create_model(name, img_size=side)
        save_file(network.state_dict(), tmp_path / "weights.safetensors")
        weights = str(tmp_path / "weights.safetensors")
    artifact = train(data, tmp_path, architecture=f"timm/{name}", weights=weights, side=side, mode="head")
    assert artifact.summary["parity_min_cosine"] > 0.9999
    assert read_encoder_spec(tmp_path / "trained").preprocessing.side == side
