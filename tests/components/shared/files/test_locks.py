"""The lock: one holder at a time, freed by death, and a way not to wait."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from components.shared.files.locks import exclusive_lock

HOLDER = """
import sys, time
from pathlib import Path
from components.shared.files.locks import exclusive_lock
with exclusive_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


class HeldError(Exception):
    """Raised instead of waiting."""


def refuse() -> None:
    raise HeldError


def test_one_holder_at_a_time_and_death_frees(tmp_path: Path) -> None:
    path = tmp_path / "not made yet" / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(HeldError), exclusive_lock(path, when_held=refuse):
            pass
        waited = []
        holder_pid = holder.pid

        def told() -> None:
            waited.append(holder_pid)
            holder.send_signal(signal.SIGKILL)

        with exclusive_lock(path, when_held=told):
            assert waited == [holder_pid]
    with exclusive_lock(path, when_held=refuse):
        pass
