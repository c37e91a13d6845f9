"""One line per check: the need, the state of the cluster, and the fix."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "missing", "not known"]


@dataclass(frozen=True)
class Check:
    """Result of one check.

    Attributes:
        state: "missing" if something needed is absent or too old, "not known" if the check could not find out.
        subject: the needed part, for example "KServe" or "Secret/visual-search-postgresql".
        sentence: the state found and, unless it is ok, the fix.
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
    """Return a check that found less than needed."""
    return Check("missing", subject, sentence)


def unknown(subject: str, sentence: str) -> Check:
    """Return a check that could not find out."""
    return Check("not known", subject, sentence)


def exit_code(checks: Iterable[Check]) -> int:
    """Return 1 if something is missing, else 0."""
    return int(any(check.state == "missing" for check in checks))
