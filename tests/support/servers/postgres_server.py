"""A private PostgreSQL server for tests, from Debian's package: a folder and a socket of its own, no network, no root."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psutil
import psycopg


def find_binaries() -> Path | None:
    """Return the folder of initdb and postgres, the newest version, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: float(path.parts[-3]))
    other = shutil.which("postgres")
    return found[-1].parent if found else Path(other).resolve().parent if other else None


class PostgresServer:
    """A cluster that can be started, killed without warning, and started again."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self._folder = Path(tempfile.mkdtemp(prefix="vs-pg-", dir="/tmp"))  # short: a socket's path has 107 characters
        self._user: list[str] = []
        if os.geteuid() == 0:  # the server refuses to run as root
            person = next(pwd.getpwnam(name) for name in ("postgres", "nobody") if _exists(name))
            os.chown(self._folder, person.pw_uid, person.pw_gid)
            self._user = ["setpriv", f"--reuid={person.pw_uid}", f"--regid={person.pw_gid}", "--clear-groups"]
        self._run("initdb", "-D", str(self._folder / "data"), "-U", "tester", "-A", "trust", "-N", "-E", "UTF8")
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        self.start()

    def start(self) -> None:
        command = [*self._user, str(self._binaries / "postgres"), "-D", str(self._folder / "data")]
        command += ["-k", str(self._folder), "-c", "listen_addresses=", "-c", "shared_buffers=16MB"]
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:  # the children of a killed one may linger
                self._process = subprocess.Popen(
                    command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
                )
            try:
                psycopg.connect(self.url("postgres").replace("+psycopg", ""), connect_timeout=2).close()
            except psycopg.OperationalError:
                time.sleep(0.05)
            else:
                return
        raise TimeoutError("PostgreSQL did not start")

    def kill(self) -> None:
        """SIGKILL to every process, as a crash of the machine would: the next start recovers from the write-ahead log.

        The postmaster alone would not do: a backend that has not yet noticed that it is gone commits once more.
        """
        backends = psutil.Process(self._process.pid).children(recursive=True)
        self._process.kill()  # first, so that it starts no other
        for backend in backends:
            with contextlib.suppress(psutil.NoSuchProcess):
                backend.kill()
        psutil.wait_procs(backends, timeout=30)
        self._process.wait()

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://tester@/{database}?host={self._folder}"

    def new_database(self) -> str:
        """Create an empty database and return its URL."""
        self._databases += 1
        name = f"test_{self._databases}"
        with psycopg.connect(self.url("postgres").replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def remove(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)  # at once: nothing here is to be kept
            self._process.wait(30)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._user, str(self._binaries / program), *arguments]
        subprocess.run(command, cwd="/", check=True, capture_output=True, timeout=120)


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
