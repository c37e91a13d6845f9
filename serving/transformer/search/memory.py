"""How much memory this process may still take, and how much a release is going to need."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from components.shared.files.layout import ITEMS_FILE
from components.shared.release.generation import GENERATION_FILE
from components.shared.vectors.search import INDEX_FILE

_CGROUP = Path("/sys/fs/cgroup")
_UNFOLDING = 4  # a Parquet file in memory, compared with the disk


def available_bytes(cgroup: Path = _CGROUP) -> int:
    """Return what the machine, and the container within it, still have; page cache counts as free."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    machine = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    try:
        limit = (cgroup / "memory.max").read_text().strip()
        used = int((cgroup / "memory.current").read_text())
        facts = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return machine
    if limit == "max":
        return machine
    return min(machine, int(limit) - used + int(facts.get("inactive_file", 0)))


def forecast_bytes(release: Path | None, generations: Iterable[Path]) -> int:
    """Return what loading takes: the index as it is, tables unfolded; vectors to rescore by are mapped and count nothing.

    Args:
        release: directory; None: its index is in memory already.
        generations: directories.
    """
    size = 0
    if release is not None:
        size += (release / INDEX_FILE).stat().st_size + _UNFOLDING * (release / ITEMS_FILE).stat().st_size
    for directory in generations:
        files = [path for path in directory.iterdir() if path.is_file() and path.name != GENERATION_FILE]
        size += _UNFOLDING * sum(path.stat().st_size for path in files)
    return size
