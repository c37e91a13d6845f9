"""The two processes that answer queries on this machine: the encoder and the transformer, started, awaited and stopped."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from components.shared.defaults import MODEL_NAME
from components.shared.errors import ResourceError
from components.shared.settings import PREFIX
from serving.settings import known_names as serving_names

# Asks the kernel for SIGTERM when the parent dies. Not by `preexec_fn`: that forks, and gRPC does not survive a fork.
_LAUNCHER = """
import ctypes, os, runpy, signal, sys
module, parent = sys.argv[1:3]
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() != int(parent):
    sys.exit(1)
sys.argv = [module]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Ports:
    """Ports of the processes; 0 lets the system choose."""

    transformer: int = 0
    encoder_http: int = 0
    encoder_grpc: int = 0


class ServingProcesses:
    """Encoder and transformer as children of this process; they end when it does, however it does.

    Args:
        location: release that they serve, or a root with `CURRENT`.
        logs: folder for encoder.log and transformer.log.
        environment: settings for both, without the prefix, for example {"arm": "champion"}.
        host: address to listen on.
        ports: ports to listen on.
        python_options: options of the interpreter, for example ("-O",).

    Raises:
        ResourceError: the transformer cannot listen there.
    """

    def __init__(
        self,
        location: Path,
        logs: Path,
        environment: Mapping[str, str] | None = None,
        *,
        host: str = _LOOPBACK,
        ports: Ports = Ports(),
        python_options: tuple[str, ...] = (),
    ) -> None:
        self.logs = logs
        self._host, self._python_options = host, python_options
        if ports.transformer:
            require_free_port(host, ports.transformer)
        self._reserved: list[socket.socket] = []
        self.port = ports.transformer or self._reserve_port(host)
        self.encoder_http_port = ports.encoder_http or self._reserve_port(_LOOPBACK)
        self.encoder_grpc_port = ports.encoder_grpc or self._reserve_port(_LOOPBACK)
        settings = {
            "location": str(location),
            "bind": host,
            "encoder_address": f"{_LOOPBACK}:{self.encoder_grpc_port}",
            "encoder_http_port": str(self.encoder_http_port),
            "encoder_grpc_port": str(self.encoder_grpc_port),
            "transformer_http_port": str(self.port),
            "lame_duck_seconds": "0",
            **(environment or {}),
        }
        known = serving_names()
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.upper().startswith(PREFIX) or name.upper() in known
        }
        self._environment = inherited | {PREFIX + name.upper(): value for name, value in settings.items()}
        self.children: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def url(self) -> str:
        """Address of the page and the API."""
        host = _LOOPBACK if self._host in {"0.0.0.0", "::", ""} else self._host  # noqa: S104 - compared, not bound
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def start(self) -> None:
        """Start both; returns at once."""
        self.logs.mkdir(parents=True, exist_ok=True)
        for name in ("encoder", "transformer"):
            self.start_one(name)

    def start_one(self, name: str) -> None:
        """Start "encoder" or "transformer"."""
        bind = {PREFIX + "BIND": _LOOPBACK} if name == "encoder" else {}
        with (self.logs / f"{name}.log").open("ab") as log:
            self.children[name] = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, *self._python_options, "-c", _LAUNCHER, f"serving.{name}", str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment | bind,
                start_new_session=True,  # a Ctrl-C is for the parent, which stops them in order
            )

    def wait_ready(self, timeout_seconds: float = 120.0) -> None:
        """Wait until the transformer says that it can answer.

        Raises:
            ResourceError: a process has ended, or it takes too long; the message ends with the end of its log.
        """
        deadline = time.monotonic() + timeout_seconds
        while not self._is_ready():
            self.check()
            if time.monotonic() > deadline:
                raise ResourceError(
                    f"the service is not ready after {timeout_seconds:.0f} s: {self._tail('transformer')}"
                )
            time.sleep(0.1)
        self.check()  # it was not another program that answered at this address

    def check(self) -> None:
        """Check that both are running.

        Raises:
            ResourceError: one has ended.
        """
        for name, child in self.children.items():
            if child.poll() is not None:
                raise ResourceError(f"the {name} process ended with code {child.returncode}: {self._tail(name)}")

    def stop(self, timeout_seconds: float = 15.0) -> None:
        """Let both finish what they are doing and end, the transformer first; what does not end is killed."""
        for child in (self.children.get("transformer"), self.children.get("encoder")):
            if child is None:
                continue
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(timeout_seconds)
            if child.poll() is None:
                child.kill()
            child.wait()
        for reserved in self._reserved:
            reserved.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _reserve_port(self, host: str) -> int:
        """Choose a port and hold it until the end: bound, not listening, so that only the child can listen on it."""
        reserved = socket.socket(_family_of(host))
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind((host, 0))
        self._reserved.append(reserved)
        return int(reserved.getsockname()[1])

    def _is_ready(self) -> bool:
        try:
            address = f"{self.url}/v2/models/{MODEL_NAME}/ready"
            with urllib.request.urlopen(address, timeout=5) as answer:  # noqa: S310 - ours, on loopback
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def _tail(self, name: str) -> str:
        path = self.logs / f"{name}.log"
        lines = path.read_text(errors="replace").strip().splitlines()[-4:] if path.is_file() else []
        return f"see {path}, which ends with: {' / '.join(lines)[-1000:] or 'nothing'}"


def require_free_port(host: str, port: int) -> None:
    """Check that a service can listen on a port.

    Raises:
        ResourceError: another process listens there, the host is not an address of this machine, or the port is reserved.
    """
    reasons = {
        errno.EADDRINUSE: "another process listens there; stop it, or choose another port with --port (0: any free one)",
        errno.EACCES: "the system reserves that port; choose one from 1024 on with --port",
        errno.EADDRNOTAVAIL: "that is not an address of this machine; choose another with --host",
    }
    try:
        with socket.socket(_family_of(host)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        reason = reasons.get(error.errno or 0, f"{error.strerror or error}; choose another with --host and --port")
        raise ResourceError(f"the service cannot listen on {host} port {port}: {reason}") from error


def _family_of(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def free_port(host: str) -> int:
    """Return a port that is free at present."""
    with socket.socket() as listener:
        listener.bind((host, 0))
        return int(listener.getsockname()[1])
