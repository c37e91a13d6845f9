"""People who search while something else goes on: how long they wait."""

from __future__ import annotations

import time

import numpy as np

from serving.client import SearchClient


def times_of_people(url: str, picture: bytes, seconds: float, rate: float = 5.0) -> list[float]:
    """Search at a steady rate from one thread; return how long each answer took, counted from when it was due."""
    taken: list[float] = []
    with SearchClient(url, timeout_seconds=60) as client:
        begin = time.monotonic()
        while (due := begin + len(taken) / rate) < begin + seconds:
            time.sleep(max(0.0, due - time.monotonic()))
            assert client.search(picture, k=10).results
            taken.append(time.monotonic() - due)
    return taken


def p99(taken: list[float]) -> float:
    """How long all but one of a hundred waited at most."""
    return float(np.quantile(taken, 0.99))
