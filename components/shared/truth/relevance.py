"""Which image is relevant to which query, and how much: the truth behind validation in training and evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Grades = NDArray[np.uint8]

RELEVANT_GRADE = 2  # from this grade on an image counts as relevant in binary metrics
MAX_GRADE = 3


class RelevanceRule(BaseModel):
    """The grade of two images that no person judged.

    Attributes:
        same_item: grade of two images of one item (0–3).
        same_category: grade of two images of one category: 2 if categories replace judgements, else 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    same_item: int = Field(default=MAX_GRADE, ge=0, le=MAX_GRADE)
    same_category: int = Field(default=0, ge=0, le=MAX_GRADE)


@dataclass(frozen=True)
class Relevance:
    """Graded relevance among n images, computed block by block (n × n would not fit for large n).

    Attributes:
        item_codes: (n,) int64, equal for images of one item.
        category_codes: (n,) int64, equal for images of one category; −1 if unknown.
        judged: query row → (rows, grades) from people; they override the rule.
        rule: grades of unjudged images.
    """

    item_codes: NDArray[np.int64]
    category_codes: NDArray[np.int64]
    judged: dict[int, tuple[NDArray[np.int64], Grades]]
    rule: RelevanceRule

    @classmethod
    def of(cls, images: pa.Table, judgements: pa.Table | None, rule: RelevanceRule) -> Relevance:
        """Build from a table with image_id, item_id and category, and one of JUDGEMENTS (judgements of other images are ignored).

        The grades of several judges of one pair are averaged, halves rounded up.
        """
        items = np.asarray(images.column("item_id").combine_chunks().dictionary_encode().indices, np.int64)
        categories = images.column("category").combine_chunks().dictionary_encode().indices.fill_null(-1)
        return cls(items, np.asarray(categories, np.int64), _judged(images, judgements), rule)

    def grades(self, queries: NDArray[np.int64], gallery: NDArray[np.int64]) -> Grades:
        """Return the (q, n) uint8 grades 0–3 of gallery rows for query rows. A query's own image gets 0."""
        same_item = self.item_codes[queries][:, None] == self.item_codes[gallery][None, :]
        category = self.category_codes[queries][:, None]
        same_category = (category == self.category_codes[gallery][None, :]) & (category >= 0)
        result = np.zeros(same_item.shape, np.uint8)
        result[same_category] = self.rule.same_category
        result[same_item] = self.rule.same_item
        if self.judged:
            place = {int(row): column for column, row in enumerate(gallery)}
            for index, query in enumerate(queries):
                rows, grades = self.judged.get(int(query), (np.empty(0, np.int64), np.empty(0, np.uint8)))
                for row, grade in zip(rows, grades, strict=True):
                    if (column := place.get(int(row))) is not None:
                        result[index, column] = grade
        result[queries[:, None] == gallery[None, :]] = 0
        return result


def _judged(images: pa.Table, judgements: pa.Table | None) -> dict[int, tuple[NDArray[np.int64], Grades]]:
    if judgements is None or not judgements.num_rows:
        return {}
    row_of = {image_id: row for row, image_id in enumerate(images.column("image_id").to_pylist())}
    given: dict[tuple[int, int], list[int]] = {}
    for query, image, grade in zip(
        *(judgements.column(name).to_pylist() for name in ("query_image_id", "image_id", "grade")), strict=True
    ):
        if query in row_of and image in row_of:
            given.setdefault((row_of[query], row_of[image]), []).append(grade)
    by_query: dict[int, list[tuple[int, int]]] = {}
    for (query, image), grades in given.items():
        by_query.setdefault(query, []).append((image, int(np.floor(np.mean(grades) + 0.5))))
    return {
        query: (np.array([r for r, _ in pairs], np.int64), np.array([g for _, g in pairs], np.uint8))
        for query, pairs in by_query.items()
    }
