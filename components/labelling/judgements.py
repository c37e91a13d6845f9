"""Human judgements: read, cleaned, counted, and how far the judges agree."""

from __future__ import annotations

import datetime
import io
import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.csv
from pyarrow.lib import ArrowInvalid

from components.labelling.label_studio import read_label_studio
from components.shared.errors import DataError, SourceError
from components.shared.files.storage import read_bytes
from components.shared.files.tables import JUDGEMENTS, require_columns
from components.shared.truth.relevance import MAX_GRADE

SIZE_LIMIT_BYTES = 2 * 1024**3

Pair = tuple[str, str]


@dataclass(frozen=True)
class Statement:
    """One judge's word on one pair, as it came: nothing is checked yet."""

    query_image_id: str
    image_id: str
    grade: str
    judge: str = ""
    at: str = ""


@dataclass(frozen=True)
class Judgements:
    """What people said.

    Attributes:
        table: JUDGEMENTS, one row per judge and pair, sorted.
        spec: counts for `labels.json`.
    """

    table: pa.Table
    spec: dict[str, Any] = field(default_factory=dict)

    def by_pair(self) -> dict[Pair, list[int]]:
        """Return the grades of each pair."""
        grades: dict[Pair, list[int]] = defaultdict(list)
        for query, image, grade in zip(
            *(self.table.column(name).to_pylist() for name in ("query_image_id", "image_id", "grade")), strict=True
        ):
            grades[query, image].append(grade)
        return dict(grades)


def read_judgements(uri: str, data: bytes | None, known: set[str]) -> Judgements:
    """Read judgements from CSV or Label Studio's JSON export; which, the first character tells.

    CSV has a header with query_image_id, image_id, grade and, if it likes, judge and at (ISO 8601).

    Dropped and counted: grades that are not 0, 1, 2 or 3; images that the catalogue lacks; an image judged against
    itself; what one judge said about one pair before saying something later (by `at`, else by order in the file).

    Args:
        uri: where the data came from, for messages.
        data: the file's content; None: nobody judged.
        known: image ids of the catalogue.

    Raises:
        SourceError: not such a file, or a column is missing.
        DataError: there are judgements, but none can be used.
    """
    if data is None:
        return Judgements(JUDGEMENTS.schema.empty_table(), {})
    text = _decode(uri, data)
    dropped: Counter[str] = Counter()
    if text.lstrip()[:1] in ("[", "{"):
        export = read_label_studio(uri, text)
        dropped.update(export.dropped)
        statements = [Statement(*row) for row in export.rows]
    else:
        statements = _read_csv(uri, text)
    if not statements and not dropped:
        raise SourceError(f"{uri} holds no judgement; add some, or run without judgements", source=uri)
    kept = _clean(statements, known, dropped)
    if not kept:
        reasons = ", ".join(f"{count} × {reason}" for reason, count in sorted(dropped.items()))
        raise DataError(
            f"none of the {sum(dropped.values())} judgements of {uri} can be used ({reasons}); "
            "give grades 0–3 for image ids of this catalogue (see its catalogue.parquet), or run without judgements"
        )
    table = pa.Table.from_pylist(
        [
            {"query_image_id": query, "image_id": image, "grade": grade, "judge": judge, "at": at}
            for (query, image, judge), (grade, at) in sorted(kept.items())
        ],
        JUDGEMENTS.schema,
    )
    judgements = Judgements(table)
    return Judgements(table, _describe(judgements, dropped))


def fetch_judgements(uri: str) -> bytes | None:
    """Read the file that a URI names; None for "".

    Raises:
        SourceError: it does not exist or cannot be read.
    """
    return read_bytes(uri, limit_bytes=SIZE_LIMIT_BYTES) if uri else None


def _decode(uri: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{uri} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8", source=uri
        ) from error


