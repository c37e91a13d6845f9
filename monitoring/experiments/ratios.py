"""Ratio metrics by user: the delta method, CUPED, and the difference between two arms.

Clicks per query is a ratio of two sums over users, and a user's queries are alike: pooled over queries as if independent, its
variance is far too small (an A/A test alarms in one of five). Users are independent, so everything here is by user.

Source: Deng, Knoblich, Lu (2018), Applying the delta method in metric analytics, KDD, sections 3.1 and 3.2; Deng, Xu, Kohavi,
Walker (2013), Improving the sensitivity of online controlled experiments by utilizing pre-experiment data, WSDM, section 3
and appendix B (CUPED of a ratio).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monitoring.experiments.moments import Floats, Moments


@dataclass(frozen=True)
class Difference:
    """A ratio metric in two arms. All arrays have the leading axes of the moments.

    Attributes:
        control: ratio in the control arm (adjusted, where there is a covariate).
        treatment: the same for the treatment.
        value: treatment − control.
        variance: variance of `value`.
        relative: treatment / control − 1; NaN where the control's ratio is 0.
        relative_variance: relative variance of the logarithm of treatment / control.
    """

    control: Floats
    treatment: Floats
    value: Floats
    variance: Floats
    relative: Floats
    relative_variance: Floats


def ratio(moments: Moments) -> Floats:
    """Return Σ numerator / Σ denominator (variables 0 and 1); NaN where the denominator is 0."""
    return _divide(moments.mean[..., 0], moments.mean[..., 1])


def ratio_variance(moments: Moments) -> Floats:
    """Return the variance of `ratio` by the delta method, (σ²ₓ − 2 R σₓᵧ + R² σ²ᵧ) / (n ȳ²)."""
    return _form(moments.covariance, _slopes(moments)) / np.maximum(moments.count, 1)


def compare(control: Moments, treatment: Moments) -> Difference:
    """Compare two arms.

    Args:
        control: moments of numerator and denominator and, for CUPED, the same two from before the experiment.
        treatment: the same for the treatment.

    With four variables each ratio is adjusted by −θ (its own ratio before − that of both arms together), where θ is the
    regression of the one on the other over all users: what a user did before cannot be the treatment's doing.
    """
    parts = []
    adjusted = control.mean.shape[-1] == 4
    pooled = control + treatment if adjusted else None
    for moments in (control, treatment):
        value, slopes = ratio(moments), _slopes(moments)
        if pooled is not None:
            theta, centre = _adjustment(pooled)
            before = _before(moments)
            value = value - theta * np.nan_to_num(ratio(before) - centre)
            slopes = np.concatenate([slopes, -theta[..., None] * np.nan_to_num(_slopes(before))], axis=-1)
        parts.append((value, _form(moments.covariance, slopes) / np.maximum(moments.count, 1)))
    (first, first_variance), (second, second_variance) = parts
    return Difference(
        control=first,
        treatment=second,
        value=second - first,
        variance=first_variance + second_variance,
        relative=_divide(second, first) - 1,
        relative_variance=_divide(first_variance, first**2) + _divide(second_variance, second**2),
    )


def _adjustment(pooled: Moments) -> tuple[Floats, Floats]:
    before = _before(pooled)
    now_slopes, before_slopes = _slopes(pooled), np.nan_to_num(_slopes(before))
    cross = np.einsum("...i,...ij,...j->...", now_slopes, pooled.covariance[..., :2, 2:], before_slopes)
    spread = _form(before.covariance, before_slopes)
    return np.nan_to_num(_divide(cross, spread)), ratio(before)


def _before(moments: Moments) -> Moments:
    return Moments(moments.count, moments.mean[..., 2:], moments.covariance[..., 2:, 2:])


def _slopes(moments: Moments) -> Floats:
    """Return (…, 2) ∂R/∂(x̄, ȳ) = (1, −R) / ȳ."""
    inverse = _divide(np.ones_like(moments.mean[..., 1]), moments.mean[..., 1])
    return np.stack([inverse, -ratio(moments) * inverse], axis=-1)


def _form(covariance: Floats, slopes: Floats) -> Floats:
    size = slopes.shape[-1]
    found: Floats = np.einsum("...i,...ij,...j->...", slopes, covariance[..., :size, :size], slopes)
    return np.maximum(found, 0.0)


def _divide(a: Floats, b: Floats) -> Floats:
    safe = np.where(b == 0, 1.0, b)
    return np.asarray(np.where(b == 0, np.nan, a / safe))
