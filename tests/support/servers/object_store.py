"""A real S3 server on loopback (moto), reached through s3fs like any other."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from unittest import mock

import s3fs


@contextmanager
def s3_server(objects: Mapping[str, bytes]) -> Iterator[s3fs.S3FileSystem]:
    """Serve `objects` ("bucket/key" → content) and point the environment's s3:// there; yields the file system."""
    with socket.socket() as held:  # bound, not listening: the server may listen on it, and nobody else is given it
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        with _served(held.getsockname()[1]):
            s3fs.S3FileSystem.clear_instance_cache()
            store = s3fs.S3FileSystem()
            for bucket in {name.partition("/")[0] for name in objects}:
                store.mkdir(bucket)
            for name, content in objects.items():
                store.pipe_file(name, content)
            store.invalidate_cache()
            yield store
            s3fs.S3FileSystem.clear_instance_cache()


@contextmanager
def _served(port: int) -> Iterator[None]:
    """Run moto there, and let the environment lead there."""
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "tester",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with mock.patch.dict(os.environ, environment):
            _wait_for(port)
            yield
    finally:
        server.kill()
        server.wait()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError("the S3 server did not start")
