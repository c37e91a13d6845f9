"""Judgements from Label Studio: its JSON export of tasks that show two images.

Tasks contain the two image ids beside the pictures' addresses:

    {"data": {"query_image_id": "a1", "image_id": "b7", "query": "https://…/a1.jpg", "image": "https://…/b7.jpg"}}

Labelling configuration with choices; the export contains the alias:

    <View>
      <Image name="query" value="$query"/>
      <Image name="image" value="$image"/>
      <Choices name="grade" toName="image" choice="single-radio" required="true">
        <Choice value="The same item" alias="3"/>
        <Choice value="Similar" alias="2"/>
        <Choice value="Somewhat similar" alias="1"/>
        <Choice value="Unrelated" alias="0"/>
      </Choices>
    </View>

Or with stars, where one star is grade 0 and four stars are grade 3 (Label Studio has no rating of zero stars):

      <Rating name="grade" toName="image" maxRating="4" required="true"/>

Export as "JSON" (not "JSON-MIN", which omits the judge and the skipped tasks).
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from components.shared.errors import SourceError

Row = tuple[str, str, str, str, str]
GRADE_CONTROL = "grade"


@dataclass(frozen=True)
class LabelStudioExport:
    """The contents of an export.

    Attributes:
        rows: (query_image_id, image_id, grade, judge, at), all text; nothing is checked yet.
        dropped: number of annotations left out, per reason.
    """

    rows: list[Row] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)


def read_label_studio(uri: str, text: str) -> LabelStudioExport:
    """Read Label Studio's JSON export: every submitted annotation of every task.

    Skipped (cancelled) annotations, drafts that were never submitted, annotations without a grade and tasks without
    the two image ids are left out and counted. Predictions of models are not judgements and are ignored. The grade is the
    answer of the control named "grade"; if no control has that name, there must be only one choice or rating.

    Raises:
        SourceError: the file has another format, or several controls could hold the grade.
    """
    try:
        tasks = json.loads(text)
    except ValueError as error:
        raise SourceError(
            f"{uri} is not whole JSON ({error}); export it from Label Studio again", source=uri
        ) from error
    if not isinstance(tasks, list) or not all(isinstance(task, dict) and "data" in task for task in tasks):
        raise SourceError(
            f'{uri} is not a Label Studio export of the kind "JSON" (a list of tasks with data and annotations); '
            'export it as "JSON", not "JSON-MIN" or another kind',
            source=uri,
        )
    export = LabelStudioExport()
    for task in tasks:
        try:
            _read_task(uri, task, export)
        except (TypeError, ValueError, AttributeError) as error:
            raise SourceError(
                f"{uri}, task {task.get('id', '?')}: its annotations do not have the shape of a Label Studio export ({error}); "
                'export the project again as "JSON"',
                source=uri,
            ) from error
    return export


def _read_task(uri: str, task: dict[str, Any], export: LabelStudioExport) -> None:
    data = task["data"] if isinstance(task["data"], dict) else {}
    query, image = data.get("query_image_id"), data.get("image_id")
    annotations = task.get("annotations") or task.get("completions") or []
    submitted = {annotation.get("id") for annotation in annotations}
    export.dropped["draft"] += sum(
        1
        for draft in task.get("drafts") or []
        if not isinstance(draft, dict) or draft.get("annotation") not in submitted - {None}
    )
    for annotation in annotations:
        grade = _grade_of(annotation.get("result") or [], uri)
        if annotation.get("was_cancelled"):
            export.dropped["skipped"] += 1
        elif query is None or image is None:
            export.dropped["task_without_image_ids"] += 1
        elif grade is None:
            export.dropped["annotation_without_grade"] += 1
        else:
            at = annotation.get("updated_at") or annotation.get("created_at") or ""
            export.rows.append((str(query), str(image), grade, _judge_of(annotation), str(at)))
    for reason in [reason for reason, count in export.dropped.items() if not count]:
        del export.dropped[reason]


def _grade_of(result: list[dict[str, Any]], source: str) -> str | None:
    """Return the grade of an annotation; None if it has none. Choices can read "2" or "2 similar"."""
    answers = {str(region.get("from_name", "")): grade for region in result if (grade := _answer(region)) is not None}
    if GRADE_CONTROL in answers or len(answers) <= 1:
        return answers.get(GRADE_CONTROL) or next(iter(answers.values()), None)
    raise SourceError(
        f"an annotation answers several controls ({', '.join(sorted(answers))}), and none is named {GRADE_CONTROL!r}; "
        f"name the control of the grade {GRADE_CONTROL!r} in the labelling configuration and in the export",
        source=source,
    )


def _answer(region: dict[str, Any]) -> str | None:
    value = region.get("value") or {}
    if region.get("type") == "rating" and value.get("rating") is not None:
        return str(float(value["rating"]) - 1)
    choices = value.get("choices")
    if region.get("type") == "choices" and isinstance(choices, list) and len(choices) == 1:
        return str(choices[0]).strip().split(" ", 1)[0]
    return None


def _judge_of(annotation: dict[str, Any]) -> str:
    judge = annotation.get("completed_by", "")
    if isinstance(judge, dict):
        judge = judge.get("email") or judge.get("id") or ""
    return str(judge)
