"""Each test of drift against explicit loops or another library, and what all of them promise together."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, chi2_contingency, false_discovery_control, ks_2samp, mannwhitneyu

from components.shared.errors import SpaceMismatchError
from components.shared.vectors.embeddings import normalise
from monitoring.drift.comparison import EMBEDDING_TESTS, Comparison, compare, judged
from monitoring.drift.domain_classifier import _auc, cross_fitted_auc
from monitoring.drift.inputs import input_outcomes
from monitoring.drift.local_excess import _neighbours, _rings, excesses, local_excess
from monitoring.drift.mean_difference import mean_difference, squared_distances
from monitoring.drift.occupancy import chi_square, occupancy, occupy
from monitoring.drift.outcome import DriftOutcome
from monitoring.drift.parameters import DriftParameters
from monitoring.drift.permutations import permuted_groups, sequential_p_value
from monitoring.drift.similarity import nearness, top_similarity
from support.factories.drift_factory import CENTRES, SHARES, make_inputs, make_sample, make_vectors

PARAMETERS = DriftParameters()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def run(reference: np.ndarray, window: np.ndarray, seed: int = 0) -> Comparison:
    found = compare(make_sample(reference), make_sample(window), DriftParameters(seed=seed))
    assert found is not None
    return found


def test_auc_is_that_of_wilcoxon(rng: np.random.Generator) -> None:
    scores, positive = rng.normal(size=(3, 40)).astype(np.float32), (rng.random((3, 40)) < 0.3).astype(np.float32)
    expected = [
        mannwhitneyu(s[p == 1], s[p == 0]).statistic / (p.sum() * (1 - p).sum())
        for s, p in zip(scores, positive, strict=True)
    ]
    np.testing.assert_allclose(_auc(scores, positive), expected, rtol=1e-6)


def test_cross_fitting_by_loops(rng: np.random.Generator) -> None:
    vectors = rng.normal(size=(60, 4)).astype(np.float32)
    groups = permuted_groups(60, 25, 3, rng)
    folds = np.array_split(rng.permutation(60), 4)
    expected = []
    for group in groups:
        areas = []
        for fold in folds:
            train = np.setdiff1d(np.arange(60), fold)
            inside, outside = train[group[train] == 1], train[group[train] == 0]
            scores = vectors[fold] @ (vectors[inside].mean(axis=0) - vectors[outside].mean(axis=0))
            pairs = [(a > b) for a in scores[group[fold] == 1] for b in scores[group[fold] == 0]]
            areas.append(np.mean(pairs))
        expected.append(np.mean(areas))
    np.testing.assert_allclose(cross_fitted_auc(vectors, groups, folds), expected, atol=1e-6)


def test_mean_distance_by_loops(rng: np.random.Generator) -> None:
    vectors = rng.normal(size=(30, 5)).astype(np.float32)
    vectors -= vectors.mean(axis=0)
    groups = permuted_groups(30, 12, 4, rng)
    expected = [((vectors[g == 1].mean(axis=0) - vectors[g == 0].mean(axis=0)) ** 2).sum() for g in groups]
    np.testing.assert_allclose(squared_distances(vectors, groups), expected, rtol=1e-4)


def test_chi_square_is_scipys(rng: np.random.Generator) -> None:
    window, reference = rng.integers(1, 30, 8), rng.integers(1, 50, 8)
    expected = chi2_contingency(np.stack([window, reference]), correction=False).statistic
    assert chi_square(window[None], window + reference)[0] == pytest.approx(expected)


def test_occupancy_assigns_to_the_nearest(rng: np.random.Generator) -> None:
    reference, window = make_vectors(50, rng), make_vectors(30, rng)
    found = occupy(reference, window, CENTRES)
    nearest = [int(np.argmax([row @ centre for centre in CENTRES])) for row in window]
    np.testing.assert_array_equal(found.of_window, nearest)
    np.testing.assert_array_equal(found.window, [nearest.count(c) for c in range(12)])


def test_excess_by_loops(rng: np.random.Generator) -> None:
    pooled = make_vectors(200, rng)
    places, sizes = np.arange(0, 200, 20), [5, 10]
    groups = permuted_groups(200, 80, 3, rng)
    figures = excesses(_rings(_neighbours(pooled, places, 10), sizes, 200), sizes, groups)
    for s, size in enumerate(sizes):
        for c, place in enumerate(places):
            near = np.argsort(-(pooled @ pooled[place]))[:size]
            for p in range(3):
                expected = (groups[p, near].sum() - size * 0.4) / np.sqrt(size * 0.4 * 0.6)
                assert figures[s, c, p] == pytest.approx(expected, abs=1e-5)


def test_divisions_have_the_windows_size_and_are_equally_likely(rng: np.random.Generator) -> None:
    groups = permuted_groups(20, 5, 4_000, rng)
    assert (groups.sum(axis=1) == 5).all()
    assert np.abs(groups.mean(axis=0) - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / 4_000)


def test_sequential_p_values_are_exact(rng: np.random.Generator) -> None:
    values = np.array([
        sequential_p_value(rng.random(), rng.random, permutations=199, exceedances=10) for _ in range(3_000)
    ])  # fmt: skip
    for level in (0.01, 0.05, 0.2, 0.5):
        assert (values <= level).mean() <= level + 4 * np.sqrt(level * (1 - level) / 3_000)
    assert (values <= 0.5).mean() > 0.4
    assert sequential_p_value(2.0, rng.random, permutations=199, exceedances=10) == pytest.approx(1 / 200)
    assert sequential_p_value(-1.0, rng.random, permutations=199, exceedances=10) == 1.0


def test_nearness_is_measured_against_one_half(rng: np.random.Generator) -> None:
    reference, window = make_vectors(60, rng), make_vectors(20, rng)
    near = nearness(reference, window, rng)
    assert sorted([*near.gallery, *near.probes]) == list(range(60))
    np.testing.assert_allclose(near.window, (window @ reference[near.gallery].T).max(axis=1), rtol=1e-5)
    np.testing.assert_allclose(
        near.reference, (reference[near.probes] @ reference[near.gallery].T).max(axis=1), rtol=1e-5
    )
    found = top_similarity(near, PARAMETERS)
    assert (found.effect, found.p_value) == pytest.approx(
        tuple(ks_2samp(near.reference, near.window, method="asymp"))[:2]
    )


def test_inputs_that_are_not_known_are_left_out(rng: np.random.Generator) -> None:
    reference, window = make_inputs(400, rng), make_inputs(300, rng, brightness=0.8)
    for values in reference.figures.values():
        values[:100] = np.nan
    found = {o.name: o for o in input_outcomes(reference, window, PARAMETERS, rng)}
    expected = ks_2samp(reference.figures["brightness"][100:], window.figures["brightness"], method="asymp")
    assert found["brightness"].p_value == pytest.approx(expected.pvalue)
    assert found["brightness"].p_value < 1e-6 < found["contrast"].p_value


def test_families_share_alpha() -> None:
    outcomes = tuple(DriftOutcome(f"t{i}", 0.0, p, 1.0, "x", 0.5) for i, p in enumerate((0.001, 0.0012, 0.3, 0.9)))
    found = judged(outcomes, 0.01)
    assert [t.adjusted for t in found] == pytest.approx([0.008, 0.008, 1.0, 1.0])
    assert [t.state for t in found] == ["alarm", "alarm", "ok", "ok"]
    assert judged((DriftOutcome("t", 0.0, 1e-9, 0.1, "x", 0.5),), 0.01)[0].state == "watch"
    assert all(
        t.adjusted >= b for t, b in zip(found, false_discovery_control([o.p_value for o in outcomes]), strict=True)
    )


@pytest.mark.parametrize("size", [300, 1_000, 3_000])
def test_no_drift_no_alarm(size: int) -> None:
    alarms = null_alarms(size, windows=60, reference=1_000, places=500)  # exact with any number of places
    assert alarms <= binom.ppf(0.9999, 60, 0.01)


@pytest.mark.long
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("size", [300, 1_000, 3_000])
def test_no_drift_no_alarm_in_a_thousand_windows(size: int) -> None:
    assert null_alarms(size, windows=1_000, reference=1_500, places=2_000) <= binom.ppf(0.999, 1_000, 0.01)


def null_alarms(size: int, *, windows: int, reference: int, places: int) -> int:
    alarms = 0
    for window in range(windows):
        own = np.random.default_rng([size, window])
        known, asked = make_sample(make_vectors(reference, own)), make_sample(make_vectors(size, own))
        found = compare(known, asked, DriftParameters(seed=window, places=places))
        assert found is not None
        alarms += any(tested.adjusted <= 0.01 for tested in found.embeddings)
    return alarms


@pytest.mark.parametrize(
    ("drift", "by"),
    [
        ("shift", {"domain_classifier", "mean_difference"}),
        ("mix", {"occupancy", "mean_difference", "local_excess"}),
        ("new", {"local_excess"}),
        ("noise", {"top_similarity"}),
        ("turned", set(EMBEDDING_TESTS)),
    ],
)
def test_drift_is_found(drift: str, by: set[str], rng: np.random.Generator) -> None:
    reference, window = make_vectors(2_000, rng), make_vectors(1_000, rng)
    if drift == "shift":
        window = normalise(window + 0.08 * np.eye(1, 32))
    elif drift == "mix":
        shares = SHARES.copy()
        shares[:2] += 0.3
        window = make_vectors(1_000, rng, shares=shares / shares.sum())
    elif drift == "new":
        new = normalise(np.random.default_rng(5).normal(size=32)[None])
        window[:50] = normalise(new + rng.normal(0, 0.1, (50, 32)))
    elif drift == "noise":
        window = normalise(window + rng.normal(0, 0.06, window.shape))
    else:
        window = normalise(window @ np.linalg.qr(rng.normal(size=(32, 32)))[0])
    found = run(reference, window)
    assert by <= {tested.outcome.name for tested in found.embeddings if tested.state == "alarm"}


def test_the_crowd_is_what_is_new(rng: np.random.Generator) -> None:
    reference, window = make_vectors(2_000, rng), make_vectors(1_000, rng)
    new = normalise(np.random.default_rng(5).normal(size=32)[None])
    window[:50] = normalise(new + rng.normal(0, 0.1, (50, 32)))
    _, crowd = local_excess(reference, window, PARAMETERS, rng)
    assert (crowd.window < 50).sum() > 40
    assert (crowd.window < 50).mean() > 0.7


def test_spaces_are_never_mixed(rng: np.random.Generator) -> None:
    with pytest.raises(SpaceMismatchError, match="s-2"):
        compare(make_sample(make_vectors(300, rng)), make_sample(make_vectors(300, rng), space_id="s-2"), PARAMETERS)
    with pytest.raises(SpaceMismatchError, match="16 dimensions"):
        compare(make_sample(make_vectors(300, rng)), make_sample(normalise(make_vectors(300, rng)[:, :16])), PARAMETERS)


def test_small_windows_and_repetitions(rng: np.random.Generator) -> None:
    reference = make_sample(make_vectors(500, rng))
    assert compare(reference, make_sample(make_vectors(199, rng)), PARAMETERS) is None
    repeated = np.repeat(make_vectors(199, rng), 5, axis=0)
    assert compare(reference, make_sample(repeated), PARAMETERS) is None
    assert compare(reference, make_sample(make_vectors(200, rng)), PARAMETERS) is not None


def test_cost_is_bounded_by_a_sample(rng: np.random.Generator) -> None:
    parameters = DriftParameters(maximum_rows=500)
    found = compare(make_sample(make_vectors(2_000, rng)), make_sample(make_vectors(3_000, rng)), parameters)
    assert found is not None
    assert (len(found.reference.ids), len(found.window.ids)) == (500, 500)


def test_the_indexs_lists_are_the_clusters(rng: np.random.Generator) -> None:
    reference, window = make_vectors(800, rng), make_vectors(700, rng)
    outcome, found = occupancy(reference, window, CENTRES, PARAMETERS, rng)
    np.testing.assert_array_equal(found.window, occupy(reference, window, CENTRES).window)
    assert outcome.p_value > 0.001


def test_equal_samples_have_no_effect(rng: np.random.Generator) -> None:
    reference, window = make_vectors(2_000, rng), make_vectors(2_000, rng)
    assert mean_difference(reference, window, PARAMETERS, rng).effect < 0.2
    assert run(reference, window).tested("occupancy").outcome.effect < 0.02
