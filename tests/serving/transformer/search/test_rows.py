"""What is known of rows, read from Arrow's buffers, against what Arrow itself reads from them."""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa

from components.shared.files.tables import ITEMS
from serving.transformer.search.rows import Rows

N = 40
WORDS = ["", "shoe", "Stiefel – groß", "靴", "👟" * 7, "a\0b"]


def table_of(n: int) -> pa.Table:
    rng = np.random.default_rng(n)
    words = [WORDS[i] for i in rng.integers(0, len(WORDS), n)]
    columns = {
        "row": range(n),
        "image_id": [f"{word}{row}" for row, word in enumerate(words)],
        "item_id": [f"{word}{row // 2}" for row, word in enumerate(words)],
        "uri": [f"file:///{word}" for word in words],
        "sha256": [f"{row % 7:064x}" for row in range(n)],
        "category": [word or None for word in words],
        "is_public": [True] * n,
        "is_appropriate": rng.random(n) < 0.8,
        "duplicate_group": [f"g{row}" for row in range(n)],
        "added_at": [datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)] * n,
    }
    return pa.table(columns, ITEMS.schema)


def test_texts_of_rows_are_those_of_the_table_in_chunks_in_a_slice_and_without_rows() -> None:
    whole = table_of(N)
    chunks = pa.concat_tables([whole.slice(0, 7), whole.slice(7, 0), whole.slice(7)])
    for table in (whole, chunks, table_of(N + 5).slice(5), whole.slice(0, 0)):
        rows, drawn = Rows(table), np.random.default_rng(0).permutation(table.num_rows).tolist()
        for row, item in zip(drawn, rows.items_at(drawn), strict=True):
            for name in ("image_id", "item_id", "uri", "sha256", "category"):
                assert getattr(item, name) == table.column(name)[row].as_py()


def test_rows_are_found_by_image_and_by_digest_if_they_may_be_shown() -> None:
    table = table_of(N)
    rows, shown = Rows(table), table.column("is_appropriate").to_pylist()
    digests = table.column("sha256").to_pylist()
    for row, image_id in enumerate(table.column("image_id").to_pylist()):
        assert rows.find(image_id) == (row if shown[row] else None)
        assert rows.find(image_id + "x") is None
    for digest in {*digests, "0", "z" * 64}:
        assert sorted(rows.with_sha256(digest)) == [row for row in range(N) if shown[row] and digests[row] == digest]
    assert rows.find("\ud800") is None
