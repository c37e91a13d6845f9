from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.shared.errors import NotReadyError, PoisonedVectorError
from serving.encoder.batching import Batcher
from serving.server.refusals import EncoderTimeoutError, OverloadedError


class Recorder:
    """Embeds a picture as (its value, √(1 − value²)) and notes the batches; value 255 is poison, alone or with others."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.batches: list[list[int]] = []
        self.seconds = seconds
        self.gate: threading.Event | None = None
        self.threads: set[int] = set()

    def encode(self, images: np.ndarray) -> np.ndarray:
        values = images.reshape(len(images), -1)[:, 0]
        self.batches.append(values.tolist())
        self.threads.add(threading.get_ident())
        if self.gate is not None:
            self.gate.wait(20)
        time.sleep(self.seconds)
        if (values == 255).any():
            raise PoisonedVectorError("not finite", row=0)
        return expected(values)


def expected(values: Any) -> np.ndarray:
    x = np.asarray(values, np.float32) / 255
    return np.stack([x, np.sqrt(1 - x * x)], 1).astype(np.float32)


def pictures(values: list[int]) -> np.ndarray:
    return np.array(values, np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)


def run(recorder: Recorder, body: Callable[[Batcher], Awaitable[Any]], **changes: Any) -> Any:
    async def main() -> Any:
        limits: dict[str, Any] = {"max_batch": 4, "max_wait_seconds": 0.002, "queue_images": 1000}
        batcher = Batcher(recorder.encode, **limits | changes)
        try:
            return await body(batcher)
        finally:
            if recorder.gate is not None:
                recorder.gate.set()
            await batcher.close()

    return asyncio.run(main())


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=25),
    max_batch=st.integers(1, 8),
    wait=st.sampled_from([0.0, 0.001]),
    pauses=st.lists(st.booleans(), min_size=25, max_size=25),
)
def test_every_request_gets_its_own_rows_in_order_and_no_batch_is_too_large(
    sizes: list[int], max_batch: int, wait: float, pauses: list[bool]
) -> None:
    recorder = Recorder()
    values = [[(17 * request + 5 * row) % 255 for row in range(size)] for request, size in enumerate(sizes)]

    async def body(batcher: Batcher) -> list[np.ndarray]:
        tasks = []
        for request, pause in zip(values, pauses, strict=False):
            tasks.append(asyncio.create_task(batcher.encode(pictures(request))))
            if pause:
                await asyncio.sleep(0)
        return await asyncio.gather(*tasks)

    answers = run(recorder, body, max_batch=max_batch, max_wait_seconds=wait)
    for request, answer in zip(values, answers, strict=True):
        np.testing.assert_array_equal(answer, expected(request))
    assert max(map(len, recorder.batches)) <= max_batch
    assert sum(map(len, recorder.batches)) == sum(sizes)
    assert [value for batch in recorder.batches for value in batch] == [v for request in values for v in request]


@settings(max_examples=30, deadline=None)
@given(
    fates=st.lists(st.sampled_from(["wait", "cancel", "late", "poison"]), min_size=1, max_size=20),
    max_batch=st.integers(1, 6),
)
def test_what_becomes_of_one_request_does_not_touch_the_others(fates: list[str], max_batch: int) -> None:
    recorder = Recorder()
    recorder.gate = threading.Event()

    async def body(batcher: Batcher) -> list[Any]:
        first = asyncio.create_task(batcher.encode(pictures([0])))
        while not recorder.batches:
            await asyncio.sleep(0.001)
        tasks = []
        for place, fate in enumerate(fates):
            deadline = time.monotonic() + (0.01 if fate == "late" else 60)
            value = 255 if fate == "poison" else place + 1
            tasks.append(asyncio.create_task(batcher.encode(pictures([value]), deadline=deadline)))
        await asyncio.sleep(0.02)
        for task, fate in zip(tasks, fates, strict=True):
            if fate == "cancel":
                task.cancel()
        wanted, until = sum(fate in ("wait", "poison") for fate in fates), time.monotonic() + 20
        while batcher.waiting_images != wanted and time.monotonic() < until:
            await asyncio.sleep(0.001)
        assert batcher.waiting_images == wanted
        assert recorder.gate is not None
        recorder.gate.set()
        await first
        return await asyncio.gather(*tasks, return_exceptions=True)

    outcomes = run(recorder, body, max_batch=max_batch)
    for place, (fate, outcome) in enumerate(zip(fates, outcomes, strict=True)):
        if fate == "wait":
            np.testing.assert_array_equal(outcome, expected([place + 1]))
        else:
            kinds = {"cancel": asyncio.CancelledError, "late": EncoderTimeoutError, "poison": PoisonedVectorError}
            assert isinstance(outcome, kinds[fate]), fate
    computed = {value for batch in recorder.batches for value in batch}
    dead = {place + 1 for place, fate in enumerate(fates) if fate in ("cancel", "late")}
    assert not computed & dead, "what nobody waits for is never computed"


def test_an_idle_encoder_answers_one_request_by_itself_and_a_busy_one_gathers() -> None:
    recorder = Recorder()
    recorder.gate = threading.Event()

    async def body(batcher: Batcher) -> None:
        tasks = [asyncio.create_task(batcher.encode(pictures([1])))]
        while not recorder.batches:
            await asyncio.sleep(0.001)
        assert recorder.batches == [[1]]
        tasks += [asyncio.create_task(batcher.encode(pictures([value]))) for value in range(2, 12)]
        await asyncio.sleep(0.01)
        assert recorder.batches == [[1]]
        assert recorder.gate is not None
        recorder.gate.set()
        await asyncio.gather(*tasks)

    run(recorder, body, max_batch=8)
    assert recorder.batches == [[1], [2, 3, 4, 5, 6, 7, 8, 9], [10, 11]]


def test_a_shared_batch_makes_the_next_wait_for_the_requests_that_its_answers_bring() -> None:
    recorder = Recorder()

    async def client(batcher: Batcher, place: int) -> None:
        for _ in range(8):
            await batcher.encode(pictures([3]))
            await asyncio.sleep(0.004 * place)  # they come one after the other

    async def body(batcher: Batcher) -> None:
        await asyncio.gather(*(client(batcher, place) for place in range(4)))

    run(recorder, body, max_batch=8, max_wait_seconds=30.0)
    assert [len(batch) for batch in recorder.batches] == [4] * 8


def test_requests_one_after_the_other_never_wait() -> None:
    recorder = Recorder()

    async def body(batcher: Batcher) -> float:
        started = time.monotonic()
        for _ in range(10):
            await batcher.encode(pictures([1]))
            await batcher.encode(pictures([1, 2, 3]))
        return time.monotonic() - started

    assert run(recorder, body, max_wait_seconds=30.0) < 20
    assert recorder.batches == [[1], [1, 2, 3]] * 10


def test_all_pieces_of_a_large_request_go_when_it_goes() -> None:
    recorder = Recorder()
    recorder.gate = threading.Event()

    async def body(batcher: Batcher) -> None:
        first = asyncio.create_task(batcher.encode(pictures([1])))
        while not recorder.batches:
            await asyncio.sleep(0.001)
        large = asyncio.create_task(batcher.encode(pictures(list(range(10, 20)))))
        await asyncio.sleep(0)
        assert batcher.waiting_images == 10
        large.cancel()
        with pytest.raises(asyncio.CancelledError):
            await large
        assert batcher.waiting_images == 0
        assert recorder.gate is not None
        recorder.gate.set()
        await first

    run(recorder, body)
    assert recorder.batches == [[1]]


def test_a_full_queue_refuses_and_what_was_accepted_is_answered() -> None:
    recorder = Recorder()
    recorder.gate = threading.Event()

    async def body(batcher: Batcher) -> None:
        tasks = [asyncio.create_task(batcher.encode(pictures([1])))]
        while not recorder.batches:
            await asyncio.sleep(0.001)
        tasks += [asyncio.create_task(batcher.encode(pictures([2, 3]))) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError, match="6 pictures are already waiting") as caught:
            await batcher.encode(pictures([4]))
        assert caught.value.retry_after_seconds >= 1
        tasks[-1].cancel()  # room that nobody needs any more is room
        await asyncio.sleep(0)
        tasks[-1] = asyncio.create_task(batcher.encode(pictures([5, 6])))
        await asyncio.sleep(0)
        assert recorder.gate is not None
        recorder.gate.set()
        answers = await asyncio.gather(*tasks)
        np.testing.assert_array_equal(answers[-1], expected([5, 6]))

    run(recorder, body, queue_images=6)


def test_a_deadline_ends_the_wait_even_while_the_encoder_hangs() -> None:
    recorder = Recorder()
    recorder.gate = threading.Event()

    async def body(batcher: Batcher) -> float:
        started = time.monotonic()
        with pytest.raises(EncoderTimeoutError):
            await batcher.encode(pictures([1]), deadline=started + 0.05)
        with pytest.raises(EncoderTimeoutError, match="deadline had passed"):
            await batcher.encode(pictures([1]), deadline=started)
        assert batcher.computing_seconds > 0
        return time.monotonic() - started

    assert run(recorder, body) < 5


def test_the_event_loop_runs_on_while_the_encoder_computes() -> None:
    recorder = Recorder()
    recorder.gate = threading.Event()

    async def body(batcher: Batcher) -> None:
        task = asyncio.create_task(batcher.encode(pictures([1])))
        while not recorder.batches:
            await asyncio.sleep(0.001)
        for _ in range(10):
            await asyncio.sleep(0.001)
        assert not task.done()
        assert recorder.gate is not None
        recorder.gate.set()
        await task

    run(recorder, body)
    assert threading.get_ident() not in recorder.threads


def test_closing_answers_what_was_accepted_and_refuses_the_rest() -> None:
    recorder = Recorder(seconds=0.01)

    async def body(batcher: Batcher) -> None:
        tasks = [asyncio.create_task(batcher.encode(pictures([value]))) for value in range(10)]
        await asyncio.sleep(0)
        await batcher.close()
        for value, task in enumerate(tasks):
            np.testing.assert_array_equal(await task, expected([value]))
        with pytest.raises(NotReadyError):
            await batcher.encode(pictures([1]))

    run(recorder, body)
