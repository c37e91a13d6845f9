"""Slow clients are let go, and what they held comes back (promise 13)."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time

import pytest
from echo_process import JSON, PREDICT, EchoProcess, eventually

from serving.shell.server import allow_files

HEAD = f"POST {PREDICT} HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: 1000\r\n\r\n".encode()


def _all_closed(port: int, slow_headers: int, slow_bodies: int, blank_lines: int, seconds: float) -> float:
    """Open slow clients, drip a byte each half second, and return when the server had closed the last of them."""
    selector = selectors.DefaultSelector()
    drips: dict[socket.socket, bytes] = {}
    for begin, drip, count in (
        (b"GET / HTTP/1.1\r\nx: ", b"a", slow_headers),
        (HEAD, b"a", slow_bodies),
        (b"\r\n", b"\r\n", blank_lines),
    ):
        for _ in range(count):
            client = socket.create_connection(("127.0.0.1", port), timeout=30)
            client.sendall(begin)
            client.setblocking(False)
            selector.register(client, selectors.EVENT_READ)
            drips[client] = drip
    started = time.monotonic()
    last_drip = started
    while drips and time.monotonic() - started < seconds:
        for key, _ in selector.select(0.1):
            client = key.fileobj
            assert isinstance(client, socket.socket)
            data = b"x"
            with contextlib.suppress(BlockingIOError):
                try:
                    data = client.recv(4096)
                except ConnectionError:
                    data = b""
            if not data:
                selector.unregister(client)
                client.close()
                del drips[client]
        if time.monotonic() - last_drip > 0.5:
            last_drip = time.monotonic()
            for client, drip in drips.items():
                with contextlib.suppress(OSError):
                    client.send(drip)
    took = time.monotonic() - started
    still_open = len(drips)
    for client in drips:
        client.close()
    assert still_open == 0
    return took


def test_slow_clients_are_closed_and_good_ones_answered() -> None:
    with EchoProcess(guard={"header_seconds": 1.0, "body_seconds": 1.0}) as echo:
        before = echo.files()
        _all_closed(echo.http, 20, 20, 5, seconds=60)  # at the latest; the long form has the promise
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
    allow_files()
    with EchoProcess(work_seconds=0.02) as echo:
        with Good(echo) as before:
            time.sleep(12)
        files = echo.files()
        with Good(echo) as during:
            took = _all_closed(echo.http, 1000, 200, 20, seconds=30)
        print(f"all closed after {took:.1f} s; p99 {before.p99():.3f} s before, {during.p99():.3f} s during")
        assert took <= 12
        # The slow clients share this process, and its one interpreter, with the one who measures.
        assert during.p99() <= 1.5 * before.p99() + 0.05
        assert eventually(lambda: echo.files() <= files + 1)
