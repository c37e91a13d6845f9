"""Clients: a closed loop, whose clients ask again once they are answered, and an open loop of requests at random times."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

_DRAIN_SECONDS = 30.0


@dataclass
class Outcome:
    """Results that the clients observed.

    Attributes:
        latencies: seconds, for answers with status 200.
        statuses: number of answers per status.
        seconds: time from the first request to the last answer.
        bodies: bodies by number of the picture, if requested.
    """

    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0
    bodies: dict[int, bytes] = field(default_factory=dict)

    @property
    def answered(self) -> int:
        """Number of answers with status 200."""
        return len(self.latencies)

    def milliseconds(self, percentile: float) -> float:
        """Return a percentile of the latencies."""
        return float(np.percentile(self.latencies, percentile)) * 1000 if self.latencies else float("nan")


class Client:
    """One persistent HTTP/1.1 connection."""

    def __init__(self, port: int, path: str) -> None:
        self._port = port
        self._head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: image/jpeg\r\ncontent-length: ".encode()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, picture: bytes) -> tuple[int, bytes]:
        """Send a picture; return status and body."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 22)
        reader, writer = self._streams
        writer.write(self._head + str(len(picture)).encode() + b"\r\n\r\n" + picture)
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:"))
        body = await reader.readexactly(length)
        if b"connection: close" in lines:
            self.close()
        return int(lines[0].split()[1]), body

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def closed_loop(
    port: int, path: str, pictures: Sequence[bytes], *, clients: int, requests: int, keep: bool = False
) -> Outcome:
    """Let `clients` send one picture after the other, `requests` in total."""
    outcome, numbers = Outcome(), iter(range(requests))

    async def run() -> None:
        client = Client(port, path)
        for number in numbers:
            place = number % len(pictures)
            started = time.perf_counter()
            status, body = await client.ask(pictures[place])
            outcome.statuses[status] += 1
            if status == 200:
                outcome.latencies.append(time.perf_counter() - started)
                if keep:
                    outcome.bodies[place] = body
        client.close()

    started = time.perf_counter()
    await asyncio.gather(*(run() for _ in range(clients)))
    outcome.seconds = time.perf_counter() - started
    return outcome


async def open_loop(port: int, path: str, pictures: Sequence[bytes], *, rate: float, requests: int) -> Outcome:
    """Send at random times, `rate` times per second on average; latency counts from the time at which a request was due."""
    outcome, chance, idle = Outcome(), random.Random(0), list[Client]()

    async def one(place: int, due: float) -> None:
        client = idle.pop() if idle else Client(port, path)
        status, _ = await client.ask(pictures[place])
        outcome.statuses[status] += 1
        if status == 200:
            outcome.latencies.append(time.perf_counter() - due)
        idle.append(client)

    started = due = time.perf_counter()
    tasks = []
    for number in range(requests):
        due += chance.expovariate(rate)
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(one(number % len(pictures), due)))
    await asyncio.wait_for(asyncio.gather(*tasks), _DRAIN_SECONDS)
    outcome.seconds = time.perf_counter() - started
    for client in idle:
        client.close()
    return outcome
