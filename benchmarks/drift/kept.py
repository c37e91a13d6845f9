"""Results that are saved at once, so that a stopped run resumes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Kept:
    """Results by name and place; in memory only if there is no folder.

    Args:
        folder: folder for a file of JSON lines per name; None: nothing is written.
        stop_at: `time.monotonic` after which nothing new is computed.
    """

    def __init__(self, folder: Path | None, *, stop_at: float) -> None:
        self.folder, self._stop_at = folder, stop_at
        self._results: dict[str, dict[int, Any]] = {}
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def results(self, name: str, count: int, compute: Callable[[int], Any]) -> list[Any]:
        """Return the results of places 0, 1, … below `count`, up to the time limit."""
        known = self._results.setdefault(name, self._read(name))
        found = []
        for place in range(count):
            if place not in known:
                if time.monotonic() > self._stop_at:
                    continue
                known[place] = compute(place)
                self._append(name, place, known[place])
            found.append(known[place])
        return found

    def _read(self, name: str) -> dict[int, Any]:
        path = None if self.folder is None else self.folder / f"{name}.jsonl"
        if path is None or not path.exists():
            return {}
        lines = path.read_text().split("\n")[:-1]  # a line without an end is incomplete
        path.write_text("".join(f"{line}\n" for line in lines))
        return dict(json.loads(line) for line in lines)

    def _append(self, name: str, place: int, result: Any) -> None:
        if self.folder is not None:
            with (self.folder / f"{name}.jsonl").open("a") as file:
                file.write(json.dumps([place, result]) + "\n")
