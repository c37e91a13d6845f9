"""Result of a two-sample test."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DriftOutcome:
    """Result of a two-sample test.

    Attributes:
        value: the figure that was compared.
        p_value: probability of a figure at least so extreme if window and reference are of one distribution.
        effect: size of the change; 0 is none.
        effect_name: scale of the effect.
        minimum: least effect that matters.
    """

    name: str
    value: float
    p_value: float
    effect: float
    effect_name: str
    minimum: float
