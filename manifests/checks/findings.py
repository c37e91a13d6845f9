"""A fault of a manifest: the object, the field, and one sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, order=True)
class Finding:
    """One fault.

    Attributes:
        thing: "Kind/name".
        field: path of the field, for example spec.replicas.
        sentence: the fault and the fix.
    """

    thing: str
    field: str
    sentence: str

    def __str__(self) -> str:
        """Return one line."""
        return f"{self.thing}: {self.field}: {self.sentence}"


def name_of(document: Json) -> str:
    """Return "Kind/name"."""
    return f"{document.get('kind', '?')}/{document.get('metadata', {}).get('name', '?')}"
