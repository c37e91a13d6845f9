"""Findings of monitoring: concerns with their state, diagnoses with their remedy, and the report that holds them.

Status page, exporter, alerts and remedies read nothing else.
"""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat

State = Literal["ok", "watch", "alarm", "unknown"]
STATES: tuple[State, ...] = get_args(State)

Topic = Literal["drift", "inputs", "encoder", "index", "catalogue", "serving"]

Cause = Literal[
    "pictures_changed",  # (a)
    "new_items",  # (b)
    "encoder_worse",  # (c)
    "quantiser_aged",  # (d)
    "index_recall_fell",  # (e)
    "catalogue_lags",  # (f)
    "preprocessing_differs",  # (g)
    "mix_changed",  # users search for known things in other proportions: nothing is broken
]
CAUSES: tuple[Cause, ...] = get_args(Cause)

Remedy = Literal["nothing", "retrain", "reindex", "retrain_quantiser", "fix_client", "roll_back"]
REMEDIES: tuple[Remedy, ...] = get_args(Remedy)

_SEVERITY: dict[State, int] = {"ok": 0, "unknown": 1, "watch": 2, "alarm": 3}
_CONFIG = ConfigDict(frozen=True, extra="forbid")


class Concern(BaseModel):
    """One thing that is watched.

    Attributes:
        name: for machines, for example "top_similarity"; unique in a report.
        topic: subject of the concern.
        state: "alarm": shown and large enough to matter; "watch": shown, but small; "unknown": could not be checked.
        sentence: observation, with figures.
        value: the figure that is watched.
        threshold: limit of the figure; whether above or below is bad depends on the concern.
        p_value: probability of a figure at least so extreme if nothing had changed, adjusted for the number of figures tested.
        effect: size of the change, on a scale that does not depend on the window: 0 is none.
        effect_name: scale of the effect, for example "AUC − 0.5".
        window: number of queries (or pictures, or images) in the check.
        failed: the check was due and could not be made, so its topic is not known to be well; there being too few queries
            or judgements is not a failure.
    """

    model_config = _CONFIG

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")
    topic: Topic
    state: State
    sentence: str
    value: FiniteFloat | None = None
    threshold: FiniteFloat | None = None
    p_value: float | None = Field(default=None, ge=0, le=1)
    effect: FiniteFloat | None = None
    effect_name: str | None = None
    window: int = Field(default=0, ge=0)
    failed: bool = False


class MovedQuery(BaseModel):
    """A query that a diagnosis rests on. Its picture is not kept, so it is shown by what it is nearest to.

    Attributes:
        query_id: id in the sample; of a judged query its image_id.
        at: time of the query, if known.
        score: how far it moved, or how near the nearest is; what the diagnosis says.
        image_ids: the nearest images of the catalogue, nearest first, to be shown as pictures; only public ones.
    """

    model_config = _CONFIG

    query_id: str
    at: AwareDatetime | None = None
    score: FiniteFloat
    image_ids: tuple[str, ...] = ()


class Diagnosis(BaseModel):
    """Why something is as it is, and what to do.

    Attributes:
        remedy: action against the cause; `monitoring/diagnosis/decision.py` has the table.
        sentence: cause and remedy, as text for the operator.
        evidence: names of the concerns that it rests on, the strongest first.
        pictures: the queries that show it best.
    """

    model_config = _CONFIG

    cause: Cause
    remedy: Remedy
    sentence: str
    evidence: tuple[str, ...]
    pictures: tuple[MovedQuery, ...] = ()


class Report(BaseModel):
    """One run of monitoring over one arm.

    Attributes:
        at: time of its creation.
        release_id, space_id, arm: what was watched.
        since, until: first and last query of the window; None where there was none.
        window: number of queries in it.
        concerns: every figure that was checked.
        diagnoses: most urgent first; empty: all is well, or nothing could be seen.
    """

    model_config = _CONFIG

    schema_version: Literal[1] = 1
    at: AwareDatetime
    release_id: str
    space_id: str
    arm: str
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    window: int = Field(default=0, ge=0)
    concerns: tuple[Concern, ...] = ()
    diagnoses: tuple[Diagnosis, ...] = ()

    @property
    def state(self) -> State:
        """The worst state of any concern; "unknown" if there was no check."""
        return worst_state(self.concerns)

    def concern(self, name: str) -> Concern | None:
        """Return the concern of this name, or None."""
        return next((concern for concern in self.concerns if concern.name == name), None)


def worst_state(concerns: tuple[Concern, ...] | list[Concern]) -> State:
    """Return the worst state: alarm, watch, unknown, ok; "unknown" of none at all."""
    return max((concern.state for concern in concerns), key=_SEVERITY.__getitem__, default="unknown")
