"""Human judgements: read, cleaned, counted, and the agreement of the judges."""

from __future__ import annotations

import datetime
import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from components.labelling.label_studio import read_label_studio
from components.shared.errors import DataError, SourceError
from components.shared.files.foreign_tables import decode_text, read_foreign_table
from components.shared.files.ids import find_id
from components.shared.files.storage import read_bytes
from components.shared.files.tables import JUDGEMENTS
from components.shared.truth.relevance import MAX_GRADE

SIZE_LIMIT_BYTES = 2 * 1024**3
UNKNOWN_EXAMPLES = 3

Pair = tuple[str, str]


@dataclass(frozen=True)
class Statement:
    """One judge's grade for one pair, as read and not yet checked."""

    query_image_id: str
    image_id: str
    grade: str
    judge: str = ""
    at: str = ""


@dataclass(frozen=True)
class Judgements:
    """The usable judgements.

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
    """Read judgements from a CSV or Parquet table or from Label Studio's JSON export; the first character decides.

    A table has the columns query_image_id, image_id, grade and, optionally, judge and at (ISO 8601). Images can also be named
    by their path.

    Dropped and counted: grades that are not 0, 1, 2 or 3; images that the catalogue lacks; an image judged against
    itself; earlier judgements of one judge on one pair (by `at`, else by order in the file).

    Args:
        uri: address of the data, for messages.
        data: the file's content; None: there are no judgements.
        known: image ids of the catalogue.

    Raises:
        SourceError: the file has another format, or a column is missing.
        DataError: there are judgements, but none is usable.
    """
    if data is None:
        return Judgements(JUDGEMENTS.schema.empty_table(), {})
    dropped: Counter[str] = Counter()
    if _is_json(data):
        export = read_label_studio(uri, decode_text(uri, data).removeprefix("\ufeff"))
        dropped.update(export.dropped)
        statements = [Statement(*row) for row in export.rows]
    else:
        statements = _read_table(uri, data)
    if not statements and not dropped:
        raise SourceError(f"{uri} holds no judgement; add some, or run without judgements", source=uri)
    unknown: list[str] = []
    kept = _clean(statements, known, dropped, unknown)
    if not kept:
        reasons = ", ".join(f"{count} × {reason}" for reason, count in sorted(dropped.items()))
        examples = f", for example {', '.join(map(repr, unknown))}" if unknown else ""
        raise DataError(
            f"none of the {sum(dropped.values())} judgements of {uri} can be used ({reasons}{examples}); "
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
    spec = _describe(judgements, dropped)
    return Judgements(table, {**spec, "unknown_examples": unknown} if unknown else spec)


def _is_json(data: bytes) -> bool:
    return data[:64].replace(b"\x00", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")[:1] in (b"[", b"{")


def fetch_judgements(uri: str) -> bytes | None:
    """Read the file that a URI names; None for "".

    Raises:
        SourceError: the file does not exist or cannot be read.
    """
    return read_bytes(uri, limit_bytes=SIZE_LIMIT_BYTES) if uri else None


def _read_table(uri: str, data: bytes) -> list[Statement]:
    table = read_foreign_table(uri, data, ("query_image_id", "image_id", "grade"))
    columns = [table.texts(name) for name in ("query_image_id", "image_id", "grade", "judge", "at")]
    return [Statement(*(cell or "" for cell in row)) for row in zip(*columns, strict=True)]


def _clean(
    statements: Iterable[Statement], known: set[str], dropped: Counter[str], unknown: list[str]
) -> dict[tuple[str, str, str], tuple[int, datetime.datetime | None]]:
    """Return (query, image, judge) → (grade, at), each judge's last grade; count the others in `dropped`.

    The first few ids that match no image are added to `unknown`.
    """
    kept: dict[tuple[str, str, str], tuple[int, datetime.datetime | None]] = {}
    for statement in statements:
        grade = _grade(statement.grade)
        query, image = find_id(statement.query_image_id, known), find_id(statement.image_id, known)
        if grade is None:
            dropped["grade_not_0_to_3"] += 1
        elif query is None or image is None:
            dropped["unknown_image"] += 1
            lost = statement.query_image_id if query is None else statement.image_id
            if len(unknown) < UNKNOWN_EXAMPLES and lost not in unknown:
                unknown.append(lost)
        elif query == image:
            dropped["image_against_itself"] += 1
        else:
            key = (query, image, statement.judge)
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
        value = float(text.replace(",", "."))  # German spreadsheets write 2,0
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
    """Return the agreement of the judges of one pair: 1 for a single judge, 0 for half 0 and half 3.

    One minus the standard deviation over its largest possible value.

    Example:
        >>> agreement([2, 2, 3]) > agreement([0, 2, 3])
        True
    """
    mean = sum(grades) / len(grades)
    return 1 - math.sqrt(sum((grade - mean) ** 2 for grade in grades) / len(grades)) / (MAX_GRADE / 2)


def krippendorff_alpha(units: list[list[int]]) -> float | None:
    """Return Krippendorff's alpha with the interval metric: 1 for perfect agreement, 0 for chance.

    None if no pair was judged twice, or if all grades are equal.

    Source: Krippendorff (2004), Content analysis, 2nd ed., section 11.3.

    Example:
        >>> krippendorff_alpha([[0, 0], [3, 3], [1, 1]])
        1.0
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
