"""An acknowledged event is never lost, doubled or invented; what cannot be made durable is not acknowledged."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.events.database import Database
from serving.events.records import Event
from serving.events.tokens import TokenSigner
from support.servers.event_collector import KEY, Client, Collector, collector, impression
from support.servers.postgres_server import PostgresServer

SIGNER = TokenSigner([KEY])
BATCH = 50


class Clicker(threading.Thread):
    """A client that sends clicks and dwell, each batch until it is acknowledged, and remembers what was."""

    def __init__(self, port: int, first: int) -> None:
        super().__init__(daemon=True)
        self._client, self._first = Client(port), first
        self.enough, self.paused = threading.Event(), threading.Event()
        self.acknowledged: dict[str, dict[str, Any]] = {}
        self.statuses: list[int] = []
        self.wrong: list[Any] = []

    def run(self) -> None:
        number = self._first
        while not self.enough.is_set():
            events = [self._event(n) for n in range(number, number + BATCH)]
            number += BATCH
            sent = [
                {"token": SIGNER.sign(e.impression), "type": e.type}
                | ({"dwell_ms": e.dwell_ms} if e.type == "dwell" else {})
                for e in events
            ]
            while True:
                status, answer = self._client.post(sent)
                self.statuses.append(status)
                if status == 200:
                    break
                time.sleep(0.005 if status == 0 else 0.1)
            if answer["accepted"] + answer["repeated"] != BATCH or answer["refused"]:
                self.wrong.append(answer)
            self.acknowledged |= {e.event_id: e.row() for e in events}
        self._client.close()

    @staticmethod
    def _event(number: int) -> Event:
        shown = impression(number)
        return Event(shown, "dwell", shown.at, number % 5000) if number % 3 else Event(shown, "click", shown.at)


def click_while(port: int, work: Callable[[], None], *, clients: int = 3) -> tuple[dict[str, Any], set[int]]:
    """Let clients send while `work` is done; return everything that was acknowledged, and the statuses seen."""
    clickers = [Clicker(port, 10_000_000 * each) for each in range(clients)]
    for clicker in clickers:
        clicker.start()
    try:
        work()
    finally:
        for clicker in clickers:
            clicker.enough.set()
        for clicker in clickers:
            clicker.join(60)
    assert not any(clicker.is_alive() for clicker in clickers)
    assert not [answer for clicker in clickers for answer in clicker.wrong]
    statuses = {status for clicker in clickers for status in clicker.statuses}
    return {k: v for clicker in clickers for k, v in clicker.acknowledged.items()}, statuses


def check_stored(url: str, acknowledged: dict[str, dict[str, Any]]) -> None:
    """Check that the store holds exactly what was acknowledged, field by field; the time is the server's."""
    database = Database(url, read_only=True)
    database.prepare()
    rows = [row._asdict() for row in database.page(after=0, through=2**62, limit=10**7)]
    database.close()
    stored = {row["event_id"]: row for row in rows}
    assert len(stored) == len(rows)
    assert stored.keys() == acknowledged.keys()
    for event_id, row in stored.items():
        expected = acknowledged[event_id]
        assert {k: v for k, v in row.items() if k not in {"seq", "at"}} == {
            k: v for k, v in expected.items() if k != "at"
        }
    if database.is_sqlite:
        with sqlite3.connect(database.url.database) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()


def _survive_kills(url: str, kills: int, least: int) -> None:
    with collector(url, kills=kills, seed=kills) as server:
        acknowledged, statuses = click_while(server.port, lambda: [server.next_pid() for _ in range(kills + 1)])
    assert 0 in statuses  # connections broke: the kills hit while clients were being served
    assert len(acknowledged) >= least
    check_stored(url, acknowledged)
    print(f"{kills} kills, {len(acknowledged)} acknowledged")


def test_killed_collector_loses_doubles_and_invents_nothing(url: str) -> None:
    _survive_kills(url, 20, 500)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_two_hundred_kills(url: str) -> None:
    _survive_kills(url, 200, 30_000)


