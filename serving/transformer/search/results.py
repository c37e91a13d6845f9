"""Options and results of a search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from components.shared.defaults import MOST_RESULTS, RESULTS
from components.shared.errors import ParameterError


@dataclass(frozen=True)
class SearchOptions:
    """How to search.

    Attributes:
        k: results wanted, 1 to 200.
        explain: say what each rule did.
        floor: least score of a result; None: any.
        group_items: one result for each item.
        collapse_duplicates: one result for near-duplicates.
        exclude_image_ids: images that are not wanted.
        exclude_sha256: exclude sha256 of the query picture's bytes: its own image is not wanted.
        exact: compare with every row instead of using the index's shortcuts.

    Raises:
        ParameterError: k is out of range.
    """

    k: int = RESULTS
    explain: bool = False
    floor: float | None = None
    group_items: bool = True
    collapse_duplicates: bool = True
    exclude_image_ids: frozenset[str] = frozenset()
    exclude_sha256: str | None = None
    exact: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.k <= MOST_RESULTS:
            raise ParameterError(f"expected a number of results k from 1 to {MOST_RESULTS}, got {self.k}")


class CatalogueItem(NamedTuple):
    """An image of the catalogue that may be shown."""

    image_id: str
    item_id: str
    uri: str
    sha256: str
    category: str | None


class Result(NamedTuple):
    """One image that was found.

    Attributes:
        item_id: item in the picture.
        uri: location of the picture file.
        category: None: not known.
        score: inner product of the query and the stored vector.
        position: from 1.
        grouped: other images of the catalogue that this one represents, of the same item, or near-duplicates.
        explain: effect of the rules on it.
    """

    image_id: str
    item_id: str
    uri: str
    category: str | None
    score: float
    position: int
    grouped: int
    explain: tuple[str, ...] = ()


@dataclass(frozen=True)
class RuleReport:
    """Effect of a rule, in words and in number of rows refused; rows that may not be shown are in neither."""

    rule: str
    text: str
    refused: int = 0


@dataclass(frozen=True)
class Answer:
    """Results of a search.

    Attributes:
        results: best first; as many as asked for, whenever as many pass the rules.
        no_good_match: a floor was asked for and nothing reaches it.
        explain: effect of each rule, if requested.
    """

    results: tuple[Result, ...]
    no_good_match: bool
    explain: tuple[RuleReport, ...] = ()
