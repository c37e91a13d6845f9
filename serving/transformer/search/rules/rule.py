"""The interface of a rule. A new one serves each query; the rows come best first."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from serving.transformer.search.results import RuleReport, SearchOptions

if TYPE_CHECKING:
    from serving.transformer.search.rows import Rows


class Rule(ABC):
    """Refuses rows. What it refuses depends on the results before, never on how many rows were examined.

    Args:
        rows: attributes of every row.
        options: options of the query.
    """

    name: ClassVar[str]

    def __init__(self, rows: Rows, options: SearchOptions) -> None:
        self.rows, self.options = rows, options
        self.refused = 0

    @property
    def is_active(self) -> bool:
        """Whether the query wants this rule at all."""
        return True

    @abstractmethod
    def refuses(self, row: int, score: float) -> bool:
        """Whether this row may not become the next result."""

    def show(self, row: int) -> None:  # noqa: B027  # most rules remember nothing
        """Learn that this row became a result."""

    def ends(self, score: float) -> bool:
        """Whether no row of this score or less can become a result."""
        return False

    def settled(self) -> NDArray[np.bool_] | None:
        """Return (n,) the rows that it refuses regardless of later results; None: it knows of none."""
        return None

    def about(self, row: int) -> str | None:
        """Return a sentence on a result, or None."""
        return None

    @abstractmethod
    def sentence(self) -> str:
        """Return what the rule did."""

    def report(self) -> RuleReport:
        """Return what the rule did, with its number."""
        return RuleReport(self.name, self.sentence(), self.refused)


def counted(number: int, noun: str) -> str:
    """Return "1 image", "2 images".

    Example:
        >>> counted(1, "image"), counted(2, "image")
        ('1 image', '2 images')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"
