"""Attributes of every row: base rows first, then those that generations added; a row keeps its number for good."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import starmap

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from components.shared.files.ids import meant_ids
from components.shared.release.generation import Generation, stack_items
from serving.transformer.search.results import CatalogueItem

_COLUMNS = ["image_id", "item_id", "uri", "sha256", "category"]


class Rows:
    """The rows of a base and of the generations on it. Of what may not be shown, nothing is counted and nothing found.

    Args:
        base: table ITEMS of the release.
        generations: lowest first.

    Attributes:
        count: rows in all, n.
        visible: (n,) public, appropriate and not removed.
        items: (n,) int32, equal where the item is.
        groups: (n,) int32, equal where pictures are near-duplicates.
        item_sizes: visible rows, by item.
        group_sizes: visible rows, by group.

    Raises:
        ContractError: a generation removes what is not there, or adds what is.
    """

    def __init__(self, base: pa.Table, generations: Sequence[Generation] = ()) -> None:
        table, present = stack_items(base, generations)
        self.count = table.num_rows
        shown = pc.and_(table.column("is_public"), table.column("is_appropriate"))
        self.visible = present & shown.to_numpy().astype(np.bool_)
        self._texts = [_Texts(table.column(name)) for name in _COLUMNS]
        self.items, items = _codes(table.column("item_id"))
        self.groups, groups = _codes(table.column("duplicate_group"))
        self.item_sizes = np.bincount(self.items[self.visible], minlength=items)
        self.group_sizes = np.bincount(self.groups[self.visible], minlength=groups)
        pairs = self.items.astype(np.int64) * max(groups, 1) + self.groups
        self._pairs, counts = np.unique(pairs[self.visible], return_counts=True)
        self._pair_sizes = counts.astype(np.int32)
        self._groups = max(groups, 1)
        shown_rows = np.flatnonzero(self.visible)
        self._by_id = _Sorted(table.column("image_id"), shown_rows)
        self._by_sha256 = _Sorted(table.column("sha256"), shown_rows)

    def find(self, image_id: str) -> int | None:
        """Return the row of an image that may be shown; it may be named by its path as well."""
        return next((rows[0] for each in meant_ids(image_id) if (rows := self._by_id.find(each))), None)

    def with_sha256(self, sha256: str) -> list[int]:
        """Return the rows of the images with these very bytes that may be shown."""
        return self._by_sha256.find(sha256)

    def items_at(self, rows: Sequence[int]) -> list[CatalogueItem]:
        """Return what these rows show."""
        places = np.asarray(rows, np.int64)
        return list(starmap(CatalogueItem, zip(*(texts.at(places) for texts in self._texts), strict=True)))

    def stand_for(self, rows: Sequence[int], *, item: bool, group: bool) -> list[int]:
        """Return how many other visible rows each represents: those of its item, of its group of near-duplicates, or either."""
        at = np.asarray(rows, np.int64)
        others = np.zeros(len(at), np.int64)
        if item:
            others += self.item_sizes[self.items[at]]
        if group:
            others += self.group_sizes[self.groups[at]]
        if item and group and len(at):
            pairs = self.items[at].astype(np.int64) * self._groups + self.groups[at]
            others -= self._pair_sizes[np.searchsorted(self._pairs, pairs)]
        counted: list[int] = np.maximum(others - 1, 0).tolist()
        return counted


class _Texts:
    """A column of texts, read from Arrow's buffers: with cold caches four times as fast as its `take` of an answer's rows."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        values = column.cast(pa.large_string()).combine_chunks()
        self._known = None if not values.null_count else values.is_valid().to_numpy(zero_copy_only=False)
        offsets, text = values.buffers()[1:]
        self._offsets = np.frombuffer(offsets or b"\0" * 8, np.int64)[values.offset : values.offset + len(values) + 1]
        self._text = memoryview(text or b"")

    def encoded(self, row: int) -> bytes:
        """Return the text of a row in UTF-8; b"" where there is none."""
        return bytes(self._text[self._offsets[row] : self._offsets[row + 1]])

    def at(self, rows: NDArray[np.int64]) -> list[str | None]:
        """Return the texts of (r,) rows; None where there is none."""
        text = self._text
        bounds = zip(self._offsets[rows].tolist(), self._offsets[rows + 1].tolist(), strict=True)
        texts: list[str | None] = [str(text[start:end], "utf-8") for start, end in bounds]
        if self._known is None:
            return texts
        return [text if known else None for text, known in zip(texts, self._known[rows].tolist(), strict=True)]


class _Sorted:
    """Finds rows by a text without a dictionary of Python objects: 8 bytes a row."""

    def __init__(self, column: pa.ChunkedArray, rows: NDArray[np.int64]) -> None:
        values = pa.chunked_array([column.combine_chunks().cast(pa.large_string())]).take(pa.array(rows))
        order = pc.sort_indices(values.combine_chunks(), sort_keys=[("", "ascending")]).to_numpy()
        self._values = _Texts(values.take(pa.array(order)))
        self._rows = rows[order]

    def find(self, text: str) -> list[int]:
        low, high = 0, len(self._rows)
        key = text.encode(errors="surrogatepass")
        while low < high:
            middle = (low + high) // 2
            if self._values.encoded(middle) < key:
                low = middle + 1
            else:
                high = middle
        found = []
        while low < len(self._rows) and self._values.encoded(low) == key:
            found.append(int(self._rows[low]))
            low += 1
        return found


def _codes(column: pa.ChunkedArray) -> tuple[NDArray[np.int32], int]:
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int32), len(encoded.dictionary)
