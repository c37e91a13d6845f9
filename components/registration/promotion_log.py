"""The log of promotions: who moved which alias from where to where, when and why. MLflow itself keeps no such log.

Each promotion is a run in an experiment of its own: created, with all its facts, before the alias is moved, and finished
after it. So a killed process leaves at worst an unfinished entry; the next entry shows whether the alias was moved.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from components.tracking.store import TrackingStore

_PREFIX = "visual_search."
_FINISHED, _FAILED = "FINISHED", "FAILED"


@dataclass(frozen=True)
class Move:
    """A planned move of an alias, with all facts that are known before it.

    Attributes:
        alias: for example "champion".
        release_id: release of the new version.
        previous_version: old version; None: the alias did not exist.
        previous_release_id: release of the old version.
        who: a person, or the step that moves it.
        why: the reason, for people.
        state: new value of a rollout's tag, if the entry is about a rollout instead of an alias.
        previous_state: old value of that tag; None: it did not exist.
    """

    alias: str
    version: int
    release_id: str
    previous_version: int | None
    previous_release_id: str | None
    who: str
    why: str
    state: str | None = None
    previous_state: str | None = None


@dataclass(frozen=True)
class Promotion:
    """One entry of the log.

    Attributes:
        at: time, UTC.
        took_effect: whether the alias was moved; False if the process failed or was killed before.
    """

    move: Move
    at: datetime
    took_effect: bool


class PromotionLog:
    """The log of one registered model, append-only, in its tracking store."""

    def __init__(self, store: TrackingStore, model_name: str) -> None:
        self._store = store
        self._experiment = f"{model_name}-promotions"

    @contextmanager
    def entry(self, move: Move) -> Iterator[Promotion]:
        """Write the entry, yield it as it will be stored, and close it after the caller has moved the alias."""
        client = self._store.client
        tags = {_PREFIX + key: str(value) for key, value in vars(move).items() if value is not None}
        run = client.create_run(
            self._store.experiment_id(self._experiment), tags=tags, run_name=f"{move.alias} to version {move.version}"
        )
        try:
            yield Promotion(move, _moment(run), took_effect=True)
        except Exception:
            client.set_terminated(run.info.run_id, _FAILED)
            raise
        client.set_terminated(run.info.run_id, _FINISHED)

    def read(self, aliases: dict[str, int], tags: dict[str, str] | None = None) -> list[Promotion]:
        """Return all entries, oldest first.

        `aliases` are the current version of each alias, `tags` the current values of the logged tags.
        """
        experiment = self._store.client.get_experiment_by_name(self._experiment)
        if experiment is None:
            return []
        runs, token = [], None
        while True:
            page = self._store.client.search_runs(
                [experiment.experiment_id], order_by=["attributes.start_time ASC"], max_results=1_000, page_token=token
            )
            runs += page
            if not (token := page.token):
                break
        moves = [_move_of(run.data.tags) for run in runs]
        return [
            Promotion(
                move,
                _moment(run),
                run.info.status == _FINISHED or _was_reached(move, moves[place + 1 :], aliases, tags or {}),
            )
            for place, (move, run) in enumerate(zip(moves, runs, strict=True))
        ]


def _moment(run: Any) -> datetime:
    return datetime.fromtimestamp(run.info.start_time / 1_000, UTC)


def _was_reached(move: Move, later: list[Move], aliases: dict[str, int], tags: dict[str, str]) -> bool:
    """Whether an unfinished entry took effect, judged by the previous value in the next entry, or by the current one."""
    following = next((other for other in later if other.alias == move.alias), None)
    if move.state is not None:
        return (tags.get(move.alias) if following is None else following.previous_state) == move.state
    return (aliases.get(move.alias) if following is None else following.previous_version) == move.version


def _move_of(tags: dict[str, Any]) -> Move:
    values = {key.removeprefix(_PREFIX): value for key, value in tags.items() if key.startswith(_PREFIX)}
    previous = values.get("previous_version")
    return Move(
        alias=values.get("alias", "?"),
        version=int(values.get("version", 0)),
        release_id=values.get("release_id", "?"),
        previous_version=None if previous is None else int(previous),
        previous_release_id=values.get("previous_release_id"),
        who=values.get("who", "?"),
        why=values.get("why", "?"),
        state=values.get("state"),
        previous_state=values.get("previous_state"),
    )
