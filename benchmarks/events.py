"""Acknowledged events per second and CPU-seconds per 10,000: group commit beside one commit per event, in one run.

    python benchmarks/events.py                 # SQLite
    python benchmarks/events.py --postgresql postgresql+psycopg://USER@HOST/DATABASE     # and a database to be written to

Many callers submit one event each and wait for the acknowledgement, as clients do. "One commit per event" uses the same
database, schema and durability (synced before each acknowledgement), without the writer that batches. Compare the
ratios: absolute figures depend on the disk and on other work of the machine.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from serving.events.database import Database
from serving.events.records import Event
from serving.events.store import EventStore
from serving.events.tokens import Impression

AT = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


@dataclass(frozen=True)
class Rate:
    """Measured rates of one method."""

    per_second: float
    cpu_per_10_000: float


def measure(submit: Callable[[Event], object], callers: int, seconds: float, tag: str) -> Rate:
    """Let callers submit one event after the other until the time is over."""
    counts = [0] * callers
    end = time.perf_counter() + seconds

    def call(caller: int) -> None:
        while time.perf_counter() < end:
            number = counts[caller]
            shown = Impression(f"q-{tag}-{caller}-{number}", "u", None, "image", 1, "r-1", "champion", AT, None)
            submit(Event(shown, "click", AT))
            counts[caller] = number + 1

    threads = [threading.Thread(target=call, args=(caller,)) for caller in range(callers)]
    began, cpu = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed, cpu = time.perf_counter() - began, time.process_time() - cpu
    return Rate(sum(counts) / elapsed, cpu / sum(counts) * 10_000)


def compare(name: str, url: str, seconds: float) -> None:
    database, lock = Database(url), threading.Lock()
    database.prepare()

    def alone(event: Event) -> None:
        with lock:  # one connection, as in the writer
            database.insert([event.row()])

    single = measure(alone, 1, seconds, "alone")
    database.close()
    print(f"{name:<11} one commit per event {single.per_second:>9.0f}/s {single.cpu_per_10_000:>7.2f} CPU s per 10,000")
    for callers in (1, 8, 64, 256):
        store = EventStore.open(url, submit_seconds=60)
        rate = measure(lambda event, store=store: store.submit([event]), callers, seconds, f"group{callers}")
        state = store.state
        store.close()
        print(
            f"{name:<11} group, {callers:>3} callers  {rate.per_second:>9.0f}/s {rate.cpu_per_10_000:>7.2f} CPU s per 10,000"
            f"  x{rate.per_second / single.per_second:<5.1f} {state.stored / max(1, state.commits):>6.1f} events per commit"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="duration of each measurement (default 5)")
    parser.add_argument("--folder", type=Path, help="folder of the SQLite file (default: a temporary one)")
    parser.add_argument("--postgresql", default="", help="URL of a database for events, to be measured too")
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {datetime.date.today()}")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        compare("SQLite", f"sqlite:///{folder}/events.db", options.seconds)
    if options.postgresql:
        compare("PostgreSQL", options.postgresql, options.seconds)


if __name__ == "__main__":
    main()
