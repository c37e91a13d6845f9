"""Events as clients send them, and as they are stored."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import from_json

from components.shared.errors import ParameterError
from components.shared.files.atomic import digest_of
from serving.events.tokens import LONGEST_TOKEN, Impression, microseconds

MOST_EVENTS = 100  # of one request
LONGEST_DWELL_MS = 3_600_000  # an hour: beyond it, the user had left
MOST_VISITS = 10

Kind = Literal["impression", "click", "dwell"]


class ClientEvent(BaseModel):
    """One event as a client sends it.

    Attributes:
        token: token of the result that was clicked or viewed.
        type: impression, click or dwell.
        dwell_ms: viewing time of the result; with dwell only.
        visit: number of this visit to the result; limits how often one impression counts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    token: Annotated[str, Field(min_length=1, max_length=LONGEST_TOKEN)]
    type: Literal["click", "dwell"]
    dwell_ms: Annotated[int, Field(ge=0, le=LONGEST_DWELL_MS)] | None = None
    visit: Annotated[int, Field(ge=0, lt=MOST_VISITS)] = 0

    @model_validator(mode="after")
    def _dwell_has_a_time(self) -> ClientEvent:
        if (self.type == "dwell") != (self.dwell_ms is not None):
            raise ValueError("dwell needs dwell_ms, and click has none")
        return self


@dataclass(frozen=True, slots=True)
class Event:
    """One event to be stored."""

    impression: Impression
    type: Kind
    at: datetime.datetime
    dwell_ms: int | None = None
    visit: int = 0

    @property
    def event_id(self) -> str:
        """Equal for repeated reports of the same event, so that it is stored once.

        Half of it is of the search, so that the events of one search are adjacent in the store's index.
        """
        shown = self.impression
        own = digest_of([shown.image_id, shown.position, self.type, self.visit])
        return _digest_of_search(shown.query_id)[:16] + own[:16]

    def row(self) -> dict[str, Any]:
        """Return the columns of the store."""
        shown = self.impression
        return {
            "event_id": self.event_id,
            "query_id": shown.query_id,
            "user_id": shown.user_id,
            "query_image_id": shown.query_image_id,
            "returned_image_id": shown.image_id,
            "position": shown.position,
            "type": self.type,
            "dwell_ms": self.dwell_ms,
            "release_id": shown.release_id,
            "arm": shown.arm,
            "at": microseconds(self.at),
            "country": shown.country,
        }


@lru_cache(256)
def _digest_of_search(query_id: str) -> str:
    return digest_of([query_id])


def parse_batch(body: bytes) -> list[ClientEvent | str]:
    """Read the body of a request: `{"events": [...]}`.

    Returns:
        For each entry the event, or in one word why it cannot be one: "too_long" (its token) or "invalid". One bad entry does
        not spoil the others.

    Raises:
        ParameterError: the body is not such JSON, or holds no or more than 100 entries.
    """
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError:
        raise ParameterError('the body must be JSON: {"events": [{"token": …, "type": "click"}]}') from None
    entries = value.get("events") if isinstance(value, dict) else None
    if not isinstance(entries, list) or not 1 <= len(entries) <= MOST_EVENTS or len(value) != 1:
        raise ParameterError(f'the body must be {{"events": […]}} with 1 to {MOST_EVENTS} events and nothing else')
    return [_parse(entry) for entry in entries]


def _parse(entry: Any) -> ClientEvent | str:
    try:
        return ClientEvent.model_validate(entry)
    except ValidationError as error:
        long = any(e["loc"] == ("token",) and e["type"] == "string_too_long" for e in error.errors(include_input=False))
        return "too_long" if long else "invalid"
