"""Slow clients are let go, and what they held comes back (promise 13)."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest

from support.clients.slow_clients import run_slow_clients
from support.servers.echo_process import JSON, PREDICT, EchoProcess, eventually


def test_slow_clients_are_closed_and_good_ones_answered() -> None:
    with EchoProcess(guard={"header_seconds": 1.0, "body_seconds": 1.0}) as echo:
        before = echo.files()
        slow = run_slow_clients(echo.http, PREDICT, headers=20, bodies=20, blanks=5, seconds=60)
        assert slow.still_open == 0  # at the latest; the long form has the promise
        assert eventually(lambda: echo.files() <= before + 1)
        assert echo.ask("POST", PREDICT, b"{}", JSON)[0] == 200


def test_too_many_connections_are_not_held() -> None:
    with EchoProcess(guard={"max_connections": 5}) as echo:
        clients = [socket.create_connection(("127.0.0.1", echo.http), timeout=10) for _ in range(5)]
        assert eventually(lambda: echo.files() > 5)
        beyond = socket.create_connection(("127.0.0.1", echo.http), timeout=10)
        with contextlib.suppress(ConnectionError):
            assert beyond.recv(10) == b""
        for each in (*clients, beyond):
            each.close()
        assert eventually(lambda: _answers(echo))


def _answers(echo: EchoProcess) -> bool:
    with contextlib.suppress(OSError):
        return echo.ask("GET", "/v2/health/live")[0] == 200
    return False


class Good:
    """Somebody who asks twenty times a second and is answered."""

    def __init__(self, echo: EchoProcess) -> None:
        self.seconds: list[float] = []
        self._echo = echo
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Good:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def p99(self) -> float:
        return sorted(self.seconds)[int(0.99 * (len(self.seconds) - 1))]

    def _run(self) -> None:
        while not self._over.wait(0.05):
            started = time.monotonic()
            assert self._echo.ask("POST", PREDICT, b"{}", JSON)[0] == 200
            self.seconds.append(time.monotonic() - started)


@pytest.mark.long
def test_slow_clients_long() -> None:
    with EchoProcess(work_seconds=0.02) as echo:
        with Good(echo) as before:
            time.sleep(12)
        files = echo.files()
        with Good(echo) as during:
            slow = run_slow_clients(echo.http, PREDICT, headers=1000, bodies=200, blanks=20, seconds=30)
        print(
            f"all closed after {slow.seconds:.1f} s; p99 of {len(during.seconds)} requests {during.p99():.4f} s, "
            f"{before.p99():.4f} s before"
        )
        assert slow.still_open == 0
        assert slow.seconds <= 12
        assert during.p99() <= 1.5 * before.p99()
        assert eventually(lambda: echo.files() <= files + 1)
