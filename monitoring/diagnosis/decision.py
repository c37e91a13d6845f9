"""From concerns to causes and remedies.

| seen | cause | remedy |
|---|---|---|
| golden pictures give other vectors or scores | preprocessing_differs | roll_back: what runs is not the release |
| judged queries do worse, the previous release does better | encoder_worse | roll_back |
| judged queries do worse than promised | encoder_worse | retrain |
| the quantiser errs more on additions, or they crowd in few lists | quantiser_aged | retrain_quantiser |
| the index finds fewer of the exact neighbours, the quantiser is as it was | index_recall_fell | reindex |
| the listing holds images that are not indexed | catalogue_lags | reindex |
| input statistics changed among queries for the same things, or all moved alike | pictures_changed | fix_client, or nothing |
| queries crowd where the catalogue has next to nothing, and nothing else changed | new_items | retrain, or reindex |
| the proportions of the known changed | mix_changed | nothing |

Changed pictures that moved no embedding need nothing; a new kind in a catalogue that lags needs indexing first.
Golden pictures come first: with another encoder every query moves, and no more can be said of the queries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from monitoring.diagnosis.parameters import DiagnosisParameters
from monitoring.diagnosis.queries import explain
from monitoring.drift.comparison import Comparison
from monitoring.drift.parameters import DriftParameters
from monitoring.findings import Cause, Concern, Diagnosis, MovedQuery, Remedy

_SHOWN = 4  # catalogue images for a query


def diagnose(
    concerns: Iterable[Concern],
    comparison: Comparison | None = None,
    *,
    drift: DriftParameters | None = None,
    parameters: DiagnosisParameters | None = None,
    may_show: Callable[[str], bool] = lambda image_id: True,
) -> tuple[Diagnosis, ...]:
    """Name the causes of what alarms, the most urgent first.

    Args:
        concerns: every figure that was checked.
        comparison: source of the concerns of drift.
        drift: parameters that it was made with.
        parameters: parameters of the diagnosis.
        may_show: whether a catalogue image is public, and so may be shown as a picture.
    """
    parameters, drift = parameters or DiagnosisParameters(), drift or DriftParameters()
    alarms = {concern.name: concern for concern in concerns if concern.state == "alarm"}
    found = [*_serving(alarms), *_encoder(alarms), *_index(alarms), *_catalogue(alarms)]
    moved = [name for name, concern in alarms.items() if concern.topic in {"drift", "inputs"}]
    if comparison is not None and moved and not any(cause.cause == "preprocessing_differs" for cause in found):
        found += _queries(alarms, comparison, drift, parameters, may_show)
    return tuple(found)


def _serving(alarms: dict[str, Concern]) -> list[Diagnosis]:
    evidence = [name for name in ("golden_vectors", "golden_scores") if name in alarms]
    if not evidence:
        return []
    return [
        _diagnosis(
            "preprocessing_differs", "roll_back", evidence, alarms,
            "The live service differs from the release in its decoder, preprocessing or encoder. Roll back to the "
            "release that gave the golden results.",
        )
    ]  # fmt: skip


def _encoder(alarms: dict[str, Concern]) -> list[Diagnosis]:
    if "judged_against_previous" in alarms:
        text = "The encoder does worse on judged queries than the previous one. Roll back to the previous release."
        evidence = [name for name in ("judged_against_previous", "judged_hit_rate") if name in alarms]
        return [_diagnosis("encoder_worse", "roll_back", evidence, alarms, text)]
    if "judged_hit_rate" in alarms:
        text = (
            "The encoder does worse on judged queries than the release promised. Train it again, with these judgements."
        )
        return [_diagnosis("encoder_worse", "retrain", ["judged_hit_rate"], alarms, text)]
    return []


def _index(alarms: dict[str, Concern]) -> list[Diagnosis]:
    aged = [name for name in ("quantisation_error", "list_imbalance") if name in alarms]
    recall = ["index_recall"] if "index_recall" in alarms else []
    if aged:
        text = "The vectors added since differ from those that the index was trained on. Train its quantiser again."
        return [_diagnosis("quantiser_aged", "retrain_quantiser", [*aged, *recall], alarms, text)]
    if recall:
        text = "The index finds fewer of the true neighbours than it was tuned for. Build and tune it again."
        return [_diagnosis("index_recall_fell", "reindex", recall, alarms, text)]
    return []


def _catalogue(alarms: dict[str, Concern]) -> list[Diagnosis]:
    evidence = [name for name in ("indexed_share", "oldest_waiting") if name in alarms]
    text = "The catalogue holds images that cannot be found yet. Index them."
    return [_diagnosis("catalogue_lags", "reindex", evidence, alarms, text)] if evidence else []


def _queries(
    alarms: dict[str, Concern],
    comparison: Comparison,
    drift: DriftParameters,
    parameters: DiagnosisParameters,
    may_show: Callable[[str], bool],
) -> list[Diagnosis]:
    change = explain(comparison, drift, parameters)
    embeddings = sorted(
        (name for name, concern in alarms.items() if concern.topic == "drift"),
        key=lambda name: alarms[name].p_value or 0,
    )
    pictures = _moved_queries(comparison, change.moved[: parameters.pictures], may_show)
    found = []
    if change.figures or change.unseen:
        remedy: Remedy = "fix_client" if embeddings else "nothing"
        if change.unseen:
            text = (
                "The pictures changed in a way that no statistic of them shows (turned, cropped, framed): all queries moved "
                "in the same way, while the golden pictures hold. Check the pictures that the clients send."
            )
        else:
            names = ", ".join(name.replace("_", " ") for name in change.figures)
            then = (
                "Check the pictures that the clients send."
                if embeddings
                else "No embedding moved: there is nothing to do."
            )
            text = f"The pictures changed ({names}), but show the same kinds of items as before. {then}"
        evidence = [*change.figures, *embeddings]
        found.append(_diagnosis("pictures_changed", remedy, evidence, alarms, text, pictures))
    if change.new_kind is not None:
        kind = change.new_kind
        lags = "indexed_share" in alarms or "oldest_waiting" in alarms
        todo = (
            "Index what is waiting; it may be these." if lags else "Train the encoder again, with items of this kind."
        )
        text = (
            f"A new kind of item appeared: about {kind.excess:.1%} of the queries crowd at one place, farther from everything "
            f"known than {1 - kind.rarity:.0%} of the catalogue; nothing else changed. {todo}"
        )
        shown = _moved_queries(comparison, kind.queries[: parameters.pictures], may_show)
        remedy = "reindex" if lags else "retrain"
        evidence = ["local_excess", *(name for name in embeddings if name != "local_excess")]
        found.append(_diagnosis("new_items", remedy, evidence, alarms, text, shown))
    if not found:
        text = "Users search for known items, in other proportions than in the catalogue. There is nothing to do."
        inputs = [name for name, concern in alarms.items() if concern.topic == "inputs"]
        found.append(_diagnosis("mix_changed", "nothing", [*embeddings, *inputs], alarms, text, pictures))
    return found


def _moved_queries(
    comparison: Comparison, rows: NDArray[np.int64], may_show: Callable[[str], bool]
) -> tuple[MovedQuery, ...]:
    window, reference = comparison.window, comparison.reference
    shown = np.flatnonzero([may_show(image_id) for image_id in reference.ids])
    moved = []
    for row in rows.tolist():
        similarities = reference.vectors[shown] @ window.vectors[row]
        best = np.argsort(-similarities)[:_SHOWN]
        moved.append(
            MovedQuery(
                query_id=window.ids[row],
                at=None if window.at is None else window.at[row],
                score=float(comparison.nearness.window[row]),
                image_ids=tuple(reference.ids[int(shown[place])] for place in best),
            )
        )
    return tuple(moved)


def _diagnosis(
    cause: Cause,
    remedy: Remedy,
    evidence: Sequence[str],
    alarms: dict[str, Concern],
    text: str,
    pictures: tuple[MovedQuery, ...] = (),
) -> Diagnosis:
    seen = " ".join(alarms[name].sentence for name in evidence[:2] if name in alarms)
    return Diagnosis(
        cause=cause, remedy=remedy, sentence=f"{text} Seen: {seen}", evidence=tuple(evidence), pictures=pictures
    )