def test_killed_database_server(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    with collector(url) as server:
        server.next_pid()

        def crash_again_and_again() -> None:
            for _ in range(3):
                time.sleep(0.7)
                postgres.kill()
                time.sleep(0.3)
                postgres.start()
            time.sleep(0.7)

        acknowledged, statuses = click_while(server.port, crash_again_and_again)
    assert 503 in statuses
    assert statuses <= {200, 503}
    assert len(acknowledged) >= 100
    check_stored(url, acknowledged)


_CALL = re.compile(r"^(?P<pid>\d+) +(?:<\.\.\. )?(?P<name>\w+)(?P<rest>.*)$")


def unsynced_acknowledgements(trace: list[str]) -> tuple[int, int]:
    """Read strace's lines: how many acknowledgements there were, and how many left before what was written was synced."""
    acknowledged = early = 0
    dirty: set[str] = set()
    begun: dict[str, str] = {}
    for line in trace:
        call = _CALL.match(line)
        if call is None:
            continue
        if "<unfinished ...>" in line:
            begun[call["pid"]] = line
        text = begun.pop(call["pid"], "") + line if "resumed>" in line else line
        file = re.search(r"<(?P<path>[^<>]*events\.db[^<>]*)>", text)
        if call["name"] in {"pwrite64", "write", "ftruncate"} and file:
            dirty.add(file["path"])
        elif call["name"] in {"fsync", "fdatasync"} and file and "<unfinished" not in line:
            dirty.discard(file["path"])
        elif call["name"] in {"sendto", "write", "sendmsg"} and "accepted" in text and "resumed>" not in line:
            acknowledged += 1
            early += bool(dirty)
    return acknowledged, early


def test_the_disk_is_synced_between_write_and_acknowledgement(tmp_path: Path) -> None:
    strace = shutil.which("strace")
    if strace is None or subprocess.run([strace, "-o", "/dev/null", "true"], check=False).returncode:
        pytest.skip("strace is not installed, or may not trace here (Debian: apt-get install strace)")
    trace = tmp_path / "trace"
    wrapper = [strace, "-f", "-y", "-s", "400", "-o", str(trace), "-e"]
    wrapper.append("trace=pwrite64,write,ftruncate,fsync,fdatasync,sendto,sendmsg")
    with collector(f"sqlite:///{tmp_path / 'events.db'}", wrapper=wrapper) as server:
        pid = server.next_pid()
        client = Client(server.port)
        for number in range(20):
            status, answer = client.post([{"token": SIGNER.sign(impression(number)), "type": "click"}])
            assert (status, answer["accepted"]) == (200, 1)
        client.close()
        os.kill(pid, signal.SIGTERM)
        server.process.wait(60)
    lines = trace.read_text().splitlines()
    assert unsynced_acknowledgements(lines) == (20, 0)
    # The check can fail: without the calls that sync, every acknowledgement is early.
    blind = [line for line in lines if not re.search(r"f(data)?sync(\(| resumed)", line)]
    assert unsynced_acknowledgements(blind) == (20, 20)


def _refuses_then_recovers(server: Collector, url: str, fail: Callable[[], None], mend: Callable[[], None]) -> None:
    """While the fault lasts every answer is 503; after it the same events are taken; what was acknowledged is stored."""
    client, acknowledged = Client(server.port), {}

    def send(number: int) -> int:
        event = Event(impression(number), "click", impression(number).at)
        status, _ = client.post([{"token": SIGNER.sign(event.impression), "type": "click"}])
        if status == 200:
            acknowledged[event.event_id] = event.row()
        return status

    assert [send(number) for number in range(30)] == [200] * 30
    fail()
    try:
        faulty = [send(number) for number in range(30, 32)]
    finally:
        mend()  # others use the same server
    assert set(faulty) == {503}
    deadline = time.monotonic() + 30
    for number in range(30, 60):
        while send(number) != 200 and time.monotonic() < deadline:
            time.sleep(0.1)
    client.close()
    assert len(acknowledged) == 60
    check_stored(url, acknowledged)


def test_full_disk(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'events.db'}"
    with collector(url) as server:
        pid = server.next_pid()
        limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        _refuses_then_recovers(
            server,
            url,
            lambda: resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, limits[1])),
            lambda: resource.prlimit(pid, resource.RLIMIT_FSIZE, limits),
        )


def test_locked_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'events.db'}"
    other = sqlite3.connect(tmp_path / "events.db", isolation_level=None)
    with collector(url) as server:
        server.next_pid()
        _refuses_then_recovers(server, url, lambda: other.execute("BEGIN EXCLUSIVE"), lambda: other.execute("ROLLBACK"))
    other.close()


def test_read_only_database() -> None:
    folder = Path(tempfile.mkdtemp(prefix="vs-events-", dir="/tmp"))
    user = 65_534 if os.geteuid() == 0 else None  # nothing is read-only to root
    if user is not None:
        os.chown(folder, user, user)
    url = f"sqlite:///{folder / 'events.db'}"

    def allow(writing: bool) -> None:
        for path in folder.iterdir():
            path.chmod(0o644 if writing else 0o444)
        folder.chmod(0o755 if writing else 0o555)

    try:
        with collector(url, user=user) as server:
            server.next_pid()
            _refuses_then_recovers(server, url, lambda: allow(False), lambda: allow(True))
    finally:
        shutil.rmtree(folder)


def test_database_server_away(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    with collector(url) as server:
        server.next_pid()
        _refuses_then_recovers(server, url, postgres.kill, postgres.start)
