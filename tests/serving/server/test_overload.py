"""Overload bends and does not break (promise 12): an open loop sends more than the server can do."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import pytest

from support.servers.echo_process import JSON, PREDICT, EchoProcess

WORK_SECONDS = 0.1
CONCURRENCY, LENGTH = 2, 4
CAPACITY = CONCURRENCY / WORK_SECONDS  # requests a second, by what the model takes alone
REQUEST = (
    f"POST {PREDICT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}".encode()
)
GUARD = {"queues": {"search": {"concurrency": CONCURRENCY, "length": LENGTH, "wait_seconds": 4.0}}}


@dataclass
class Tally:
    """Outcomes of an open loop."""

    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    others: list[object] = field(default_factory=list)


async def _open_loop(port: int, rate: float, seconds: float) -> Tally:
    """Send at a rate, whatever comes back, and wait for the last answer. Bare sockets: a client library is too slow."""
    tally, idle = Tally(), []  # type: ignore[var-annotated]

    async def one() -> None:
        started = time.perf_counter()
        try:
            async with asyncio.timeout(20):
                reader, writer = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
                writer.write(REQUEST)
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:-2])
                await reader.readexactly(int(fields["content-length"]))
        except (OSError, EOFError, TimeoutError) as error:
            tally.others.append(repr(error))
            return
        took = time.perf_counter() - started
        idle.append((reader, writer))
        status = int(head.split()[1])
        if status == 200:
            tally.answered.append(took)
        elif status == 503 and 1 <= int(fields["retry-after"]) <= 3:
            tally.refused.append(took)
        else:
            tally.others.append(status)

    started = time.perf_counter()
    tasks: list[asyncio.Task[None]] = []
    while (now := time.perf_counter() - started) < seconds:
        while len(tasks) < now * rate:
            tasks.append(asyncio.create_task(one()))
        await asyncio.sleep(0.002)
    await asyncio.gather(*tasks)
    for _, writer in idle:
        writer.close()
    return tally


def _p99(values: list[float]) -> float:
    return sorted(values)[int(0.99 * (len(values) - 1))]


def _run(factor: float, seconds: float) -> tuple[Tally, float]:
    with EchoProcess(work_seconds=WORK_SECONDS, guard=GUARD) as echo:
        asyncio.run(_open_loop(echo.http, 0.5 * CAPACITY, 0.5))  # warm
        tally = asyncio.run(_open_loop(echo.http, factor * CAPACITY, seconds))
        started = time.perf_counter()
        assert echo.ask("POST", PREDICT, b"{}", JSON)[0] == 200
        metrics = echo.ask("GET", "/metrics")[2].decode()
        assert 'refusals_total{arm="champion",code="overloaded",release_id="r-1"}' in metrics
        return tally, time.perf_counter() - started


def test_overload_is_refused_and_the_rest_answered() -> None:
    seconds = 2.0
    tally, recovered = _run(5, seconds)
    assert tally.others == []
    assert sorted(tally.refused)[len(tally.refused) // 2] < 2.0  # well before the wait in the queue would have ended
    assert len(tally.answered) >= 0.4 * CAPACITY * seconds  # a busy machine; the long form has the promise
    assert recovered < 20


@pytest.mark.long
@pytest.mark.parametrize("factor", [5, 20])
def test_overload_long(factor: int) -> None:
    seconds = 10.0
    tally, recovered = _run(factor, seconds)
    goodput = len(tally.answered) / seconds / CAPACITY
    print(f"{factor}x: goodput {goodput:.2f}, p99 {_p99(tally.answered):.3f} s, refusals {_p99(tally.refused):.3f} s")
    assert tally.others == []
    assert goodput >= 0.8
    assert _p99(tally.answered) <= (LENGTH + 2) * WORK_SECONDS + 0.1
    assert _p99(tally.refused) <= 0.1
    assert recovered <= 2
