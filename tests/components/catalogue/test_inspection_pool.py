"""The pool of expendable processes: every picture gets an answer, whatever it does to its decoder."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from components.catalogue.inspection import Inspection, inspect_bytes
from components.catalogue.inspection_pool import inspect_pictures
from components.shared.errors import ResourceError
from components.shared.pictures.limits import DecodingLimits
from support.factories.basics import encode_picture, make_folder, make_picture

LIMITS = DecodingLimits()
LAX = DecodingLimits(max_scans=10_000, max_scanned_pixels=10**12)


def readers() -> list[psutil.Process]:
    """The pool's processes; other tests leave children of their own, such as multiprocessing's resource tracker."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if "components.catalogue.inspector" in " ".join(child.cmdline()):
                found.append(child)
    return found


def inspect_all(uris, *, limits=LIMITS, timeout_seconds=10.0, workers=1) -> list[Inspection]:
    found = dict(inspect_pictures(uris, limits=limits, timeout_seconds=timeout_seconds, workers=workers))
    assert sorted(found) == list(range(len(uris)))
    return [found[i] for i in range(len(uris))]


def scan_bomb(side: int, scans: int) -> bytes:
    data = encode_picture(np.full((side, side, 3), 90, np.uint8), progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


@pytest.fixture
def bomb(tmp_path) -> str:
    """A picture within lax limits that takes half a minute."""
    (tmp_path / "bomb.jpg").write_bytes(scan_bomb(3_000, 3_000))
    return str(tmp_path / "bomb.jpg")


def test_answers_are_those_of_this_process(tmp_path):
    make_folder(tmp_path, items=40, views=3)
    (tmp_path / "text.jpg").write_text("text")
    uris = [str(path) for path in sorted(tmp_path.rglob("*.jpg"))]
    expected = [inspect_bytes(Path(uri).read_bytes(), LIMITS) for uri in uris]
    assert inspect_all(uris, workers=2) == expected
    assert sum(found.reason == "not_an_image" for found in expected) == 1
    assert inspect_all([]) == []
    assert not readers()


def test_a_picture_that_takes_too_long_stops_nobody(tmp_path, bomb):
    make_folder(tmp_path, items=4, views=2)
    good = [str(path) for path in sorted(tmp_path.rglob("*-*.jpg"))]
    started = time.monotonic()
    found = inspect_all([*good[:3], bomb, *good[3:]], limits=LAX, timeout_seconds=0.3)
    assert [inspection.reason for inspection in found] == [None] * 3 + ["timed_out"] + [None] * 5
    assert "0.3 seconds" in found[3].message
    assert not found[3].is_final
    assert time.monotonic() - started < 60


def test_reading_that_never_ends_is_ended(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")  # opening it waits for a writer, for ever
    (tmp_path / "a.jpg").write_bytes(encode_picture(make_picture(1)))
    found = inspect_all([str(tmp_path / "pipe.jpg"), str(tmp_path / "a.jpg")], timeout_seconds=0.2)
    assert [inspection.reason for inspection in found] == ["timed_out", None]


def test_a_picture_that_crashes_its_process_twice_is_given_up(tmp_path, bomb):
    """The process is killed from outside as a broken decoder would kill it from inside."""
    (tmp_path / "a.jpg").write_bytes(encode_picture(make_picture(1)))
    uris = [str(tmp_path / "a.jpg"), bomb, str(tmp_path / "a.jpg")]
    over = threading.Event()
    killed: list[int] = []

    def kill_the_busy() -> None:
        while not over.is_set():
            for child in readers():
                # Nobody but the pool may wait for a child: its exit status is told only once.
                with contextlib.suppress(psutil.NoSuchProcess):
                    if child.pid not in killed and child.cpu_times().user > 1.5:  # at work on the bomb
                        os.kill(child.pid, signal.SIGSEGV)
                        killed.append(child.pid)
            over.wait(0.05)

    thread = threading.Thread(target=kill_the_busy)
    thread.start()
    try:
        found = inspect_all(uris, limits=LAX, timeout_seconds=100)
    finally:
        over.set()
        thread.join()
    assert [inspection.reason for inspection in found] == [None, "crashed", None]
    assert "SIGSEGV" in found[1].message
    assert len(killed) == 2


def test_missing_and_unreadable_files(tmp_path):
    found = inspect_all([str(tmp_path / "gone.jpg"), str(tmp_path), "gopher://a/b.jpg"])
    assert [inspection.reason for inspection in found] == ["missing", "unreadable", "unreadable"]
    assert not any(inspection.is_final for inspection in found)


@pytest.mark.parametrize("program", ["/bin/false", "/no/such/python"])
def test_processes_that_do_not_start_are_an_error_of_the_machine(monkeypatch, program):
    monkeypatch.setattr("sys.executable", program)
    with pytest.raises(ResourceError, match="does not start"):
        inspect_all(["a.jpg"])
    gc.collect()  # an unclosed file or socket would be a warning, hence an error


def test_process_that_ends_before_it_is_spoken_to(monkeypatch):
    class Hasty(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            self.wait()

    monkeypatch.setattr("sys.executable", "/bin/false")
    monkeypatch.setattr("subprocess.Popen", Hasty)
    with pytest.raises(ResourceError, match=r"does not start \(exit 1\)"):
        inspect_all(["a.jpg"])
    gc.collect()


def test_leaving_early_leaves_no_process(tmp_path):
    make_folder(tmp_path, items=30, views=4)
    answers = inspect_pictures([str(p) for p in tmp_path.rglob("*.jpg")], limits=LIMITS, timeout_seconds=9, workers=2)
    next(answers)
    assert len(readers()) == 2
    answers.close()
    assert not readers()
