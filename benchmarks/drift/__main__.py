"""Drift: how often its tests alarm at nothing, what they find, whether the diagnosis is right, and what a run costs.

    python benchmarks/drift --only calibration                  # 1,000 windows of each size; --sizes 300 for one of them
    python benchmarks/drift --only power --rendered RELEASE --photographs RELEASE
    python benchmarks/drift --only cost

Each part takes a few to twenty minutes on one core. With `--keep FOLDER` every window's result is written down as it comes, a
run that was stopped goes on where it was, and `--minutes N` stops it; start with a new folder after a change of the tests.

- calibration: windows without drift, from a mixture of 40 clusters on the sphere, beside Evidently's methods at their own
  thresholds on the same windows; its expensive methods see the first of them only, as the table says.
- power: windows of 1,000 queries of real pictures (the releases' own, by the paths in their items.parquet) through the real
  encoder, each release the "other encoder" of the other. Every picture, of reference and window alike, is encoded anew as
  JPEG of quality 90 first, so that the fault is the only difference.
- cost: one run, beside Evidently's own metric and preset as they come, each in a process of its own on one thread.
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
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="for results, to go on later")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop then; --keep goes on later")
    parser.add_argument("--windows", type=int, default=1_000, help="without drift, of each size")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="of these windows")
    parser.add_argument("--rendered", type=Path, help="a release of rendered pictures")
    parser.add_argument("--photographs", type=Path, help="a release of photographs")
    parser.add_argument("--repeats", type=int, default=20, help="windows of each fault")
    parser.add_argument("--pictures", type=int, default=4_000, help="of each release, at most")
    parser.add_argument("--rows", type=int, default=50_000, help="of window and reference each")
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--limit-seconds", type=int, default=600, help="of processor time for each run of the cost")
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
