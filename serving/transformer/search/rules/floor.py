"""Refuses rows whose score is below the floor."""

from __future__ import annotations

from typing import ClassVar

from serving.transformer.search.rules.rule import Rule


class Floor(Rule):
    """Refuses scores below the floor; the rows come best first, so nothing comes after the first of them."""

    name: ClassVar[str] = "floor"

    @property
    def is_active(self) -> bool:
        """Whether it was asked for."""
        return self.options.floor is not None

    def refuses(self, row: int, score: float) -> bool:
        """Whether it scores below the floor."""
        return self.ends(score)

    def ends(self, score: float) -> bool:
        """Whether it scores below the floor."""
        return self.options.floor is not None and score < self.options.floor

    def sentence(self) -> str:
        """Return the floor."""
        return f"a result scores at least {self.options.floor:.3f}"
