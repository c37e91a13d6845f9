from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from components.training.dataset import Dataset
from components.training.features import FeatureSets
from components.training.head import fit_discriminant, fit_frozen, fit_pca, train_head
from support.inputs.training_inputs import SMALL, make_dataset


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


PARAMETERS = SMALL.model_copy(update={"head_steps": 60, "head_pairs": 12, "dimension": 8})


def features_of(dataset: Dataset, *, noise: float, seed: int = 0) -> FeatureSets:
    """Return features in which five components know the item and forty others, far larger, know nothing."""
    rng = np.random.default_rng(seed)
    known = rng.normal(size=(100, 5))

    def draw(rows: np.ndarray, views: int) -> np.ndarray:
        items = known[dataset.training.relevance.item_codes[rows]]
        items = np.broadcast_to(items, (views, *items.shape)) + 0.1 * rng.normal(size=(views, *items.shape))
        return np.concatenate([items, noise * rng.normal(size=(views, len(rows), 40))], 2).astype(np.float16)

    return FeatureSets(draw(dataset.training.rows, 3), draw(dataset.validation.rows, 1)[0])


def test_pca_keeps_the_largest_components_and_whitening_evens_them_out() -> None:
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(500, 6)) * [9, 5, 3, 1, 0.1, 0.01] + 4).astype(np.float16)
    plain, white = (fit_pca(features, 3, whitening=w, seed=0) for w in (0.0, 0.5))
    for head in (plain, white):
        assert np.linalg.norm(head.apply(features.astype(np.float32)), axis=1) == pytest.approx(1, abs=1e-5)
    spread = (features.astype(np.float64) @ plain.weight + plain.bias).std(0)
    assert spread[0] / spread[1] == pytest.approx(9 / 5, rel=0.15)
    spread = (features.astype(np.float64) @ white.weight + white.bias).std(0)
    assert spread == pytest.approx(np.full(3, spread[0]), rel=0.02)
    centred = features.astype(np.float64) @ white.weight + white.bias
    assert np.abs(centred.mean(0)).max() < 1e-2 * spread[0]


def test_fewer_pictures_than_dimensions_leave_components_empty() -> None:
    features = np.random.default_rng(0).normal(size=(4, 30)).astype(np.float16)
    head = fit_pca(features, 8, whitening=0.25, seed=0)
    assert head.weight.shape == (30, 8)
    assert np.isfinite(head.weight).all()
    assert (head.weight[:, 4:] == 0).all()


def test_a_head_learns_what_pca_cannot_see_and_the_same_bits_each_time() -> None:
    dataset = make_dataset()
    features = features_of(dataset, noise=1.0)
    start, figures = fit_frozen(dataset, features, PARAMETERS)
    head, history = train_head(dataset, features, start, PARAMETERS)
    assert history[0]["validation_hit_rate_at_1"] == figures["validation_hit_rate_at_1"]
    best = max(each["validation_hit_rate_at_1"] for each in history)
    assert best > figures["validation_hit_rate_at_1"] + 0.2
    again, _ = train_head(dataset, features, start, PARAMETERS)
    assert np.array_equal(head.weight, again.weight)


def test_discriminant_sees_what_relates_pictures_under_what_does_not() -> None:
    dataset = make_dataset()
    features = features_of(dataset, noise=1.0)
    head, figures = fit_discriminant(dataset, features, PARAMETERS)
    assert figures["validation_hit_rate_at_1"] > 0.7
    told = np.abs(head.weight[:5]).sum() / np.abs(head.weight).sum()
    assert told > 0.3  # the five components of 45 that know the item carry most of the weight
    assert np.isfinite(head.weight).all()


def test_a_head_is_never_worse_on_validation_than_the_features_it_starts_from() -> None:
    dataset = make_dataset()
    features = features_of(dataset, noise=0.01)
    start, figures = fit_frozen(dataset, features, PARAMETERS)
    assert figures["validation_hit_rate_at_1"] == 1.0
    ruinous = PARAMETERS.model_copy(update={"head_learning_rate": 10.0})
    head, history = train_head(dataset, features, start, ruinous)
    assert max(each["validation_hit_rate_at_1"] for each in history) == 1.0
    assert history[0]["step"] == 0
    vectors = head.apply(features.validation.astype(np.float32))
    assert np.isfinite(vectors).all()


def test_without_validation_the_first_whitening_is_taken() -> None:
    dataset = make_dataset()
    nobody = replace(dataset, validation=replace(dataset.validation, rows=np.empty(0, np.int64)))
    features = features_of(dataset, noise=1.0)
    features = FeatureSets(features.training, features.validation[:0])
    _, figures = fit_frozen(nobody, features, PARAMETERS)
    assert figures == {"whitening": 0.25}
