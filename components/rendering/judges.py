"""Simulated people: those who grade pairs of pictures, and what the searchers of the click log look for."""

from __future__ import annotations

import csv
import datetime
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.rendering.designs import Item, true_grades
from components.rendering.parameters import RenderingParameters
from components.rendering.stock import Photograph
from components.shared.files.atomic import whole_file
from components.shared.truth.relevance import MAX_GRADE

JUDGEMENT_COLUMNS = ("query_image_id", "image_id", "grade", "judge", "at")

Integers = NDArray[np.integer[Any]]

_CANDIDATES = 40
_MOST_BY_GRADE = {3: 6, 2: 8, 1: 10}
_JUDGED_BY_GRADE = {3: 2, 2: 2, 1: 2}
_JUDGED = 8
_START = datetime.datetime(2025, 12, 15, 9, tzinfo=datetime.UTC)


@dataclass(frozen=True)
class Candidates:
    """For each of q queries, c other images that a ranker or a judge may meet."""

    queries: Integers  # (q,) rows of photographs
    rows: Integers  # (q, c) rows of photographs, never the query itself
    grades: NDArray[np.int8]  # (q, c) the truth


def draw_candidates(
    items: Sequence[Item],
    photographs: Sequence[Photograph],
    queries: Integers,
    allowed: Integers,
    rng: np.random.Generator,
    *,
    count: int = _CANDIDATES,
    most: dict[int, int] | None = None,
) -> Candidates:
    """Choose for each query up to `most` images of each grade above 0, and of grade 0 what is missing to `count`."""
    item_of = np.array([p.item for p in photographs])
    count = min(count, len(allowed) - 1)
    rows, grades = np.zeros((2, len(queries), count), np.int64)
    limits = most or _MOST_BY_GRADE
    for index, query in enumerate(queries):
        shuffled = rng.permutation(allowed[allowed != query])
        grade = true_grades(list(items), item_of[query], item_of[shuffled])
        picked = [shuffled[grade == level][:limit] for level, limit in limits.items()]
        above = np.concatenate(picked)[:count]
        rest = shuffled[grade == 0]
        rest = rest if len(rest) >= count else np.setdiff1d(shuffled, above, assume_unique=True)
        rows[index] = np.concatenate([above, rest[: count - len(above)]])
        grades[index] = true_grades(list(items), item_of[query], item_of[rows[index]])
    return Candidates(queries, rows, grades.astype(np.int8))


def draw_search_candidates(
    items: Sequence[Item], photographs: Sequence[Photograph], parameters: RenderingParameters
) -> Candidates:
    """Choose what users search with and what the ranker may return: only what may be shown."""
    rng = np.random.default_rng([parameters.seed, 31])
    shown = np.array([row for row, p in enumerate(photographs) if p.is_public and p.is_appropriate])
    queries = rng.permutation(shown)[: max(20, min(len(shown), parameters.searches // 33))]
    return draw_candidates(items, photographs, queries, shown, rng)


def write_judgements(
    path: Path, items: Sequence[Item], photographs: Sequence[Photograph], parameters: RenderingParameters
) -> int:
    """Write what the judges said, as CSV in order of time, and return how many grades that are.

    Every item is asked about before any is asked about twice. A judge errs by one grade with a personal probability
    of 2–10 %, seldom by more; one pair in eight is shown to a second judge.
    """
    rows = list(_judgements(items, photographs, parameters))
    with whole_file(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(JUDGEMENT_COLUMNS)
        writer.writerows(rows)
    return len(rows)


def _judgements(
    items: Sequence[Item], photographs: Sequence[Photograph], parameters: RenderingParameters
) -> Iterator[tuple[str, str, int, str, str]]:
    rng = np.random.default_rng([parameters.seed, 33])
    error = rng.uniform(0.02, 0.1, parameters.judges)
    everything = np.arange(len(photographs))
    at, left = _START, parameters.judgements
    for query in _query_order(photographs, rng):
        if not left:
            return
        pairs = draw_candidates(
            items, photographs, np.array([query]), everything, rng, count=_JUDGED, most=_JUDGED_BY_GRADE
        )
        for row, truth in zip(pairs.rows[0], pairs.grades[0], strict=True):
            twice = parameters.judges > 1 and rng.random() < 0.125
            for judge in rng.permutation(parameters.judges)[: 2 if twice else 1]:
                if not left:
                    return
                at += datetime.timedelta(seconds=int(rng.integers(3, 40)))
                grade = _judged(int(truth), float(error[judge]), rng)
                pair = photographs[query].image_id, photographs[int(row)].image_id
                yield (*pair, grade, f"judge-{judge + 1}", at.isoformat())
                left -= 1


def _query_order(photographs: Sequence[Photograph], rng: np.random.Generator) -> Iterator[int]:
    """Yield rows of photographs, one of each item before a second of any."""
    turns: Counter[int] = Counter()
    keys = []
    for row in rng.permutation(len(photographs)).tolist():
        turns[photographs[row].item] += 1
        keys.append((turns[photographs[row].item], row))
    yield from (row for _, row in sorted(keys, key=lambda key: key[0]))


def _judged(truth: int, error: float, rng: np.random.Generator) -> int:
    if rng.random() >= error:
        return truth
    step = 2 if rng.random() < 0.1 else 1
    up = truth == 0 or (truth < MAX_GRADE and rng.random() < 0.5)
    return min(MAX_GRADE, truth + step) if up else max(0, truth - step)
