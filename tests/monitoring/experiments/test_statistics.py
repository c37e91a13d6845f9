"""The statistics against tea-tasting, against explicit loops and against simulation."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import tea_tasting as tt
from scipy.stats import chisquare

from monitoring.experiments.moments import Moments
from monitoring.experiments.multiplicity import holm
from monitoring.experiments.ratios import compare, ratio, ratio_variance
from monitoring.experiments.sample_ratio import chi_square_p, sequential_p
from monitoring.experiments.sequences import (
    always_valid_p,
    critical_value,
    log_evidence,
    needed_information,
    tuning,
)


def _users(n: int, seed: int, lift: float = 0.0) -> np.ndarray:
    """Return (n, 4): clicks, searches, and the same of the time before."""
    rng = np.random.default_rng(seed)
    rate, own = np.exp(rng.normal(0.5, 1, n)), rng.beta(2, 4, n)
    searches, earlier = 1 + rng.poisson(rate), rng.poisson(2 * rate)
    clicks = rng.binomial(searches, np.minimum(own * (1 + lift), 1))
    return np.stack([clicks, searches, rng.binomial(earlier, own), earlier], axis=1).astype(float)


@pytest.mark.parametrize("cuped", [False, True])
def test_ratio_difference_and_cuped_agree_with_tea_tasting(cuped: bool) -> None:
    arms = [_users(700, 1), _users(650, 2, 0.1)]
    frame = pd.DataFrame(np.concatenate(arms), columns=["clicks", "searches", "clicks_before", "searches_before"])
    frame["variant"] = [0] * 700 + [1] * 650
    covariates = {"numer_covariate": "clicks_before", "denom_covariate": "searches_before"} if cuped else {}
    experiment = tt.Experiment(m=tt.RatioOfMeans("clicks", "searches", use_t=False, equal_var=False, **covariates))
    oracle = experiment.analyze(frame)["m"]
    width = 4 if cuped else 2
    found = compare(*(Moments.of(values[:, :width]) for values in arms))
    assert found.control == pytest.approx(oracle.control, rel=1e-9)
    assert found.treatment == pytest.approx(oracle.treatment, rel=1e-9)
    assert found.value == pytest.approx(oracle.effect_size, rel=1e-9)
    z = 1.959963984540054
    assert found.value - z * math.sqrt(found.variance) == pytest.approx(oracle.effect_size_ci_lower, rel=1e-9)
    assert found.relative == pytest.approx(oracle.rel_effect_size, rel=1e-9)
    low = (1 + found.relative) * math.exp(-z * math.sqrt(found.relative_variance)) - 1
    assert low == pytest.approx(oracle.rel_effect_size_ci_lower, rel=1e-9)
    if cuped:
        plain = compare(*(Moments.of(values[:, :2]) for values in arms))
        assert found.variance < 0.8 * plain.variance


@pytest.mark.parametrize("counts", [(5_000, 5_210), (480, 530), (90_000, 89_000)])
def test_sample_ratio_agrees_with_tea_tasting(counts: tuple[int, int]) -> None:
    frame = pd.DataFrame({"variant": np.repeat([0, 1], counts)})
    oracle = tt.Experiment(m=tt.SampleRatio(method="norm", correction=False)).analyze(frame)["m"]
    ours = chi_square_p(np.array(counts, float), np.array([0.5, 0.5]))
    assert ours == pytest.approx(oracle.pvalue, rel=1e-9)
    assert ours == pytest.approx(chisquare(counts).pvalue, rel=1e-9)


def test_delta_method_by_loops() -> None:
    values = _users(300, 3)[:, :2]
    r = values[:, 0].sum() / values[:, 1].sum()
    mean = values[:, 1].mean()
    influence = [(x - r * y) / mean for x, y in values]
    moments = Moments.of(values)
    assert ratio(moments) == pytest.approx(r, rel=1e-12)
    assert ratio_variance(moments) == pytest.approx(sum(h * h for h in influence) / 299 / 300, rel=1e-9)


def test_moments_of_sums_and_pooling_are_those_of_the_values() -> None:
    a, b = _users(50, 4), _users(70, 5)
    whole = Moments.of(np.concatenate([a, b]))
    pooled = Moments.of(a) + Moments.of(b)
    by_sums = Moments.of_sums(np.float64(120), whole.mean * 120, np.concatenate([a, b]).T @ np.concatenate([a, b]))
    for other in (pooled, by_sums):
        assert other.mean == pytest.approx(whole.mean, rel=1e-12)
        assert other.covariance == pytest.approx(whole.covariance, rel=1e-9)


def test_boundary_is_where_the_mixture_reaches_one_over_alpha() -> None:
    """The two-sided bound inverts the martingale, found here by integrating over effects numerically."""
    alpha, rho = 0.05, 40.0
    for information in (3.0, 40.0, 900.0):
        z = float(critical_value(np.float64(information), rho=rho, alpha=alpha))
        effect = np.linspace(-8, 8, 400_001) / math.sqrt(rho)
        prior = np.exp(-0.5 * rho * effect**2) * math.sqrt(rho / (2 * math.pi))
        score = z * math.sqrt(information)
        mixture = np.trapezoid(prior * np.exp(effect * score - 0.5 * effect**2 * information), effect)
        assert mixture == pytest.approx(1 / alpha, rel=1e-4)
        estimate = np.float64(score / information)
        assert log_evidence(estimate, np.float64(information), rho=rho) == pytest.approx(math.log(1 / alpha), rel=1e-9)
        one_sided = float(critical_value(np.float64(information), rho=rho, alpha=alpha, one_sided=True))
        half = (
            2
            * prior[effect >= 0]
            * np.exp(
                effect[effect >= 0] * one_sided * math.sqrt(information) - 0.5 * effect[effect >= 0] ** 2 * information
            )
        )
        assert np.trapezoid(half, effect[effect >= 0]) >= 1 / alpha  # the closed form is a little wider than needed
        assert one_sided < z


def test_interval_is_nearly_tightest_where_it_was_tuned_for() -> None:
    target = needed_information(0.01, alpha=0.05, power=0.8)
    best = tuning(target, 0.05)
    at = {f: float(critical_value(np.float64(target), rho=best * f, alpha=0.05)) for f in (0.1, 1.0, 10.0)}
    assert at[1.0] == min(at.values())


def test_a_brownian_motion_rarely_leaves_its_boundary() -> None:
    rng = np.random.default_rng(0)
    information = np.geomspace(1, 10_000, 400)
    steps = rng.standard_normal((4_000, 400)) * np.sqrt(np.diff(information, prepend=0.0))
    score = np.cumsum(steps, axis=1)
    z = score / np.sqrt(information)
    two = (np.abs(z) > critical_value(information, rho=30.0, alpha=0.05)).any(axis=1).mean()
    one = (z > critical_value(information, rho=30.0, alpha=0.05, one_sided=True)).any(axis=1).mean()
    assert 0.01 < two <= 0.055
    assert 0.01 < one <= 0.055
    p = always_valid_p(log_evidence(score / information, information, rho=30.0))
    assert ((p[:, -1] < 0.05) == (np.abs(z) > critical_value(information, rho=30.0, alpha=0.05)).any(axis=1)).all()
    assert (np.diff(p, axis=1) <= 0).all()


def test_no_evidence_is_no_p_value() -> None:
    assert always_valid_p(np.array([np.nan, 3.0, np.nan])) == pytest.approx([1.0, math.exp(-3), math.exp(-3)])


def test_sequential_sample_ratio_keeps_its_level_and_finds_mismatch() -> None:
    shares = np.array([0.9, 0.1])
    rng = np.random.default_rng(2)

    def p_values(true: float) -> np.ndarray:
        daily = rng.binomial(2_000, true, (1_500, 14))
        counts = np.cumsum(np.stack([2_000 - daily, daily], axis=-1), axis=1).astype(float)
        return sequential_p(counts, shares)

    assert (p_values(0.1)[:, -1] < 0.05).mean() <= 0.05
    assert (p_values(0.1)[:, -1] < 0.001).mean() <= 0.002
    assert (p_values(0.115)[:, -1] < 0.001).mean() > 0.95
    # One user at a time, by the predictive probabilities: the Bayes factor's product.
    arms, prior, log_factor = rng.integers(0, 2, 60), np.array([500.0, 500.0]), 0.0
    best = 0.0
    for arm in arms:
        log_factor += math.log(prior[arm] / prior.sum() / 0.5)
        prior[arm] += 1
        best = max(best, log_factor)
    counts = np.stack([np.cumsum(arms == 0), np.cumsum(arms == 1)], axis=-1).astype(float)
    assert sequential_p(counts, np.array([0.5, 0.5]))[-1] == pytest.approx(math.exp(-best), rel=1e-9)


def test_holm_by_hand() -> None:
    assert holm(np.array([0.04, 0.01, 0.03])) == pytest.approx([0.06, 0.03, 0.06])
    assert holm(np.array([0.5, 0.9])) == pytest.approx([1.0, 1.0])
