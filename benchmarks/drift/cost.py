"""Processor time and memory of one run, and of Evidently's with default settings. As a program, it is one of the children."""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
from components.shared.vectors.embeddings import normalise

_FRACTION = 10  # share of the rows, if a whole run takes too long


def cost(rows: int, dimension: int, limit_seconds: int) -> None:
    print(f"\nCost of a run, window and reference {rows} × {dimension} each\n")
    print("| | rows | CPU seconds | peak MB | of it the data |")
    for who in RUNS:
        for count in (rows, rows // _FRACTION):
            cpu, peak, before, finished = _measure(who, count, dimension, limit_seconds)
            spent = f"{cpu:.1f}" if finished else f"stopped after {cpu:.0f}"
            print(f"| {who} | {count} | {spent} | {peak:.0f} | {before} |", flush=True)


def _measure(who: str, rows: int, dimension: int, limit_seconds: int) -> tuple[float, float, str, bool]:
    """Run a child; if its limit stops it, return the time and memory used until then."""
    command = [sys.executable, __file__, who, str(rows), str(dimension), str(limit_seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        told = child.stdout.read().splitlines() if child.stdout else []
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode == 0:
        value = json.loads(told[-1])
        return value["cpu"], value["peak_mb"], f"{value['before_mb']:.0f}", True
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, "?", False


def _ours(reference: np.ndarray, window: np.ndarray) -> None:
    from monitoring.drift.comparison import compare
    from monitoring.drift.parameters import DriftParameters
    from monitoring.drift.samples import Sample

    ids = tuple(map(str, range(len(window))))
    if compare(Sample("s", ids, reference), Sample("s", ids, window), DriftParameters()) is None:
        raise SystemExit("too few rows")


def _metric(reference: np.ndarray, window: np.ndarray) -> None:
    from evidently import DataDefinition, Report
    from evidently.metrics.embeddings import EmbeddingsDrift

    columns = [f"e{place}" for place in range(reference.shape[1])]
    definition = DataDefinition(numerical_columns=[], categorical_columns=[], embeddings={"query": columns})
    Report([EmbeddingsDrift(embeddings_name="query")]).run(*_sets(reference, window, definition))


def _preset(reference: np.ndarray, window: np.ndarray) -> None:
    from evidently import DataDefinition, Report
    from evidently.presets import DataDriftPreset

    columns = [f"e{place}" for place in range(reference.shape[1])]
    Report([DataDriftPreset()]).run(*_sets(reference, window, DataDefinition(numerical_columns=columns)))


def _sets(reference: np.ndarray, window: np.ndarray, definition: object) -> list[object]:
    import pandas as pd
    from evidently import Dataset

    columns = [f"e{place}" for place in range(reference.shape[1])]
    return [Dataset.from_pandas(pd.DataFrame(rows, columns=columns), definition) for rows in (window, reference)]


RUNS = {"ours": _ours, "Evidently EmbeddingsDrift": _metric, "Evidently DataDriftPreset": _preset}


def _child(who: str, rows: int, dimension: int, limit_seconds: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (limit_seconds, limit_seconds))
    rng = np.random.default_rng(0)
    reference, window = (normalise(rng.normal(size=(rows, dimension)).astype(np.float32)) for _ in range(2))
    window[:, 0] += 0.02  # drift, so that every permutation is needed
    window = normalise(window)
    run = RUNS[who]
    run(reference[:2_000], window[:2_000]) if who == "ours" else _import_evidently()  # imports are not counted
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run(reference, window)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"cpu": time.process_time() - start, "peak_mb": peak / 1024, "before_mb": before / 1024}))


def _import_evidently() -> None:
    importlib.import_module("evidently.metrics.embeddings")
    importlib.import_module("evidently.presets")


if __name__ == "__main__":
    _child(sys.argv[1], *map(int, sys.argv[2:]))
