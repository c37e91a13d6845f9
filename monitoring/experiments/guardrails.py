"""Guardrails: rates of the servers that the challenger may not worsen, each watched by a one-sided sequence.

The unit is a window of counters of one arm, so errors that come together in a burst count as one. Windows are taken for
independent; a fault that lasts for many windows is no false alarm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitoring.experiments.moments import Moments
from monitoring.experiments.parameters import ExperimentParameters, Guardrail
from monitoring.experiments.ratios import compare
from monitoring.experiments.sequences import critical_value, needed_information, tuning

TITLES = {"errors": "Failed requests", "slow": "Slow answers", "zero_results": "Searches without a result"}
_LOOKED_FOR = 0.05  # the sequences are tightest for a difference of five percentage points


@dataclass(frozen=True)
class GuardrailResult:
    """Result of a guardrail.

    Attributes:
        name: counter.
        control: rate of the control arm; None before there is enough to say.
        treatment: rate of the treatment arm, in the same unit.
        lower: lower bound of treatment − control, always valid; None in the same case.
        margin: allowed difference.
        alarmed: the bound has ever been above the margin.
    """

    name: str
    control: float | None
    treatment: float | None
    lower: float | None
    margin: float
    alarmed: bool
    requests: int


def watch_guardrails(service: pa.Table | None, parameters: ExperimentParameters) -> list[GuardrailResult]:
    """Look after every window of the treatment arm, and alarm if any look ever did.

    Args:
        service: counters (`SERVICE_SCHEMA`), sorted by time; None: there are none.
        parameters: all guardrails together alarm without reason with probability at most `guardrail_alpha` (Bonferroni).
    """
    alpha = parameters.guardrail_alpha / max(len(parameters.guardrails), 1)
    if service is not None:
        for limit, keep in ((parameters.start, pc.greater_equal), (parameters.until, pc.less)):
            if limit is not None:
                service = service.filter(keep(service["at"], pa.scalar(limit, service["at"].type)))
    return [_watch(service, guardrail, parameters, alpha) for guardrail in parameters.guardrails]


def _watch(
    service: pa.Table | None, guardrail: Guardrail, parameters: ExperimentParameters, alpha: float
) -> GuardrailResult:
    nothing = GuardrailResult(guardrail.name, None, None, None, guardrail.margin, False, 0)
    if service is None or not service.num_rows:
        return nothing
    arm = np.asarray(service["arm"].to_pylist(), object)
    values = np.stack([service[guardrail.name].to_numpy(), service["requests"].to_numpy()], axis=1)
    arms = {name: _running(values, arm == name) for name in (parameters.control, parameters.treatment)}
    control, treatment = arms[parameters.control], arms[parameters.treatment]
    difference = compare(control, treatment)
    enough = np.minimum(control.count, treatment.count) >= parameters.minimum_windows
    enough &= treatment.count * treatment.mean[:, 1] >= parameters.minimum_requests
    # Without a single event in either arm there is no variance to know, and nothing to alarm about. Where one arm always
    # fails and the other never does, no window differs from another either: there a binomial's variance is used instead.
    alike = np.where(difference.value == 0, np.inf, _binomial_variance(control) + _binomial_variance(treatment))
    information = 1 / np.where(difference.variance > 0, difference.variance, alike)
    usable = enough & (information > 0)
    rho = tuning(needed_information(_LOOKED_FOR, alpha=2 * alpha, power=0.8), 2 * alpha)
    safe = np.where(usable, information, 1.0)
    reach = critical_value(safe, rho=rho, alpha=alpha, one_sided=True) / np.sqrt(safe)
    lower = np.where(usable, difference.value - reach, np.nan)
    requests = int((values[:, 1] * (arm == parameters.treatment)).sum())
    if not enough[-1]:
        return GuardrailResult(guardrail.name, None, None, None, guardrail.margin, False, requests)
    return GuardrailResult(
        name=guardrail.name,
        control=float(difference.control[-1]),
        treatment=float(difference.treatment[-1]),
        lower=float(lower[-1]) if usable[-1] else None,
        margin=guardrail.margin,
        alarmed=bool(np.any(lower > guardrail.margin)),
        requests=requests,
    )


def _binomial_variance(arm: Moments) -> np.ndarray:
    """Return the variance of a rate if each request failed by itself, (…), shrunk towards a half as Jeffreys does."""
    events, requests = (arm.count * arm.mean[..., column] for column in (0, 1))
    rate = (events + 0.5) / (requests + 1)
    return np.asarray(rate * (1 - rate) / np.maximum(requests, 1))


def _running(values: np.ndarray, chosen: np.ndarray) -> Moments:
    kept = values * chosen[:, None]
    products = np.cumsum(kept[:, :, None] * kept[:, None, :], axis=0)
    return Moments.of_sums(np.cumsum(chosen).astype(np.float64), np.cumsum(kept, axis=0), products)
