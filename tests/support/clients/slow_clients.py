"""Clients that send a byte each half second, in a process of their own: whoever measures the server must not wait for them.

python slow_clients.py PORT PATH HEADERS BODIES BLANKS SECONDS

Opens so many that are slow with their headers, so many with a body, so many that send blank lines only, and prints one JSON
object when the server has closed the last of them, or when the seconds are over.
"""

from __future__ import annotations

import contextlib
import json
import resource
import selectors
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

_DRIP_SECONDS = 0.5


@dataclass(frozen=True)
class Closed:
    """What became of the clients: how many were still open in the end, and when the last one was closed, in seconds."""

    still_open: int
    seconds: float


def run_slow_clients(port: int, path: str, *, headers: int, bodies: int, blanks: int, seconds: float) -> Closed:
    """Run them, and return when all are closed."""
    numbers = [str(each) for each in (headers, bodies, blanks, seconds)]
    command = [sys.executable, str(Path(__file__)), str(port), path, *numbers]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=seconds + 60)
    return Closed(**json.loads(done.stdout))


def _drip(port: int, path: str, headers: int, bodies: int, blanks: int, seconds: float) -> Closed:
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: 1000\r\n\r\n".encode()
    kinds = ((b"GET / HTTP/1.1\r\nx: ", b"a", headers), (head, b"a", bodies), (b"\r\n", b"\r\n", blanks))
    selector, drips = selectors.DefaultSelector(), dict[socket.socket, bytes]()
    for begin, drip, count in kinds:
        for _ in range(count):
            client = socket.create_connection(("127.0.0.1", port), timeout=30)
            client.sendall(begin)
            client.setblocking(False)
            selector.register(client, selectors.EVENT_READ)
            drips[client] = drip
    started = last_drip = time.monotonic()
    while drips and time.monotonic() - started < seconds:
        for key, _ in selector.select(0.1):
            client = key.fileobj
            assert isinstance(client, socket.socket)
            if _is_closed(client):
                selector.unregister(client)
                client.close()
                del drips[client]
        if time.monotonic() - last_drip > _DRIP_SECONDS:
            last_drip = time.monotonic()
            for client, drip in drips.items():
                with contextlib.suppress(OSError):
                    client.send(drip)
    return Closed(len(drips), time.monotonic() - started)


def _is_closed(client: socket.socket) -> bool:
    try:
        return not client.recv(4096)
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    port, path, headers, bodies, blanks, seconds = sys.argv[1:]
    print(json.dumps(vars(_drip(int(port), path, int(headers), int(bodies), int(blanks), float(seconds)))))
