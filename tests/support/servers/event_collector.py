"""A real server with the events' route, for tests, which may be killed again and again without warning.

Run as a program it loads everything once and forks the server, so that a fresh one stands a few milliseconds after a kill.
The listening socket belongs to the parent: clients wait while there is no server, as they do behind a service.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import datetime

import psycopg  # noqa: F401, loaded before the fork
import sqlalchemy.dialects.postgresql.psycopg  # noqa: F401
import uvicorn
import uvicorn.protocols.http.h11_impl  # noqa: F401
from fastapi import FastAPI
from fastapi.responses import JSONResponse

from components.shared.errors import ParameterError
from serving.events.errors import StoreUnavailableError
from serving.events.limits import FloodLimits
from serving.events.routes import events_router
from serving.events.store import EventStore
from serving.events.tokens import Impression, TokenSigner
from serving.server.refusals import BodyTooLargeError, MediaTypeError, TooManyEventsError

KEY = b"k" * 32
STATUS = {
    ParameterError: 400, BodyTooLargeError: 413, MediaTypeError: 415, TooManyEventsError: 429, StoreUnavailableError: 503,
}  # fmt: skip


def impression(number: int, **changes: Any) -> Impression:
    """Return the impression of a result, one of 10 of its query."""
    fields = {
        "query_id": f"q-{number // 10}", "user_id": f"u-{number // 100}",
        "query_image_id": None if number // 10 % 3 == 0 else f"image-{number // 10}",
        "image_id": f"image-{number}", "position": number % 10 + 1, "release_id": "r-1", "arm": "champion",
        "at": datetime.datetime.now(datetime.UTC), "country": "CH" if number % 2 else None,
    }  # fmt: skip
    return Impression(**(fields | changes))


def application(store: EventStore, *, per_user: int = 10**9, per_query: int = 10**9) -> Any:
    """Return an application with the route and the errors' codes."""
    app = FastAPI(openapi_url=None)
    limits = FloodLimits(per_user=per_user, per_query=per_query)
    app.include_router(events_router(store, TokenSigner([KEY]), limits))
    for kind, status in STATUS.items():
        app.add_exception_handler(kind, lambda _, error, status=status: JSONResponse({"error": str(error)}, status))
    return app


def serve(listener: socket.socket, url: str, user: int | None, answered: int) -> None:
    if user is not None:
        os.setgid(user)
        os.setuid(user)
    store = EventStore.open(url, submit_seconds=5)
    app = application(store)

    async def counted(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)
        with suppress(BlockingIOError):
            os.write(answered, b"1")

    config = uvicorn.Config(counted, loop="asyncio", http="h11", log_level="critical", lifespan="off")
    uvicorn.Server(config).run(sockets=[listener])
    store.close()


def main() -> None:
    options = json.loads(sys.argv[1])
    listener = socket.socket(fileno=options["listener"])
    generator, ending = random.Random(options["seed"]), []
    signal.signal(signal.SIGTERM, lambda *_: ending.append(True))
    reading, answered = os.pipe()
    os.set_blocking(answered, False)
    for round_ in range(options["kills"] + 1):
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            serve(listener, options["url"], options["user"], answered)
            os._exit(0)
        print(child, flush=True)
        if round_ < options["kills"]:
            starting = generator.random() < 0.1
            for _ in range(0 if starting else generator.randint(1, 8)):  # answers, however slow the machine is
                os.read(reading, 1)
            time.sleep(generator.uniform(0.0, 0.1 if starting else 0.02))
            os.kill(child, signal.SIGKILL)
        else:
            while not ending:
                if os.waitpid(child, os.WNOHANG)[0]:
                    return
                time.sleep(0.02)
            os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)


@dataclass
class Collector:
    """A running server: its port, the process that parents it, and the pid of the latest server."""

    port: int
    process: subprocess.Popen[str]

    def next_pid(self) -> int:
        """Wait for the next server to be forked."""
        return int(self.process.stdout.readline())


@contextmanager
def collector(
    url: str, *, kills: int = 0, seed: int = 0, user: int | None = None, wrapper: Sequence[str] = ()
) -> Iterator[Collector]:
    """Run the server; `wrapper` is put before its command (strace)."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        options = {"listener": listener.fileno(), "url": url, "kills": kills, "seed": seed, "user": user}
        command = [*wrapper, sys.executable, __file__, json.dumps(options)]
        process = subprocess.Popen(command, pass_fds=[listener.fileno()], stdout=subprocess.PIPE, text=True)
        try:
            yield Collector(listener.getsockname()[1], process)
        finally:
            process.terminate()
            try:
                process.wait(60)
            finally:
                process.kill()
                process.stdout.close()


class Client:
    """Posts batches over one connection, opened anew when it broke."""

    def __init__(self, port: int, *, timeout: float = 30) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)

    def post(self, body: bytes | list[dict[str, Any]], media_type: str = "application/json") -> tuple[int, Any]:
        """Return status and JSON; status 0: the connection broke, and nothing is known."""
        data = body if isinstance(body, bytes) else json.dumps({"events": body}).encode()
        try:
            self._connection.request("POST", "/v1/events", data, {"Content-Type": media_type})
            answer = self._connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError):
            self.close()
            return 0, None

    def close(self) -> None:
        self._connection.close()


if __name__ == "__main__":
    main()
