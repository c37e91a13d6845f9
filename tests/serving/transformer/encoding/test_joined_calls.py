"""Calls to the encoder that are shared: everybody gets what is theirs, in their own time, whatever befalls the others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.server.refusals import EncoderFailedError, EncoderTimeoutError
from serving.transformer.encoding.encoder_client import EncoderClient, EncoderUnavailableError
from serving.transformer.encoding.joined_calls import JoinedCalls
from support.servers.misbehaving_encoder import MisbehavingEncoder

POISON = 255
CALLER: ContextVar[str] = ContextVar("caller", default="")


class Encoder:
    """Answers a picture with its first value, after some time; the value 255 makes its call fail."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.calls: list[list[int]] = []
        self.keys: list[tuple[str, int]] = []
        self.callers: list[str] = []
        self.deadlines: list[float] = []
        self.under_way = self.most_under_way = self.cancelled = 0
        self.error: Exception | None = None

    async def __call__(self, parts: Sequence[Any], *, space_id: str, dimension: int, deadline: float) -> Any:
        values = [int(picture.flat[0]) for part in parts for picture in part]
        self.calls.append(values)
        self.keys.append((space_id, dimension))
        self.callers.append(CALLER.get())
        self.deadlines.append(deadline)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1
        if self.error is not None:
            raise self.error
        if POISON in values:
            raise EncoderFailedError("no embedding for these pictures")
        return np.array(values, np.float32)[:, None]


def squares(values: Sequence[int]) -> Any:
    return np.array(values, np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)


async def ask(calls: JoinedCalls, values: Sequence[int], *, seconds: float = 20.0, space_id: str = "s", d: int = 1):
    deadline = time.monotonic() + seconds
    found = await calls.encode(squares(values), space_id=space_id, dimension=d, deadline=deadline)
    return found[:, 0].astype(int).tolist()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from([*range(1, 40), POISON]), min_size=1, max_size=5), min_size=1, max_size=20),
    st.integers(1, 8),
)
def test_everybody_gets_their_own_and_poison_spoils_nobody_elses(requests, most):
    encoder = Encoder()
    calls = JoinedCalls(encoder, most_images=most)

    async def body() -> list[Any]:
        return await asyncio.gather(*(ask(calls, values) for values in requests), return_exceptions=True)

    for values, outcome in zip(requests, asyncio.run(body()), strict=True):
        if POISON in values:
            assert isinstance(outcome, EncoderFailedError)
        else:
            assert outcome == values
    assert all(len(call) <= max(most, *map(len, requests)) for call in encoder.calls)
    assert encoder.most_under_way <= 2


def test_one_alone_goes_at_once_and_what_comes_meanwhile_goes_together():
    encoder = Encoder(seconds=0.05)

    async def body() -> None:
        calls = JoinedCalls(encoder, most_images=4)
        await ask(calls, [1])
        await asyncio.gather(*(ask(calls, [value]) for value in range(2, 10)))

    asyncio.run(body())
    assert encoder.calls == [[1], [2], [3], [4, 5, 6, 7], [8, 9]]


def test_as_many_go_as_encoders_are_compiled_for():
    encoder = Encoder(seconds=0.01)

    async def body() -> None:
        calls = JoinedCalls(encoder, most_images=16)
        busy = [asyncio.ensure_future(ask(calls, [value])) for value in (1, 2)]
        await asyncio.sleep(0)
        assert await asyncio.gather(ask(calls, [3, 4, 5]), ask(calls, [6, 7]), *(ask(calls, [n]) for n in range(8, 18)))
        await asyncio.gather(*busy)

    asyncio.run(body())
    assert encoder.calls == [[1], [2], [3, 4, 5, 6, 7, 8, 9, 10], [11, 12, 13, 14], [15, 16], [17]]


def test_most_images_of_one_joins_nothing():
    encoder = Encoder(seconds=0.01)

    async def body() -> None:
        calls = JoinedCalls(encoder, most_images=1)
        await asyncio.gather(ask(calls, [1, 2, 3]), *(ask(calls, [value]) for value in range(4, 8)))

    asyncio.run(body())
    assert encoder.calls == [[1, 2, 3], [4], [5], [6], [7]]


