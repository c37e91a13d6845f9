"""Online metrics over millions of events, beside pandas; and error rates and power of the experiments' statistics.

    python benchmarks/experiments.py [--events 5000000] [--experiments 2000]

Both start from the same Parquet file and end in the same table per arm (searches, impressions, clicks, click-through, clicks@10,
MRR, dwell, without bots); each runs in its own process, on one thread, so that CPU time and peak memory are its own. Then
the share of A/A experiments in which each method finds a difference, and its power at a lift, beside tea-tasting's test,
evaluated once, on the same data.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.shared.files.tables import EVENTS

START_US = 1_767_225_600_000_000
K = 10


def write_log(path: Path, events: int, seed: int = 0) -> int:
    """Write about this many events in row groups; return the exact number."""
    rng = np.random.default_rng(seed)
    written, query = 0, 0
    with pq.ParquetWriter(path, EVENTS.schema, compression="zstd") as writer:
        while written < events:
            q = 20_000
            user = np.minimum(rng.zipf(1.4, q), 2_000_000)
            image = rng.integers(0, 20_000, q)
            at = START_US + rng.integers(0, 14 * 86_400_000_000, q)
            place = np.tile(np.arange(1, K + 1), q)
            owner = np.repeat(np.arange(q), K)
            shown = rng.integers(0, 1_000_000, q * K)
            clicked = np.flatnonzero(rng.random(q * K) < 0.35 / place)
            told = clicked[rng.random(len(clicked)) < 0.8]
            row = np.concatenate([np.arange(q * K), clicked, told])
            kind = np.repeat(["impression", "click", "dwell"], [q * K, len(clicked), len(told)])
            delay = np.where(kind == "impression", 0, rng.integers(500_000, 30_000_000, len(row)))
            dwell = pa.array(rng.integers(800, 90_000, len(row)), pa.int64(), mask=kind != "dwell")
            own, arm = owner[row], np.array(["champion", "challenger"])[user % 2]
            text = {
                "event_id": np.char.add(f"e{query}-", np.arange(len(row)).astype(str)),
                "query_id": np.char.add(f"q{query}-", own.astype(str)),
                "user_id": np.char.add("u", user[own].astype(str)),
                "query_image_id": np.char.add("i", image[own].astype(str)),
                "returned_image_id": np.char.add("i", shown[row].astype(str)),
            }
            table = {name: pa.array(values.tolist()) for name, values in text.items()}
            table |= {
                "position": pa.array(place[row], pa.int32()), "type": pa.array(kind.tolist()), "dwell_ms": dwell,
                "release_id": pa.array(np.char.add("r-", arm[own]).tolist()), "arm": pa.array(arm[own].tolist()),
                "at": pa.array(at[own] + delay, pa.timestamp("us", tz="UTC")),
                "country": pa.array(np.array(["DE", "FR", "US"])[user[own] % 3].tolist()),
            }  # fmt: skip
            writer.write_table(pa.table(table).select(EVENTS.schema.names).cast(EVENTS.schema))
            written, query = written + len(row), query + 1
    return written


def by_duckdb(path: str) -> dict[str, dict[str, float]]:
    from monitoring.events import open_events
    from monitoring.online.metrics import online_metrics
    from monitoring.online.parameters import OnlineParameters
    from monitoring.online.searches import clean_results, fold_searches

    with open_events(path, threads=1) as connection:
        clean_results(connection, OnlineParameters())
        fold_searches(connection, OnlineParameters())
        return {row["label"]: row for row in online_metrics(connection, "arm").to_pylist()}


def by_pandas(path: str) -> dict[str, dict[str, float]]:
    import pandas as pd

    log = pd.read_parquet(
        path, columns=[name for name in EVENTS.schema.names if name not in {"event_id", "release_id"}]
    )
    key = ["query_id", "returned_image_id"]
    shown = log[log["type"] == "impression"].groupby(key, sort=False).agg(
        user_id=("user_id", "first"), query_image_id=("query_image_id", "first"), position=("position", "min"),
        arm=("arm", "first"), at=("at", "min"),
    )  # fmt: skip
    shown["clicked_at"] = log[log["type"] == "click"].groupby(key, sort=False)["at"].min()
    shown["dwell"] = log[log["type"] == "dwell"].groupby(key, sort=False)["dwell_ms"].max()
    shown = shown.reset_index()
    shown["clicked"] = shown["clicked_at"].notna()
    shown["stayed"] = shown["clicked"] & (shown["dwell"] >= 500)
    queries = shown.groupby("query_id", sort=False).agg(
        user_id=("user_id", "first"), at=("at", "min"), clicks=("clicked", "sum"), stays=("stayed", "sum")
    )
    busiest = queries.groupby(["user_id", queries["at"].dt.floor("min")]).size().groupby("user_id").max()
    volume = queries.groupby("user_id").agg(
        queries=("clicks", "size"), clicks=("clicks", "sum"), stays=("stays", "sum")
    )
    bot = (busiest > 20) | ((volume["queries"] >= 5) & (volume["clicks"] > 4 * volume["queries"]))
    bot |= (volume["clicks"] >= 20) & (volume["stays"] == 0)
    shown = shown[
        ~shown["user_id"].isin(bot.index[bot]) & (shown["query_image_id"] != shown["returned_image_id"])
    ].copy()
    shown["reciprocal"] = (1 / shown["position"]).where(shown["clicked"], 0.0)
    shown["near"] = shown["clicked"] & (shown["position"] <= K)
    searches = shown.groupby("query_id", sort=False).agg(
        arm=("arm", "first"), impressions=("clicked", "size"), clicks=("clicked", "sum"), near=("near", "sum"),
        mrr=("reciprocal", "max"),
    )  # fmt: skip
    searches["clicked"] = searches["clicks"] > 0
    seconds = (shown["dwell"].clip(upper=300_000) / 1e3).where(shown["clicked"])
    dwell = seconds.groupby(shown["arm"]).agg(["median", "mean"])
    return {
        arm: {
            "searches": len(rows), "impressions": int(rows["impressions"].sum()), "clicks": int(rows["clicks"].sum()),
            "click_through_per_query": float(rows["clicked"].mean()), "clicks_at_k": float(rows["near"].mean()),
            "click_mrr": float(rows["mrr"].mean()), "median_dwell_seconds": float(dwell.loc[arm, "median"]),
            "mean_dwell_seconds": float(dwell.loc[arm, "mean"]),
        }
        for arm, rows in searches.groupby("arm")
    }  # fmt: skip


def measure(engine: str, path: str) -> dict:
    done = subprocess.run(
        [sys.executable, __file__, "--only", engine, "--log", path], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def only(engine: str, path: str) -> None:
    begin = time.process_time()
    figures = {"duckdb": by_duckdb, "pandas": by_pandas}[engine](path)
    seconds = time.process_time() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_mb": peak, "figures": figures}, default=str))


def compare_engines(events: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.parquet"
        count = write_log(path, events)
        found = {engine: measure(engine, str(path)) for engine in ("duckdb", "pandas")}
        print(f"{count:,} events, {path.stat().st_size / 1e6:,.0f} MB of Parquet; one thread each\n")
    for arm, expected in found["pandas"]["figures"].items():
        for name, value in expected.items():
            got = found["duckdb"]["figures"][arm][name]
            if not np.isclose(got, value, rtol=1e-9):
                raise SystemExit(f"{arm} {name}: DuckDB {got}, pandas {value}")
    print("| | CPU s | events/s | peak MB |\n|---|---|---|---|")
    for engine, row in found.items():
        print(f"| {engine} | {row['seconds']:.1f} | {count / row['seconds']:,.0f} | {row['peak_mb']:,.0f} |")
    ours, theirs = found["duckdb"], found["pandas"]
    print(f"\nThe same figures in {theirs['seconds'] / ours['seconds']:.1f} × less CPU time and "
          f"{theirs['peak_mb'] / ours['peak_mb']:.1f} × less memory.\n")  # fmt: skip


def count_promises(experiments: int) -> None:
    from monitoring.experiments.parameters import ExperimentParameters
    from monitoring.experiments.simulation import Population, compare_simulated, rejections, simulate

    parameters = ExperimentParameters(minimum_lift=0.3)
    titles = {
        "pooled": "z-test over searches",
        "delta": "delta method per user (= tea-tasting)",
        "sequence": "always-valid interval",
    }
    print("| users per arm, lift | method | differs at day 14 | differs at any of 14 days |\n|---|---|---|---|")
    for users, spread, lift in (
        (500, 1.0, 0.0),
        (1_000, 1.2, 0.0),
        (1_000, 1.0, 0.2),
        (1_000, 1.0, 0.3),
        (1_000, 1.0, 0.4),
    ):
        rng, found = np.random.default_rng(1), {}
        for _ in range(experiments // 50):
            clicked, searches = simulate(50, lift, Population(users=users, spread=spread), rng)
            for name, value in rejections(compare_simulated(clicked, searches), clicked, searches, parameters).items():
                found.setdefault(name, []).append(value)
        for name, parts in found.items():
            value = np.concatenate(parts)
            print(
                f"| {users}, {lift:+.0%} | {titles[name]} | {value[:, -1].mean():.1%} | {value.max(axis=1).mean():.1%} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--experiments", type=int, default=2_000)
    parser.add_argument("--only", choices=("duckdb", "pandas"), help=argparse.SUPPRESS)
    parser.add_argument("--log", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        only(options.only, options.log)
        return
    print(f"{platform.machine()}, Python {platform.python_version()}\n")
    compare_engines(options.events)
    count_promises(options.experiments)


if __name__ == "__main__":
    main()
