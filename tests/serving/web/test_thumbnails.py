from __future__ import annotations

import asyncio

import pytest

from serving.server.refusals import OverloadedError
from serving.web.thumbnails import ThumbnailCache, ThumbnailSource


class Pictures:
    """Makes thumbnails of 10 bytes and counts them."""

    def __init__(self) -> None:
        self.shown = {name: ThumbnailSource(f"sha-{name}", name) for name in "abcdef"}
        self.made: list[tuple[str, int]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def render(self, uri: str, side: int) -> bytes:
        self.made.append((uri, side))
        await self.gate.wait()
        if uri == "f":
            raise OverloadedError("it is full")
        return f"{uri} {side}".ljust(10).encode()

    def cache(self, capacity_bytes: int = 30) -> ThumbnailCache:
        return ThumbnailCache(self.shown.get, self.render, capacity_bytes=capacity_bytes)


def test_bytes_are_bounded_and_the_least_used_goes() -> None:
    async def go() -> None:
        pictures = Pictures()
        cache = pictures.cache()
        for name in "abc":
            await cache(name, 256)
        await cache("a", 256)
        await cache("d", 256)  # "b" goes
        assert cache.size_bytes == 30
        pictures.made.clear()
        assert await cache("a", 256) == b"a 256     "
        assert pictures.made == []
        await cache("b", 256)
        assert pictures.made == [("b", 256)]
        assert cache.size_bytes == 30

    asyncio.run(go())


def test_a_picture_larger_than_the_cache_is_served_and_not_kept() -> None:
    async def go() -> None:
        cache = Pictures().cache(capacity_bytes=5)
        assert await cache("a", 256) is not None
        assert cache.size_bytes == 0

    asyncio.run(go())


def test_many_who_ask_at_once_make_it_once_though_one_goes_away() -> None:
    async def go() -> None:
        pictures = Pictures()
        pictures.gate.clear()
        cache = pictures.cache()
        waiting = [asyncio.create_task(cache("a", 256)) for _ in range(20)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting[0].cancel()
        pictures.gate.set()
        answers = await asyncio.gather(*waiting[1:])
        assert set(answers) == {b"a 256     "}
        assert pictures.made == [("a", 256)]

    asyncio.run(go())


def test_what_becomes_private_is_not_shown_from_the_cache() -> None:
    async def go() -> None:
        pictures = Pictures()
        cache = pictures.cache()
        assert await cache("a", 256) is not None
        del pictures.shown["a"]
        assert await cache("a", 256) is None

    asyncio.run(go())


def test_a_changed_picture_is_made_anew() -> None:
    async def go() -> None:
        pictures = Pictures()
        cache = pictures.cache()
        await cache("a", 256)
        pictures.shown["a"] = ThumbnailSource("sha-new", "b")
        assert await cache("a", 256) == b"b 256     "

    asyncio.run(go())


def test_what_cannot_be_read_is_none_and_tried_again() -> None:
    async def go() -> None:
        answers = [b"picture", None]

        async def render(uri: str, side: int) -> bytes | None:
            return answers.pop()

        cache = ThumbnailCache(lambda _: ThumbnailSource("sha", "uri"), render)
        assert await cache("a", 256) is None
        assert await cache("a", 256) == b"picture"

    asyncio.run(go())


def test_a_failure_reaches_all_who_wait_and_is_not_kept() -> None:
    async def go() -> None:
        pictures = Pictures()
        pictures.gate.clear()
        cache = pictures.cache()
        waiting = [asyncio.create_task(cache("f", 256)) for _ in range(3)]
        await asyncio.sleep(0)
        pictures.gate.set()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert [str(answer) for answer in answers] == ["it is full"] * 3
        with pytest.raises(OverloadedError):
            await cache("f", 256)
        assert pictures.made == [("f", 256), ("f", 256)]

    asyncio.run(go())
