"""Thumbnails of the catalogue, kept in memory up to a number of bytes; each is made once, however many ask for it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class ThumbnailSource:
    """The location of an image's picture.

    Attributes:
        sha256: digest of its bytes; the thumbnail is kept under it, so a changed picture is never served as it was.
    """

    sha256: str
    uri: str


class ThumbnailCache:
    """The `thumbnails` that the router is given: look up, then cache, then render.

    Whether an image may be shown is asked on every call, before the cache: a thumbnail made while an image was public
    is not shown when it is private.
    """

    def __init__(
        self,
        locate: Callable[[str], ThumbnailSource | None],
        render: Callable[[str, int], Awaitable[bytes | None]],
        *,
        capacity_bytes: int = 64 * 2**20,
    ) -> None:
        """Keep up to `capacity_bytes` of thumbnails.

        Args:
            locate: image_id → its picture; None where it is unknown or may not be shown.
            render: (uri, side) → the re-encoded picture; None where it cannot be read (which is not kept).
            capacity_bytes: largest total size of the cached thumbnails.
        """
        self._locate = locate
        self._render = render
        self._capacity_bytes = capacity_bytes
        self._kept: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._under_way: dict[tuple[str, int], asyncio.Task[bytes | None]] = {}
        self._size_bytes = 0

    @property
    def size_bytes(self) -> int:
        """Total size of the cached thumbnails."""
        return self._size_bytes

    async def __call__(self, image_id: str, side: int) -> bytes | None:
        """Return the thumbnail of an image, or None where there is none to show."""
        source = self._locate(image_id)
        if source is None:
            return None
        key = (source.sha256, side)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.ensure_future(self._make(key, source.uri))
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        # Shielded: one of those who wait may go away without taking the picture from the others.
        return await asyncio.shield(task)

    async def _make(self, key: tuple[str, int], uri: str) -> bytes | None:
        picture = await self._render(uri, key[1])
        if picture is not None and len(picture) <= self._capacity_bytes:
            self._kept[key] = picture
            self._size_bytes += len(picture)
            while self._size_bytes > self._capacity_bytes:
                _, dropped = self._kept.popitem(last=False)
                self._size_bytes -= len(dropped)
        return picture