def _read_csv(uri: str, text: str) -> list[Statement]:
    header = text.split("\n", 1)[0].strip()
    if not header:
        raise SourceError(f"{uri} is empty; its first line must name query_image_id, image_id and grade", source=uri)
    names = [name.strip().strip('"') for name in header.split(",")]
    strings = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False, quoted_strings_can_be_null=False
    )
    try:
        table = pyarrow.csv.read_csv(io.BytesIO(text.encode()), convert_options=strings)
    except ArrowInvalid as error:
        raise SourceError(f"{uri} is not a CSV table ({error}); correct that line", source=uri) from error
    require_columns(table, ("query_image_id", "image_id", "grade"), uri)
    columns = [
        table.column(name).to_pylist() if name in table.column_names else [""] * table.num_rows
        for name in ("query_image_id", "image_id", "grade", "judge", "at")
    ]
    return [Statement(*(str(value).strip() for value in row)) for row in zip(*columns, strict=True)]


def _clean(
    statements: Iterable[Statement], known: set[str], dropped: Counter[str]
) -> dict[tuple[str, str, str], tuple[int, datetime.datetime | None]]:
    """Return (query, image, judge) → (grade, at), each judge's last word; count the rest in `dropped`."""
    kept: dict[tuple[str, str, str], tuple[int, datetime.datetime | None]] = {}
    for statement in statements:
        grade = _grade(statement.grade)
        if grade is None:
            dropped["grade_not_0_to_3"] += 1
        elif statement.query_image_id not in known or statement.image_id not in known:
            dropped["unknown_image"] += 1
        elif statement.query_image_id == statement.image_id:
            dropped["image_against_itself"] += 1
        else:
            key = (statement.query_image_id, statement.image_id, statement.judge)
            value = (grade, _time(statement.at))
            if key in kept:
                dropped["said_before"] += 1
                before = kept[key][1]
                if before is not None and (value[1] is None or value[1] < before):
                    continue
            kept[key] = value
    return kept


def _grade(text: str) -> int | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if value in range(MAX_GRADE + 1) else None


def _time(text: str) -> datetime.datetime | None:
    try:
        at = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return at.replace(tzinfo=datetime.UTC) if at.tzinfo is None else at.astimezone(datetime.UTC)


def _describe(judgements: Judgements, dropped: Counter[str]) -> dict[str, Any]:
    pairs = judgements.by_pair()
    several = [grades for grades in pairs.values() if len(grades) > 1]
    alpha = krippendorff_alpha(list(pairs.values()))
    counts = Counter(judgements.table.column("grade").to_pylist())
    return {
        "kept": judgements.table.num_rows,
        "dropped": dict(sorted(dropped.items())),
        "judges": len(set(judgements.table.column("judge").to_pylist())),
        "pairs": len(pairs),
        "pairs_with_several_judges": len(several),
        "disagreements": sum(max(grades) - min(grades) > 1 for grades in several),  # by more than one grade
        "krippendorff_alpha": None if alpha is None else round(alpha, 6),
        "grades": {str(grade): counts[grade] for grade in range(MAX_GRADE + 1)},
    }


def agreement(grades: list[int]) -> float:
    """Return how far the judges of one pair agree: 1 for one voice, 0 for half 0 and half 3.

    One minus the standard deviation over its largest possible value.
    """
    mean = sum(grades) / len(grades)
    return 1 - math.sqrt(sum((grade - mean) ** 2 for grade in grades) / len(grades)) / (MAX_GRADE / 2)


def krippendorff_alpha(units: list[list[int]]) -> float | None:
    """Return Krippendorff's alpha with the interval metric: 1 perfect agreement, 0 what chance gives.

    None where nobody was judged twice, or all grades are equal.

    Source: Krippendorff (2004), Content analysis, 2nd ed., section 11.3.
    """
    several = [unit for unit in units if len(unit) > 1]
    values = [value for unit in several for value in unit]
    n = len(values)
    if n < 2:
        return None
    observed = sum(_squares(unit) / (len(unit) - 1) for unit in several) / n
    expected = _squares(values) / (n * (n - 1))
    return None if expected == 0 else 1 - observed / expected


def _squares(values: list[int]) -> float:
    """Return the sum of squared differences over all ordered pairs."""
    total = sum(values)
    return 2 * (len(values) * sum(value * value for value in values) - total * total)
