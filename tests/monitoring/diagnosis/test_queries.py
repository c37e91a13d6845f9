"""Why queries moved: each fault is made, and named right."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from components.shared.vectors.embeddings import normalise
from monitoring.diagnosis.decision import diagnose
from monitoring.diagnosis.queries import van_elteren
from monitoring.drift.comparison import compare
from monitoring.drift.concerns import drift_concerns
from monitoring.drift.parameters import DriftParameters
from monitoring.findings import Concern, Diagnosis
from support.factories.drift_factory import SHARES, make_inputs, make_sample, make_vectors

PARAMETERS = DriftParameters()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(8)


def named(
    vectors: np.ndarray, rng: np.random.Generator, *more: Concern, may_show=lambda _: True, **changes: float
) -> tuple[Diagnosis, ...]:
    reference = make_sample(make_vectors(2_000, rng), make_inputs(2_000, rng), name="image")
    window = make_sample(vectors, make_inputs(len(vectors), rng, **changes))
    comparison = compare(reference, window, PARAMETERS)
    concerns = [*drift_concerns(comparison, len(vectors), PARAMETERS), *more]
    return diagnose(concerns, comparison, drift=PARAMETERS, may_show=may_show)


def everywhere(vectors: np.ndarray, by: float = 0.25) -> np.ndarray:
    direction = normalise(np.random.default_rng(4).normal(size=32)[None])
    return normalise(vectors + by * direction)


def new_kind(rng: np.random.Generator, share: float = 0.06) -> np.ndarray:
    vectors = make_vectors(1_000, rng)
    number = int(1_000 * share)
    place = normalise(np.random.default_rng(5).normal(size=32)[None])
    vectors[:number] = normalise(place + rng.normal(0, 0.08, (number, 32)))
    return vectors


def other_mix(rng: np.random.Generator) -> np.ndarray:
    shares = SHARES.copy()
    shares[:3] += 0.15
    return make_vectors(1_000, rng, shares=shares / shares.sum())


def causes(diagnoses: tuple[Diagnosis, ...]) -> list[tuple[str, str]]:
    return [(diagnosis.cause, diagnosis.remedy) for diagnosis in diagnoses]


def test_nothing_is_named_where_nothing_changed(rng: np.random.Generator) -> None:
    assert named(make_vectors(1_000, rng), rng) == ()


def test_pictures_changed_and_moved_the_queries(rng: np.random.Generator) -> None:
    found = named(everywhere(make_vectors(1_000, rng)), rng, brightness=0.7)
    assert causes(found) == [("pictures_changed", "fix_client")]
    assert "brightness" in found[0].sentence
    assert found[0].evidence[0] == "brightness"
    assert len(found[0].pictures) == 6


def test_pictures_changed_and_the_encoder_bears_it(rng: np.random.Generator) -> None:
    found = named(make_vectors(1_000, rng), rng, sharpness=0.5)
    assert causes(found) == [("pictures_changed", "nothing")]


def test_pictures_changed_and_no_statistic_shows_it(rng: np.random.Generator) -> None:
    found = named(everywhere(make_vectors(1_000, rng)), rng)
    assert causes(found) == [("pictures_changed", "fix_client")]
    assert "no statistic" in found[0].sentence


def test_new_kind_of_items(rng: np.random.Generator) -> None:
    found = named(new_kind(rng), rng, may_show=lambda image_id: image_id.endswith("7"))
    assert causes(found) == [("new_items", "retrain")]
    assert {int(moved.query_id.split("-")[1]) < 60 for moved in found[0].pictures} == {True}
    shown = [image_id for moved in found[0].pictures for image_id in moved.image_ids]
    assert shown
    assert all(image_id.endswith("7") for image_id in shown)


def test_new_kind_that_waits_to_be_indexed(rng: np.random.Generator) -> None:
    lag = Concern(name="indexed_share", topic="catalogue", state="alarm", sentence="half is missing")
    assert causes(named(new_kind(rng), rng, lag)) == [("catalogue_lags", "reindex"), ("new_items", "reindex")]


def test_other_proportions_of_the_known(rng: np.random.Generator) -> None:
    assert causes(named(other_mix(rng), rng)) == [("mix_changed", "nothing")]


def test_statistics_that_follow_the_mix_are_no_change_of_pictures(rng: np.random.Generator) -> None:
    """Pictures of one half of the clusters are brighter, and people now look for that half."""

    def sample(rows: int, share: float, name: str):
        bright = rng.random(rows) < share
        half = np.where(np.arange(12) < 6, 1 / 6, 0)
        vectors = np.where(
            bright[:, None], make_vectors(rows, rng, shares=half), make_vectors(rows, rng, shares=half[::-1])
        )
        inputs = make_inputs(rows, rng)
        inputs.figures["brightness"] += 0.3 * bright
        return make_sample(vectors.astype(np.float32), inputs, name=name)

    comparison = compare(sample(2_000, 0.5, "image"), sample(1_000, 0.8, "q"), PARAMETERS)
    assert comparison is not None
    assert comparison.tested("brightness").state == "alarm"
    concerns = drift_concerns(comparison, 1_000, PARAMETERS)
    assert causes(diagnose(concerns, comparison, drift=PARAMETERS)) == [("mix_changed", "nothing")]


def test_another_encoder_comes_before_everything_else(rng: np.random.Generator) -> None:
    golden = Concern(name="golden_vectors", topic="serving", state="alarm", sentence="off")
    turned = make_vectors(1_000, rng) @ np.linalg.qr(rng.normal(size=(32, 32)))[0]
    assert causes(named(normalise(turned), rng, golden)) == [("preprocessing_differs", "roll_back")]


def test_one_stratum_is_wilcoxons_test(rng: np.random.Generator) -> None:
    first, second = rng.normal(size=40).round(1), (rng.normal(size=30) + 0.5).round(1)
    expected = mannwhitneyu(first, second, method="asymptotic", use_continuity=False).pvalue
    zeros = np.zeros(40, np.int64), np.zeros(30, np.int64)
    assert van_elteren(first, second, *zeros) == pytest.approx(expected)
    with_gaps = np.concatenate([first, [np.nan]])
    assert van_elteren(with_gaps, second, np.zeros(41, np.int64), zeros[1]) == pytest.approx(expected)


def test_strata_take_the_mix_out(rng: np.random.Generator) -> None:
    strata, other = (rng.random(500) < 0.2).astype(np.int64), (rng.random(500) < 0.8).astype(np.int64)
    first, second = rng.normal(size=500) + 3 * strata, rng.normal(size=500) + 3 * other
    assert van_elteren(first, second, strata, other) > 0.001
    assert van_elteren(first, second + 0.5, strata, other) < 1e-6
    assert van_elteren(first, second, np.zeros(500, np.int64), np.ones(500, np.int64)) == 1.0
