"""From a verdict to the next step of a rollout: 1 → 5 → 25 → 50 % → champion, or back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from components.shared.errors import ParameterError
from serving.rollout.decisions import LARGEST_SHARE
from serving.rollout.state import Rollout

DEFAULT = (1, 5, 25, 50)


@dataclass(frozen=True)
class Verdict:
    """Statistics of the time since the rollout got its share.

    Attributes:
        verdict: promote, continue or roll_back.
        reasons: in sentences, the deciding one first.
        is_measured: whether there were enough requests to say that no guardrail is broken.
    """

    verdict: Literal["promote", "continue", "roll_back"]
    reasons: tuple[str, ...]
    is_measured: bool


@dataclass(frozen=True)
class Action:
    """The next action.

    Attributes:
        kind: promote, roll_back, or step.
        why: reason, kept in the promotion log.
    """

    kind: Literal["promote", "roll_back", "step"]
    share: int
    why: str


def read_ladder(text: str) -> tuple[int, ...]:
    """Read "1,5,25,50".

    Raises:
        ParameterError: not increasing numbers from 1 to 99.

    Example:
        >>> read_ladder("1,5,25,50")
        (1, 5, 25, 50)
    """
    try:
        ladder = tuple(int(part) for part in text.split(","))
    except ValueError:
        ladder = ()
    if not ladder or list(ladder) != sorted(set(ladder)) or ladder[0] < 1 or ladder[-1] > LARGEST_SHARE:
        raise ParameterError(
            f"a ladder is increasing shares from 1 to {LARGEST_SHARE}, for example 1,5,25,50; not {text!r}"
        )
    return ladder


def next_action(
    rollout: Rollout, verdict: Verdict, *, now: datetime, ladder: Sequence[int] = DEFAULT, hold: timedelta
) -> Action | None:
    """Decide; None: wait.

    A bad verdict goes back at once. A good one promotes only from the last share, so that a release meets every load before
    it meets all of it. An open one goes on to the next share once it was measured that nothing breaks, and for long enough.

    Args:
        rollout: current rollout.
        verdict: verdict of the time since it has this share.
        now: current time.
        ladder: shares, increasing.
        hold: least time at a share.
    """
    why = " ".join(verdict.reasons)
    if verdict.verdict == "roll_back":
        return Action("roll_back", 0, why)
    higher = [share for share in ladder if share > rollout.share]
    if not higher:
        return Action("promote", 100, why) if verdict.verdict == "promote" else None
    if verdict.is_measured and now - rollout.since >= hold:
        return Action("step", higher[0], f"no guardrail is broken at {rollout.share} %. {why}")
    return None
