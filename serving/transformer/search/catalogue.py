"""One state of what is served: a release with the generations on it. Immutable; a request takes it once and keeps it."""

from __future__ import annotations

from collections.abc import Sequence

import faiss
import numpy as np
from numpy.typing import NDArray

from components.shared.errors import ContractError
from components.shared.pictures.preprocessing import PreprocessingSpec
from components.shared.release.generation import Generation
from components.shared.release.manifest import Manifest, Searchable
from components.shared.vectors.embeddings import Vectors, normalise
from serving.server.refusals import UnknownThingError
from serving.transformer.search.layers import Layers
from serving.transformer.search.results import Answer, CatalogueItem, Result, SearchOptions
from serving.transformer.search.rows import Rows
from serving.transformer.search.rules.chain import Chain, ChainParameters
from serving.transformer.search.rules.items import Items
from serving.transformer.search.rules.near_duplicates import NearDuplicates

_STATED_PRECISION = "0.9"  # of the floor that is meant by "calibrated"
_MOST_VIEWS = 4  # images of an item, expected among the nearest at most
_SPARE = 8


class UnknownImageError(UnknownThingError):
    """No image has this id, or one that may not be shown; the caller cannot tell which."""


class Catalogue:
    """A release and its generations, searched as one. Calls may come from any number of threads.

    Args:
        base: the release.
        generations: generations on it, lowest first.
        chain: active re-ranking rules.

    Attributes:
        base: the release, to put other generations on.
        generation_ids: ids of the generations, lowest first.
        generation: number of the topmost, 0 if there is none.
        images: number of visible images.
        items: number of items that they show.
        floors: precision → least score that reaches it, as measured when the release was evaluated; "calibrated" is that
            of precision 0.9. What cannot be reached is not in it.

    Raises:
        ContractError: the generations do not form a chain on this release.
    """

    def __init__(
        self, base: Searchable, generations: Sequence[Generation] = (), chain: ChainParameters | None = None
    ) -> None:
        _check_chain(base.manifest, generations)
        self.base = base
        self.generations = tuple(generations)
        self.generation_ids = tuple(generation.manifest.generation_id for generation in generations)
        self.generation = len(self.generation_ids)
        self._chain = chain or ChainParameters()
        self._rows = Rows(base.items, generations)
        self._layers = Layers(base.index, [generation.vectors for generation in generations], self._rows.visible)
        self.images = self._layers.count
        self.items = int(np.count_nonzero(self._rows.item_sizes))
        self.floors = _floors(base.manifest)
        self._views = min(_MOST_VIEWS, -(-self.images // max(1, self.items)))

    @property
    def release_id(self) -> str:
        """Of the release."""
        return self.base.manifest.release_id

    @property
    def space_id(self) -> str:
        """Of the release, and so of every vector."""
        return self.base.manifest.space_id

    @property
    def preprocessing(self) -> PreprocessingSpec:
        """How a picture becomes the encoder's input."""
        return self.base.manifest.encoder.preprocessing

    @property
    def dimension(self) -> int:
        """Length d of a vector."""
        return self.base.index.dimension

    def search(self, vector: Vectors, options: SearchOptions) -> Answer:
        """Find the nearest images that pass the rules: always k, if k such exist.

        Args:
            vector: (d,) float32, unit norm, of this catalogue's space.
            options: how to search.

        Raises:
            InputError: another shape or type.
            PoisonedVectorError: not a finite unit vector.
        """
        faiss.omp_set_num_threads(1)  # of this thread: queries share the cores, not one query all of them
        number = self._first_number(options)
        while True:
            chain = Chain(self._chain, self._rows, options)
            chosen: list[tuple[int, float]] = []
            rows, scores = self._layers.find(vector, number, exact=options.exact, shown=options.k)
            is_over = self._choose(chain, chosen, options.k, rows, scores) or len(rows) < number
            if is_over or number == self._layers.most:
                break
            number = min(number * 4, self._layers.most)
        if not is_over:
            self._go_on(chain, chosen, vector, options, rows)
        return Answer(
            self._results(chain, options, chosen),
            no_good_match=options.floor is not None and not chosen,
            explain=chain.reports() if options.explain else (),
        )

    def vector_of(self, image_id: str) -> Vectors:
        """Return the (d,) unit vector of an image.

        Raises:
            UnknownImageError: there is none of that id that may be shown.
        """
        (vector,) = normalise(self._layers.vector(self._row(image_id))[None])
        return np.asarray(vector, np.float32)

    def item(self, image_id: str) -> CatalogueItem:
        """Return what is known of an image.

        Raises:
            UnknownImageError: there is none of that id that may be shown.
        """
        return self._rows.items_at([self._row(image_id)])[0]

    def samples(self, n: int, seed: int) -> list[CatalogueItem]:
        """Return up to n images of different items, drawn at random."""
        draw = np.random.default_rng(seed).permutation(np.flatnonzero(self._rows.visible))
        _, first = np.unique(self._rows.items[draw], return_index=True)
        return self._rows.items_at(draw[np.sort(first)[:n]].tolist())

    def recall_at_10(self, vector: Vectors) -> float:
        """Return the share of the 10 nearest in the index that it finds; costs an exact search."""
        return self._layers.recall_at_10(vector)

    @staticmethod
    def _choose(
        chain: Chain, chosen: list[tuple[int, float]], k: int, rows: NDArray[np.int64], scores: NDArray[np.float32]
    ) -> bool:
        """Offer rows to the rules, best first; whether nothing more is wanted."""
        for row, score in zip(rows.tolist(), scores.tolist(), strict=True):
            if len(chosen) == k or chain.ends(score):
                return True
            if chain.offer(row, score):
                chosen.append((row, score))
        return len(chosen) == k

    def _go_on(
        self,
        chain: Chain,
        chosen: list[tuple[int, float]],
        vector: Vectors,
        options: SearchOptions,
        rows: NDArray[np.int64],
    ) -> None:
        """Continue past the nearest 10,000 rows, without those already seen or refused, until k results are found."""
        seen = np.zeros(self._rows.count, np.bool_)
        is_over = False
        while not is_over:
            seen[rows] = True
            without = seen | chain.settled(self._rows.count)
            rows, scores = self._layers.find(vector, self._layers.most, exact=options.exact, without=without)
            is_over = self._choose(chain, chosen, options.k, rows, scores) or not len(rows)
        chosen.sort(key=lambda pair: (-pair[1], pair[0]))

    def _row(self, image_id: str) -> int:
        row = self._rows.find(image_id)
        if row is None:
            raise UnknownImageError("there is no image of this id in the catalogue")
        return row

    def _first_number(self, options: SearchOptions) -> int:
        folds = options.group_items or options.collapse_duplicates
        wanted = options.k * (self._views if folds else 1) + len(options.exclude_image_ids) + _SPARE
        return max(1, min(wanted, self._layers.most))

    def _results(self, chain: Chain, options: SearchOptions, chosen: Sequence[tuple[int, float]]) -> tuple[Result, ...]:
        rows = [row for row, _ in chosen]
        stands_for = self._rows.stand_for(rows, item=chain.has(Items), group=chain.has(NearDuplicates))
        return tuple(
            Result(
                item.image_id,
                item.item_id,
                item.uri,
                item.category,
                score,
                position,
                grouped,
                chain.about(row) if options.explain else (),
            )
            for position, ((row, score), item, grouped) in enumerate(
                zip(chosen, self._rows.items_at(rows), stands_for, strict=True), start=1
            )
        )


def _check_chain(manifest: Manifest, generations: Sequence[Generation]) -> None:
    parent = None
    for number, generation in enumerate(generations, start=1):
        found = generation.manifest
        if (found.release_id, found.number, found.parent) != (manifest.release_id, number, parent):
            raise ContractError(
                f"{found.generation_id} is generation {found.number} on {found.parent or found.release_id}, not number "
                f"{number} on {parent or manifest.release_id}; extend the served release again"
            )
        parent = found.generation_id


def _floors(manifest: Manifest) -> dict[str, float]:
    recorded = manifest.metrics.get("score_floors")
    values = recorded.get("floors") if isinstance(recorded, dict) else None
    floors = {
        str(precision): float(score)
        for precision, score in (values.items() if isinstance(values, dict) else ())
        if isinstance(score, int | float) and not isinstance(score, bool)
    }
    return floors | ({"calibrated": floors[_STATED_PRECISION]} if _STATED_PRECISION in floors else {})
