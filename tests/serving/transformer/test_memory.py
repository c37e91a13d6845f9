"""The memory of both processes together on 100,000 × 256."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from serving.client import SearchClient
from support.factories.basics import encode_picture, make_picture
from support.inputs.large_release import make_large_release
from support.servers.serving_processes import serving

LIMIT_BYTES = 1_500_000_000


def peak_bytes(process: psutil.Process) -> int:
    """Return what a process and its children have taken at most, memory shared among them counted once each (VmHWM)."""
    total = 0
    for member in (process, *process.children(recursive=True)):
        status = Path(f"/proc/{member.pid}/status").read_text()
        total += 1024 * int(status.split("VmHWM:")[1].split()[0])
    return total


@pytest.mark.long
def test_both_processes_fit_into_one_and_a_half_gigabytes(tmp_path):
    release = make_large_release(tmp_path / "release", rows=100_000, dimension=256)
    picture = encode_picture(make_picture(1, size=(1600, 1200)))
    with serving(release, tmp_path) as processes, SearchClient(processes.url) as client:
        for k in (1, 20, 200):
            for _ in range(20):
                assert len(client.search(picture, k=k).results) == k
        family = {name: peak_bytes(psutil.Process(child.pid)) for name, child in processes.children.items()}
    print({name: f"{size / 1e6:.0f} MB" for name, size in family.items()})
    assert sum(family.values()) < LIMIT_BYTES
