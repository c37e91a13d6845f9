"""One line per check: what is needed, what the cluster has, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "missing", "not known"]


@dataclass(frozen=True)
class Check:
    """Result of one check.

    Attributes:
        state: "missing" where something needed is absent or too old, "not known" where it cannot be told.
        subject: the thing that is needed, for example "KServe" or "Secret/visual-search-postgresql".
        sentence: what was found and, unless it is ok, what to do.
    """

    state: State
    subject: str
    sentence: str

    def __str__(self) -> str:
        """Return one line."""
        return f"{self.state:<9}  {self.subject}: {self.sentence}"


def ok(subject: str, sentence: str) -> Check:
    """Return a check that found everything."""
    return Check("ok", subject, sentence)


def missing(subject: str, sentence: str) -> Check:
    """Return a check that found less than is needed."""
    return Check("missing", subject, sentence)


def unknown(subject: str, sentence: str) -> Check:
    """Return a check that could not find out."""
    return Check("not known", subject, sentence)


def exit_code(checks: Iterable[Check]) -> int:
    """Return 1 if something is missing, else 0."""
    return int(any(check.state == "missing" for check in checks))
