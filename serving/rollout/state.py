"""The state of a rollout: one tag of the registered model, written only by who has read what it held before."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from components.registration.registry import Registry
from components.shared.errors import ContractError
from components.shared.files.atomic import canonical_json

TAG = "rollout"
_LONGEST_WHY = 1_000  # MLflow keeps 5,000 characters of a tag

Phase = Literal["running", "promoting", "rolled_back", "done"]


class Rollout(BaseModel):
    """A rollout of a challenger.

    Attributes:
        challenger: version that is tried.
        champion: version that it is tried against; another champion ends the rollout.
        share: share of the traffic that the challenger gets, in percent.
        since: time at which it got this share.
        state: running; promoting: decided, the alias is being moved; done; rolled_back.
        why: reason of the last change.
        revision: counts the changes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    challenger: int = Field(ge=1)
    champion: int = Field(ge=1)
    share: int = Field(ge=0, le=100)
    since: AwareDatetime
    state: Phase
    why: str
    revision: int = Field(ge=1)

    def text(self) -> str:
        """Return the tag's value."""
        return canonical_json(self.model_dump(mode="json")).decode()

    @property
    def is_open(self) -> bool:
        """Whether the challenger still has, or may get, traffic of its own."""
        return self.state in ("running", "promoting")


def read_rollout(registry: Registry) -> Rollout | None:
    """Read the state; None where there never was a rollout.

    Raises:
        ContractError: the tag was written by something else.
    """
    text = registry.read_tag(TAG)
    if text is None:
        return None
    try:
        return Rollout.model_validate(json.loads(text))
    except (ValueError, ValidationError, RecursionError) as error:
        raise ContractError(
            f"the tag {TAG!r} of {registry.model_name} is not the state of a rollout; delete it in MLflow, then start again"
        ) from error


def begin(
    registry: Registry, before: Rollout | None, *, challenger: int, champion: int, share: int, who: str, why: str
) -> Rollout:
    """Write the state of a new rollout after `before`.

    Raises:
        StaleTagError: another process has changed the state.
    """
    after = Rollout(
        challenger=challenger,
        champion=champion,
        share=share,
        since=datetime.now(UTC),
        state="running",
        why=why[:_LONGEST_WHY],
        revision=1 if before is None else before.revision + 1,
    )
    return _write(registry, before, after, who, why)


def change(
    registry: Registry, before: Rollout, *, state: Phase, who: str, why: str, share: int | None = None
) -> Rollout:
    """Write the next state of a rollout.

    Raises:
        StaleTagError: another process has changed the state.
    """
    after = Rollout(
        challenger=before.challenger,
        champion=before.champion,
        share=before.share if share is None else share,
        since=datetime.now(UTC),
        state=state,
        why=why[:_LONGEST_WHY],
        revision=before.revision + 1,
    )
    return _write(registry, before, after, who, why)


def _write(registry: Registry, before: Rollout | None, after: Rollout, who: str, why: str) -> Rollout:
    # What the tag holds, not what we would write of it now: a later version of this class may write it otherwise.
    held = registry.read_tag(TAG)
    if (None if held is None else Rollout.model_validate_json(held)) != before:
        held = before.text() if before is not None else ""  # another process was faster: let the registry report it
    registry.exchange_tag(TAG, expected=held, value=after.text(), version=after.challenger, who=who, why=why)
    return after
