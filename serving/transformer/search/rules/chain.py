"""The chain of rules: which are active, and in what order they are asked.

Two guarantees are part of the search itself, not of the chain, and cannot be switched off: private, inappropriate and removed
images are never found, and scores are computed from the stored vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, field_validator

from serving.transformer.search.results import RuleReport, SearchOptions
from serving.transformer.search.rules.floor import Floor
from serving.transformer.search.rules.items import Items
from serving.transformer.search.rules.near_duplicates import NearDuplicates
from serving.transformer.search.rules.own_image import OwnImage
from serving.transformer.search.rules.rule import Rule

if TYPE_CHECKING:
    from serving.transformer.search.rows import Rows

BUILT_IN: tuple[type[Rule], ...] = (OwnImage, Floor, NearDuplicates, Items)
_OF_THE_SEARCH = (
    RuleReport("visibility", "searched the images that may be shown, and no other"),
    RuleReport("exact_scores", "scores are inner products with the stored vectors"),
)


class ChainParameters(BaseModel):
    """The active rules, in the order in which they are asked; the first that refuses a row is credited with it.

    Attributes:
        rules: names of built-in rules, or classes of your own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rules: tuple[type[Rule], ...] = BUILT_IN

    @field_validator("rules", mode="before")
    @classmethod
    def _by_name(cls, rules: Sequence[str | type[Rule]]) -> list[object]:
        named = {rule.name: rule for rule in BUILT_IN}
        return [named.get(rule, rule) if isinstance(rule, str) else rule for rule in rules]

    @field_validator("rules")
    @classmethod
    def _once_each(cls, rules: tuple[type[Rule], ...]) -> tuple[type[Rule], ...]:
        names = [rule.name for rule in rules]
        if len(set(names)) != len(names):
            raise ValueError(f"a rule is listed twice in {', '.join(names)}")
        return rules


class Chain:
    """The rules of one query.

    Args:
        parameters: choice of the rules.
        rows: attributes of every row.
        options: options of the query.
    """

    def __init__(self, parameters: ChainParameters, rows: Rows, options: SearchOptions) -> None:
        self._rules = [rule for kind in parameters.rules if (rule := kind(rows, options)).is_active]
        self._ending = [rule for rule in self._rules if type(rule).ends is not Rule.ends]  # asked for every row

    def offer(self, row: int, score: float) -> bool:
        """Whether a row becomes the next result."""
        for rule in self._rules:
            if rule.refuses(row, score):
                rule.refused += 1
                return False
        for rule in self._rules:
            rule.show(row)
        return True

    def ends(self, score: float) -> bool:
        """Whether no row of this score or less can become a result."""
        return any(rule.ends(score) for rule in self._ending)

    def settled(self, count: int) -> NDArray[np.bool_]:
        """Return (count,) the rows that are refused regardless of later results."""
        mask = np.zeros(count, np.bool_)
        for rule in self._rules:
            if (refused := rule.settled()) is not None:
                mask |= refused
        return mask

    def has(self, rule: type[Rule]) -> bool:
        """Whether a rule is active for this query."""
        return any(isinstance(each, rule) for each in self._rules)

    def about(self, row: int) -> tuple[str, ...]:
        """Return what the rules say about a result."""
        return tuple(text for rule in self._rules if (text := rule.about(row)) is not None)

    def reports(self) -> tuple[RuleReport, ...]:
        """Return what the search and each rule did."""
        return (*_OF_THE_SEARCH, *(rule.report() for rule in self._rules))
