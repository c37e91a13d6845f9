from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from components.training.dataset import Dataset
from components.training.modes import FULL_PAIRS, TrainingPlan, choose_mode, needs_features
from components.training.parameters import TrainingParameters
from support.inputs.training_inputs import make_dataset, make_pairs

AUTO = TrainingParameters()


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return make_dataset(items=2, views=2)


def chosen(dataset: Dataset, parameters: TrainingParameters = AUTO, **facts: object) -> TrainingPlan:
    known = {"seconds_per_picture": 0.01, "has_gpu": False, "can_tune": True, **facts}
    return choose_mode(parameters, dataset, **known)  # type: ignore[arg-type]


def with_queries(dataset: Dataset, count: int) -> Dataset:
    rows = np.arange(count)
    return replace(dataset, pairs=make_pairs(*((int(r), int(r) + 1, 1.0) for r in rows)))


def test_few_pairs_train_a_head_many_train_everything_and_none_nothing(dataset: Dataset) -> None:
    assert chosen(dataset).mode == "head"
    assert chosen(with_queries(dataset, FULL_PAIRS), seconds_per_picture=0.001).mode == "full"
    own = replace(dataset, pairs=make_pairs((0, 0, 0.3), (1, 1, 0.3)))  # altered copies of the pictures themselves
    plan = chosen(own)
    assert plan.mode == "frozen"
    assert "no label" in plan.reason


def test_time_and_processor_decide_and_are_told_before(dataset: Dataset) -> None:
    many = with_queries(dataset, 20_000)
    slow = chosen(many)
    assert slow.mode == "head"
    assert slow.minutes["full"] > AUTO.minutes > slow.minutes["head"]
    assert "training.minutes" in str(slow)
    assert "full" in str(slow)
    assert chosen(many, has_gpu=True).mode == "full"
    assert chosen(many, seconds_per_picture=1e-5).mode == "full"
    assert chosen(many, AUTO.model_copy(update={"minutes": 1e4})).mode == "full"


def test_an_own_encoder_is_never_tuned_and_a_wish_is_obeyed(dataset: Dataset) -> None:
    many = with_queries(dataset, FULL_PAIRS)
    assert chosen(many, can_tune=False).mode == "head"
    assert chosen(dataset, TrainingParameters(mode="full")).mode == "full"
    assert chosen(dataset, TrainingParameters(mode="frozen")).mode == "frozen"


def test_features_are_for_pretrained_backbones() -> None:
    assert needs_features(AUTO)
    assert needs_features(TrainingParameters(onnx="own.onnx"))
    assert not needs_features(TrainingParameters(mode="scratch"))
    assert not needs_features(TrainingParameters(weights=""))
    assert not needs_features(TrainingParameters(architecture="resnet18"))
    assert needs_features(TrainingParameters(architecture="resnet18", weights="ours.safetensors", mode="head"))
