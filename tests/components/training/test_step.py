from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from safetensors.torch import load_file

from components.shared.errors import ContractError, NoPositivePairError, ParameterError, UnfinishedArtifactError
from components.shared.files.artifacts import open_artifact, seal_artifact
from components.shared.files.tables import CATALOGUE, PAIRS, read_table, write_table
from components.shared.truth.labels import PAIRS_FILE
from components.shared.vectors.encoder import OnnxEncoder, read_encoder_spec
from components.training.backbone import input_format
from components.training.dataset import Dataset, open_dataset
from components.training.parameters import TrainingParameters
from components.training.step import _digest, run
from support.factories.basics import make_catalogue
from support.inputs.training_inputs import SMALL, make_labels


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("training")
    make_labels(root, make_catalogue(root, items=8, views=4))
    return root


def opened(catalogue: Path, labels: Path, scratch: Path, parameters: TrainingParameters = SMALL) -> Dataset:
    preprocessing = input_format(parameters).preprocessing
    return open_dataset(catalogue, labels, scratch, parameters, preprocessing=preprocessing, threads=1)


def train(data: Path, root: Path, **changes: object) -> Path:
    parameters = TrainingParameters.model_validate(SMALL.model_dump() | changes)
    run(
        catalogue=data / "catalogue",
        labels=data / "labels",
        destination=root / "trained",
        workspace=root / "workspace",
        tracking_uri="",
        parameters=parameters,
    )
    return root / "trained"


def test_hands_on_an_encoder_that_stands_alone(data: Path, tmp_path: Path) -> None:
    output = train(data, tmp_path)
    artifact = open_artifact(output, "training", verify=True)
    assert set(artifact.files) == {
        "encoder.onnx",
        "encoder.json",
        "untrained.onnx",
        "weights.safetensors",
        "history.json",
    }
    spec = read_encoder_spec(output)
    assert (spec.architecture, spec.dimension, spec.preprocessing.side) == ("resnet10", 16, 224)
    assert artifact.summary["space_id"] == spec.space_id
    assert artifact.summary["training_images"] == 16
    history = json.loads((output / "history.json").read_text())
    assert [figures["epoch"] for figures in history] == [1, 2]
    assert {"loss", "learning_rate", "validation_hit_rate_at_1"} <= history[0].keys()
    images = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    trained, untrained = (OnnxEncoder(output / name).encode(images) for name in ("encoder.onnx", "untrained.onnx"))
    assert np.abs(trained - untrained).max() > 0.01
    assert "projection.weight" in load_file(output / "weights.safetensors")
    assert not list((tmp_path / "workspace").rglob("checkpoint.pt"))

    again = train(data, tmp_path)  # finished work is handed on, not done again
    assert open_artifact(again, "training").digest == artifact.digest


def test_pictures_that_cannot_be_used_are_counted_and_left_out(tmp_path: Path) -> None:
    catalogue = make_catalogue(tmp_path, items=8, views=4)
    labels = make_labels(tmp_path, catalogue)
    (tmp_path / "images" / "cups" / "000-1.jpg").write_bytes(b"broken")
    (tmp_path / "images" / "cups" / "004-0.jpg").unlink()
    dataset = opened(catalogue, labels, tmp_path)
    images = read_table(catalogue / "catalogue.parquet", CATALOGUE).to_pylist()
    assert (dataset.training.unusable, dataset.validation.unusable) == (1, 1)
    assert len(dataset.validation.rows) == 7
    bad = [row["image_id"] for row in images].index("000-1")
    assert bad not in np.concatenate([dataset.pairs.query, dataset.pairs.positive])
    assert dataset.pairs_without_image == 6
    assert len(dataset.pairs) == 16 * 3 - 6


def test_a_big_catalogue_is_sampled_by_item(data: Path, tmp_path: Path) -> None:
    parameters = SMALL.model_copy(update={"max_images": 9, "max_validation_images": 4})
    dataset = opened(data / "catalogue", data / "labels", tmp_path, parameters)
    assert dataset.training.pixels.shape[0] == 8
    assert len(set(dataset.training.relevance.item_codes)) == 2
    assert dataset.validation.pixels.shape[0] == 4


def test_nothing_to_learn_from_is_an_error(data: Path, tmp_path: Path) -> None:
    labels = make_labels(tmp_path, data / "catalogue")
    write_table(labels / PAIRS_FILE, pa.Table.from_pylist([], PAIRS.schema), PAIRS)
    seal_artifact(labels, "labelling")
    with pytest.raises(NoPositivePairError, match="label more"):
        opened(data / "catalogue", labels, tmp_path).require_pairs()


def test_inputs_of_other_steps_and_unfinished_ones_are_refused(data: Path, tmp_path: Path) -> None:
    arguments = {"destination": tmp_path / "t", "workspace": tmp_path / "w", "tracking_uri": "", "parameters": SMALL}
    with pytest.raises(ContractError, match="expected the output of catalogue"):
        run(catalogue=data / "labels", labels=data / "labels", **arguments)  # type: ignore[arg-type]
    with pytest.raises(UnfinishedArtifactError):
        run(catalogue=data / "catalogue", labels=tmp_path, **arguments)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="cannot be read"):
        train(data, tmp_path, weights="missing.safetensors")


def test_initial_weights_in_a_file_count_by_content(tmp_path: Path) -> None:
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / f"{name}.safetensors").write_bytes(content)
    first, same, other = (_digest(str(tmp_path / f"{name}.safetensors")) for name in "abc")
    assert first == same != other
    assert _digest("IMAGENET1K_V1") == "IMAGENET1K_V1"
