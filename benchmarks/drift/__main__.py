"""Drift: false alarms, detected faults, correct diagnoses, and the cost of a run.

    python benchmarks/drift --only calibration                  # 1,000 windows of each size; --sizes 300 for one of them
    python benchmarks/drift --only power --rendered RELEASE --photographs RELEASE
    python benchmarks/drift --only cost

Each part takes a few to twenty minutes on one core. With `--keep FOLDER` the result of every window is saved at once, a
stopped run resumes, and `--minutes N` stops it; start with a new folder after a change of the tests.

- calibration: windows without drift, from a mixture of 40 clusters on the sphere, beside Evidently's methods at their own
  thresholds on the same windows; its expensive methods get only the first of them, as the table shows.
- power: windows of 1,000 queries of real pictures (the releases' own, by the paths in their items.parquet) through the real
  encoder; each release is the "other encoder" of the other. Every picture, of reference and window, is first encoded again
  as JPEG of quality 90, so that the fault is the only difference.
- cost: one run, beside Evidently's own metric and preset with default settings, each in its own process on one thread.
"""
# ruff: noqa: E402  # threads are set before the libraries are loaded

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("DO_NOT_TRACK", "1")

import faiss

sys.path.insert(0, str(Path(__file__).parents[2]))
from calibration import SIZES, calibration
from cost import cost
from kept import Kept
from power import power

PARTS = ("calibration", "power", "cost")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, help="one part (default: all)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="folder for results, to resume later")
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="stop after this time; --keep allows to resume"
    )
    parser.add_argument("--windows", type=int, default=1_000, help="number of windows without drift per size")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="sizes of these windows")
    parser.add_argument("--rendered", type=Path, help="a release of rendered pictures")
    parser.add_argument("--photographs", type=Path, help="a release of photographs")
    parser.add_argument("--repeats", type=int, default=20, help="number of windows per fault")
    parser.add_argument("--pictures", type=int, default=4_000, help="most pictures per release")
    parser.add_argument("--rows", type=int, default=50_000, help="rows of window and of reference")
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--limit-seconds", type=int, default=600, help="processor time per run of the part cost")
    options = parser.parse_args()
    parts = [options.only] if options.only else PARTS
    if "power" in parts and (options.rendered is None or options.photographs is None):
        parser.error("power needs --rendered and --photographs")
    faiss.omp_set_num_threads(1)
    kept = Kept(options.keep, stop_at=time.monotonic() + 60 * options.minutes)
    print(f"{platform.machine()}, {os.cpu_count()} cores, one thread; {time.strftime('%Y-%m-%d')}", flush=True)
    if "calibration" in parts:
        calibration(kept, options.sizes, options.windows)
    if "power" in parts:
        power(kept, options.rendered, options.photographs, repeats=options.repeats, most=options.pictures)
    if "cost" in parts:
        cost(options.rows, options.dimension, options.limit_seconds)


if __name__ == "__main__":
    main()
