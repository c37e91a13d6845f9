"""Starts the echo server as a real process and talks to it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SERVER = Path(__file__).with_name("echo_server.py")
PREDICT = "/v1/models/visual-search:predict"
JSON = {"content-type": "application/json"}


class EchoProcess:
    """A running echo server; `with` stops it."""

    def __init__(self, *python: str, **options: Any) -> None:
        self._log = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115 - a pipe that nobody reads stops the server when full
        self.process = subprocess.Popen(
            [sys.executable, *python, str(SERVER), json.dumps(options), "--workers=4", "--unknown_flag=1"],
            stdout=subprocess.PIPE, stderr=self._log, text=True,
            env={**os.environ, "PYTHONWARNINGS": "default"},
        )  # fmt: skip
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            raise RuntimeError(self._errors()[-3000:])
        announced = json.loads(line)
        self.http, self.grpc = announced["http"], announced["grpc"]

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None):
        connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        finally:
            connection.close()

    def stop(self) -> tuple[int, str]:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=30)
        return self.process.returncode, self._errors()

    def _errors(self) -> str:
        self._log.seek(0)
        return self._log.read()

    def files(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def __enter__(self) -> EchoProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        self._log.close()


def eventually(condition, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return bool(condition())