def test_only_what_asks_in_one_space_goes_together():
    encoder = Encoder(seconds=0.02)

    async def body() -> None:
        calls = JoinedCalls(encoder, most_images=16)
        asked = [ask(calls, [value], space_id="old" if value < 6 else "new") for value in range(1, 10)]
        assert await asyncio.gather(*asked) == [[value] for value in range(1, 10)]

    asyncio.run(body())
    assert encoder.calls == [[1], [2], [3, 4], [5], [6, 7, 8, 9]]
    assert encoder.keys == [("old", 1)] * 4 + [("new", 1)]


def test_each_has_its_own_time_and_the_call_that_of_the_most_patient():
    encoder = Encoder(seconds=0.3)

    async def body() -> None:
        calls = JoinedCalls(encoder, most_images=16)
        busy = [asyncio.ensure_future(ask(calls, [value])) for value in (1, 2)]
        await asyncio.sleep(0.01)
        started = time.monotonic()
        patient = asyncio.ensure_future(ask(calls, [3], seconds=5))
        with pytest.raises(EncoderTimeoutError):
            await ask(calls, [4], seconds=0.05)
        assert time.monotonic() - started < 0.25, "it waits no longer than it has time"
        late = asyncio.ensure_future(ask(calls, [5], seconds=0.4))
        with pytest.raises(EncoderTimeoutError):
            await late
        assert await patient == [3]
        assert await asyncio.gather(*busy) == [[1], [2]]

    asyncio.run(body())
    assert encoder.calls == [[1], [2], [3, 5]], "what had no time left before its call is not asked for"
    assert encoder.deadlines[-1] > encoder.deadlines[0] - 20 + 4


def test_a_call_that_nobody_waits_for_is_given_up_and_makes_room():
    encoder = Encoder(seconds=30)

    async def body() -> None:
        calls = JoinedCalls(encoder, most_images=16)
        gone = [asyncio.ensure_future(ask(calls, [value])) for value in (1, 2, 3, 4)]
        await asyncio.sleep(0.01)
        for task in gone[:3]:
            task.cancel()
        encoder.seconds = 0.0
        assert await ask(calls, [5]) == [5]
        assert await gone[3] == [4]

    asyncio.run(body())
    assert encoder.calls == [[1], [2], [4, 5]]
    assert encoder.cancelled == 2


def test_an_error_of_the_encoder_as_a_whole_is_everybodys_and_nobody_asks_again():
    encoder = Encoder(seconds=0.01)
    encoder.error = EncoderUnavailableError("the encoder cannot be reached")

    async def body() -> list[Any]:
        calls = JoinedCalls(encoder, most_images=16)
        return await asyncio.gather(*(ask(calls, [value]) for value in range(6)), return_exceptions=True)

    assert all(isinstance(outcome, EncoderUnavailableError) for outcome in asyncio.run(body()))
    assert encoder.calls == [[0], [1], [2, 3, 4, 5]]


def test_a_call_speaks_for_its_oldest_request():
    encoder = Encoder(seconds=0.02)

    async def body() -> None:
        calls = JoinedCalls(encoder, most_images=16)

        async def one(value: int) -> None:
            CALLER.set(f"r{value}")
            await ask(calls, [value])

        await asyncio.gather(*(one(value) for value in range(5)))

    asyncio.run(body())
    assert encoder.callers == ["r0", "r1", "r2", "r4"]


def test_over_the_wire_32_requests_take_few_calls_and_each_gets_its_vector():
    rng = np.random.default_rng(0)
    projection = rng.normal(size=(3, 16))

    def embed(images: np.ndarray) -> np.ndarray:
        values = images.astype(float).mean(axis=(1, 2)) @ projection + 1
        return values / np.linalg.norm(values, axis=1, keepdims=True)

    pictures = rng.integers(0, 256, (32, 1, 1, 3)).astype(np.uint8) * np.ones((1, 224, 224, 1), np.uint8)

    async def body() -> None:
        with MisbehavingEncoder(space_id="s-1", dimension=16, embed=embed) as server:
            encoder = EncoderClient(server.address, timeout_seconds=20)
            encoder.start()
            try:
                found = await asyncio.gather(
                    *(encoder.encode(picture[None], space_id="s-1", dimension=16) for picture in pictures)
                )
                np.testing.assert_allclose(np.concatenate(found), embed(pictures), atol=1e-5)
                assert server.calls <= 8
            finally:
                await encoder.stop()

    asyncio.run(body())
