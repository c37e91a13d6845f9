"""Makes what a generation adds to a release."""

from __future__ import annotations

import pyarrow as pa

from components.shared.files.tables import ITEMS
from support.factories.basics import EPOCH


def make_items(ids: list[str]) -> pa.Table:
    """Return table ITEMS of public, appropriate images, each of an item of its own."""
    rows = [
        {
            "row": row,
            "image_id": image_id,
            "item_id": f"item-{image_id}",
            "uri": f"memory://{image_id}.jpg",
            "sha256": "0" * 64,
            "category": None,
            "is_public": True,
            "is_appropriate": True,
            "duplicate_group": image_id,
            "added_at": EPOCH,
        }
        for row, image_id in enumerate(ids)
    ]
    return pa.Table.from_pylist(rows, ITEMS.schema)
