"""A Service as kube-proxy makes it: TCP connections to pods that were ready some time ago, for it hears of changes late.

A connection stays with its pod until one side closes it, also after the pod has left the Service.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Callable


class LateProxy:
    """Listens on loopback until the block ends.

    Args:
        is_ready: whether the pod at a port is ready and not being deleted, as its endpoint says.
        delay_seconds: between a change of an endpoint and the first connection that respects it.
    """

    def __init__(self, is_ready: Callable[[int], bool], delay_seconds: float) -> None:
        self._is_ready, self._delay = is_ready, delay_seconds
        self.pods: list[int] = []
        self.connections: collections.Counter[int] = collections.Counter()  # port → connections that it got
        self._seen: list[tuple[float, list[int]]] = []
        self._turn = itertools.count()
        self._stopped = threading.Event()

    def __enter__(self) -> LateProxy:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        for work in (self._watch, self._accept):
            threading.Thread(target=work, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._listener.close()

    def endpoints(self) -> list[int]:
        """Return the ports that new connections go to: those that were ready `delay_seconds` ago."""
        known = time.monotonic() - self._delay
        old = [ports for at, ports in list(self._seen) if at <= known]
        return old[-1] if old else []

    def _watch(self) -> None:
        while not self._stopped.wait(0.05):
            self._seen.append((time.monotonic(), [port for port in list(self.pods) if self._is_ready(port)]))
            del self._seen[:-2000]

    def _accept(self) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(OSError):
                client, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        ports = self.endpoints()
        with client, contextlib.suppress(OSError):
            if not ports:
                return  # the client sees a reset, as from a Service without endpoints
            port = ports[next(self._turn) % len(ports)]
            with socket.create_connection(("127.0.0.1", port), timeout=60) as pod:
                self.connections[port] += 1
                pod.settimeout(None)
                upward = threading.Thread(target=_copy, args=(client, pod), daemon=True)
                upward.start()
                _copy(pod, client)
                upward.join(60)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while block := source.recv(65536):
            target.sendall(block)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
