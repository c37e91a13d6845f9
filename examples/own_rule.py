"""A re-ranking rule of your own: at most two results of one category, so that the list shows variety.

    python examples/own_rule.py RELEASE

RELEASE is a release directory, for example the one that `visual-search fetch champion` prints. The rows of the index come best
first; a rule may refuse a row as the next result, and learns which rows were taken. To serve with your rule, add its class to
`BUILT_IN` in `serving/transformer/search/rules/chain.py`; then `VISUAL_SEARCH_RULES` accepts its name (see CONTRIBUTING.md).
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import ClassVar

from components.shared.release.manifest import open_catalogue
from serving.transformer.search.catalogue import Catalogue
from serving.transformer.search.results import Answer, SearchOptions
from serving.transformer.search.rows import Rows
from serving.transformer.search.rules.chain import BUILT_IN, ChainParameters
from serving.transformer.search.rules.rule import Rule, counted

MOST_PER_CATEGORY = 2


class Variety(Rule):
    """Refuses a row if its category already has two results. Images without a category always pass."""

    name: ClassVar[str] = "variety"

    def __init__(self, rows: Rows, options: SearchOptions) -> None:
        super().__init__(rows, options)
        self._shown: Counter[str] = Counter()

    def refuses(self, row: int, score: float) -> bool:
        """Whether the category of the row has enough results."""
        category = self._category(row)
        return category is not None and self._shown[category] >= MOST_PER_CATEGORY

    def show(self, row: int) -> None:
        """Count the category of a result."""
        if (category := self._category(row)) is not None:
            self._shown[category] += 1

    def sentence(self) -> str:
        """Return what the rule did."""
        return f"left out {counted(self.refused, 'image')} of categories with {MOST_PER_CATEGORY} results"

    def _category(self, row: int) -> str | None:
        return self.rows.items_at([row])[0].category


def main(release: Path) -> Answer:
    """Search a release by one of its own images, with the built-in rules and this one."""
    catalogue = Catalogue(open_catalogue(release), chain=ChainParameters(rules=(*BUILT_IN, Variety)))
    query = catalogue.samples(1, seed=0)[0]
    vector = catalogue.vector_of(query.image_id)
    answer = catalogue.search(vector, SearchOptions(k=10, explain=True, exclude_image_ids=frozenset({query.image_id})))
    print(f"similar to {query.image_id}:")
    for result in answer.results:
        print(f"  {result.score:.3f}  {result.category}  {result.image_id}")
    for report in answer.explain:
        print(f"  {report.rule}: {report.text}")
    return answer


if __name__ == "__main__":
    main(Path(sys.argv[1]))
