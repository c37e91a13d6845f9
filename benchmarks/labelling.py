"""Click mining beside the same query in pandas: rows/s, CPU-seconds and peak memory, in one run, results compared.

    python benchmarks/labelling.py                      # 10 million events
    python benchmarks/labelling.py --events 1_000_000

Each side runs in its own process; time and memory are those of the process, start included. The log is simulated
(components/rendering/clicks.py). Compare the ratios: absolute times vary with the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from components.labelling.parameters import LabellingParameters

EVENTS_PER_SEARCH = 12.9
VIEWS, LOOKS, CATEGORIES, CANDIDATES = 5, 6, 12, 30
SCALE = 2.0**20
PAIR = ["query_image_id", "image_id"]


def simulate(folder: Path, events: int, images: int, seed: int) -> None:
    """Write images.parquet and events/*.parquet."""
    from components.rendering.clicks import SimulatedClicks

    rng = np.random.default_rng(seed)
    item = np.arange(images) // VIEWS
    category, look = item % CATEGORIES, rng.integers(0, LOOKS, item.max() + 1)[item]
    ids = [f"image-{number:07d}" for number in range(images)]
    queries = rng.permutation(images)[: images // 2]
    by_category = [np.flatnonzero(category == value) for value in range(CATEGORIES)]
    candidates = np.empty((len(queries), CANDIDATES), np.int64)
    for row, query in enumerate(queries):
        same = np.flatnonzero(item == item[query])
        near = rng.choice(by_category[category[query]], 2 * CANDIDATES)
        near = near[item[near] != item[query]][:14]
        far = rng.integers(0, images, CANDIDATES)
        candidates[row] = np.concatenate([same[same != query], near, far])[:CANDIDATES]
    own = item[queries][:, None] == item[candidates]
    alike = look[queries][:, None] == look[candidates]
    near = category[queries][:, None] == category[candidates]
    grades = np.where(own, 3, np.where(near & alike, 2, np.where(near, 1, 0)))
    log = SimulatedClicks(
        [ids[query] for query in queries],
        ids,
        candidates,
        grades,
        searches=round(events / EVENTS_PER_SEARCH),
        seed=seed,
    )
    (folder / "events").mkdir()
    written = 0
    for number, table in enumerate(log.batches()):
        pq.write_table(table, folder / "events" / f"part-{number:05d}.parquet", compression="zstd")
        written += table.num_rows
    columns = {
        "image_id": ids,
        "item_id": [f"item-{value}" for value in item],
        "category": [f"category-{value}" for value in category],
        "duplicate_group": ids,
        "trainable": (item % 2 == 0).astype(np.int64),
    }
    pq.write_table(pa.table(columns), folder / "images.parquet")
    print(f"simulated {written:,} events, {images:,} images", flush=True)


def mine(folder: Path, output: Path) -> None:
    """Mine as the product does."""
    from components.labelling.click_log import open_click_log
    from components.labelling.engine import open_engine
    from components.labelling.mining import mine_clicks

    parameters = LabellingParameters(threads=0)
    output.mkdir()
    with open_engine(parameters, output) as engine:
        mined = mine_clicks(
            engine, open_click_log(str(folder / "events")), pq.read_table(folder / "images.parquet"), parameters
        )
    pq.write_table(mined.pairs, output / "result.parquet")
    facts = {
        "propensities": mined.propensities.values,
        "prior": [mined.prior.alpha, mined.prior.beta],
        "bots": mined.bots,
    }
    (output / "facts.json").write_text(json.dumps(facts))


def mine_with_pandas(folder: Path, output: Path) -> None:
    """Mine in the same way with pandas."""
    parameters = LabellingParameters()
    output.mkdir()
    images = pd.read_parquet(folder / "images.parquet")
    shown = _shown(folder, parameters)
    bots = _bots(shown, parameters)
    genuine = shown[~shown["user_id"].isin(bots) & ~(shown["query_image_id"] == shown["image_id"])]
    del shown
    cells = _cells(genuine, images)
    propensities = _propensities(cells, parameters)
    p = np.maximum(propensities.values, parameters.propensity_floor)
    looks = pd.Series(p, propensities.positions)
    rates, prior = _rates(cells, looks, parameters)
    alone = _attractive(rates, _wins(genuine), prior, parameters)
    together = _together(genuine, looks, prior, images, parameters)
    merged = pd.concat([alone, together]).groupby(PAIR, as_index=False).max().sort_values(PAIR)
    merged.to_parquet(output / "result.parquet", index=False)
    facts = {"propensities": propensities.values, "prior": [prior.alpha, prior.beta], "bots": sorted(bots)}
    (output / "facts.json").write_text(json.dumps(facts))


def _shown(folder: Path, parameters: LabellingParameters) -> pd.DataFrame:
    columns = ["query_id", "user_id", "query_image_id", "returned_image_id", "position", "type", "dwell_ms", "at"]
    events = pd.read_parquet(folder / "events", columns=columns).rename(columns={"returned_image_id": "image_id"})
    needed = ["query_id", "user_id", "image_id", "type", "position", "at"]
    events = events[events[needed].notna().all(axis=1) & events["position"].between(1, parameters.deepest_position)]
    events["type"] = events["type"].astype("category")
    events["clicked"] = (events["type"] == "click").astype(np.int8)
    events["position"] = events["position"].where(events["type"] == "impression")
    events["dwell_ms"] = events["dwell_ms"].where(events["type"] == "dwell")
    # min of a text column is slow in pandas; these depend on the query alone, so take the first one
    how = {
        "user_id": "first",
        "query_image_id": "first",
        "position": "min",
        "clicked": "max",
        "dwell_ms": "max",
        "at": "min",
    }
    shown = events.groupby(["query_id", "image_id"], sort=False).agg(how).reset_index()
    shown = shown[shown["position"].notna()]
    shown["position"] = shown["position"].astype(np.int64)
    shown["short"] = ((shown["clicked"] == 1) & (shown["dwell_ms"] < parameters.short_dwell_ms)).astype(np.int8)
    return shown.drop(columns="dwell_ms")


def _bots(shown: pd.DataFrame, parameters: LabellingParameters) -> set[str]:
    queries = shown.groupby("query_id", sort=False).agg({"user_id": "first", "at": "min", "clicked": "sum"})
    queries["minute"] = queries["at"].dt.floor("min")
    busiest = queries.groupby(["user_id", "minute"]).size().groupby("user_id").max()
    volume = queries.groupby("user_id")["clicked"].agg(["size", "sum"])
    many = (volume["size"] >= parameters.bot_minimum_queries) & (
        volume["sum"] > volume["size"] * parameters.bot_clicks_per_query
    )
    first = set(busiest.index[busiest > parameters.bot_queries_per_minute]) | set(volume.index[many])
    others = shown[~shown["user_id"].isin(first)].groupby("position")["clicked"].agg(["size", "sum"])
    share = (others["sum"] + 0.5) / (others["sum"].sum() + 0.5 * len(others))
    evidence = np.floor(np.log(others["size"] / others["size"].sum() / share) * SCALE + 0.5).astype(np.int64)
    clicks = shown[shown["clicked"] == 1]
    sums = clicks["position"].map(evidence).groupby(clicks["user_id"]).sum()
    return first | set(sums.index[sums > np.floor(parameters.bot_position_evidence * SCALE)])


def _cells(genuine: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    clicker = genuine["user_id"].where(genuine["clicked"] == 1)
    by = [*PAIR, "position"]
    cells = genuine.groupby(by, dropna=False, sort=False).agg(
        n=("clicked", "size"), c=("clicked", "sum"), s=("short", "sum")
    )
    users = genuine.assign(user_id=clicker).dropna(subset=["user_id"]).groupby(by, dropna=False, sort=False)["user_id"]
    cells = cells.join(users.agg(first_user="min", last_user="max")).reset_index()
    query = images.add_prefix("q_").rename(columns={"q_image_id": "query_image_id"})
    cells = cells.merge(images, on="image_id", how="left").merge(query, on="query_image_id", how="left")
    known = cells["q_duplicate_group"].notna() & cells["duplicate_group"].notna()
    cells["relation"] = np.select(
        [
            ~known,
            cells["q_duplicate_group"] == cells["duplicate_group"],
            cells["q_item_id"] == cells["item_id"],
            cells["q_category"] == cells["category"],
        ],
        ["unknown", "self", "item", "category"],
        "other",
    )
    cells["trainable"] = (cells["trainable"] * cells["q_trainable"]).fillna(0).astype(np.int64)
    return cells[[*by, "n", "c", "s", "first_user", "last_user", "relation", "trainable"]]


def _propensities(cells: pd.DataFrame, parameters: LabellingParameters):
    from components.labelling.propensities import combine

    cells = cells[cells["relation"] != "self"]
    table = cells.pivot_table(index="relation", columns="position", values=["c", "n"], aggfunc="sum", fill_value=0)
    positions = [int(value) for value in table["n"].columns]
    moved = cells.dropna(subset=["query_image_id"])[[*PAIR, "position", "n", "c"]]
    both = moved.merge(moved, on=PAIR, suffixes=("1", "2"))
    both = both[both["position1"] < both["position2"]]
    n1, n2 = both["n1"].astype(float), both["n2"].astype(float)
    for name, value in (
        ("weight", n1 * n2 / (n1 + n2)),
        ("clicks1", both["c1"] * n2 / (n1 + n2)),
        ("clicks2", both["c2"] * n1 / (n1 + n2)),
    ):
        both[name] = np.floor(value * SCALE + 0.5).astype(np.int64)
    sums = both.groupby(["position1", "position2"])[["weight", "clicks1", "clicks2"]].sum() / SCALE
    clicks, shown = np.zeros((2, len(positions), len(positions)))
    for (one, other), row in sums.iterrows():
        i, j = positions.index(one), positions.index(other)
        shown[i, j] = shown[j, i] = row["weight"]
        clicks[i, j], clicks[j, i] = row["clicks1"], row["clicks2"]
    relation = (table["c"].to_numpy(float), table["n"].to_numpy(float))
    return combine(positions, clicks, shown, *relation, minimum_clicks=parameters.propensity_minimum_clicks)


def _rates(cells: pd.DataFrame, looks: pd.Series, parameters: LabellingParameters):
    from components.labelling.attraction import prior_from_moments

    cells = cells[cells["query_image_id"].notna() & ~cells["relation"].isin(["self", "unknown"])].copy()
    good = cells["c"].astype(float) - cells["s"].astype(float) * (1.0 - parameters.short_dwell_weight)
    p = cells["position"].map(looks)
    cells["weighted"] = np.floor(good / p * SCALE + 0.5).astype(np.int64)
    cells["spread"] = np.floor(cells["n"] / p * SCALE + 0.5).astype(np.int64)
    grouped = cells.groupby(PAIR, sort=False)
    rates = grouped[["n", "c", "weighted", "spread"]].sum()
    rates["trainable"] = grouped["trainable"].max()
    users = cells.dropna(subset=["first_user"]).groupby(PAIR, sort=False)
    rates["first_user"], rates["last_user"] = users["first_user"].min(), users["last_user"].max()
    n = rates["n"].astype(float)
    rates["rate"] = np.minimum(rates["weighted"] / SCALE / n, 1.0)
    rates["trials"] = n * n * SCALE / rates["spread"]

    def exact(values: pd.Series) -> float:
        return int(np.floor(values * SCALE + 0.5).astype(np.int64).sum()) / SCALE

    prior = prior_from_moments(
        pairs=len(rates),
        trials=exact(rates["trials"]),
        successes=exact(rates["trials"] * rates["rate"]),
        squares=exact(rates["trials"] * rates["rate"] * rates["rate"]),
        trials_squared=exact(rates["trials"] * rates["trials"]),
    )
    return rates.reset_index(), prior


def _lower(successes: pd.Series, trials: pd.Series, alpha: float, beta: float, z: float) -> tuple[pd.Series, pd.Series]:
    a, b = successes + alpha, trials - successes + beta
    mean = a / (a + b)
    return mean, np.maximum(mean - np.sqrt(a * b / ((a + b) * (a + b) * (a + b + 1.0))) * z, 0.0)


def _wins(genuine: pd.DataFrame) -> pd.DataFrame:
    seen = genuine[genuine["query_image_id"].notna()]
    clicked = seen["clicked"] == 1
    first_skipped = seen.loc[~clicked].groupby("query_id")["position"].min()
    last_clicked = seen.loc[clicked].groupby("query_id")["position"].max()
    seen = seen[seen["query_id"].isin(last_clicked.index)]
    clicked = seen["clicked"] == 1
    seen = seen.assign(
        wins=(clicked & (seen["position"] > seen["query_id"].map(first_skipped))).astype(np.int64),
        losses=(~clicked & (seen["position"] < seen["query_id"].map(last_clicked))).astype(np.int64),
    )
    sums = seen.groupby(PAIR, as_index=False, sort=False)[["wins", "losses"]].sum()
    return sums[sums["wins"] > 0]


def _attractive(rates: pd.DataFrame, wins: pd.DataFrame, prior, parameters: LabellingParameters) -> pd.DataFrame:
    z, bar = parameters.credibility_z, prior.mean * parameters.attraction_lift
    enough = (rates["c"] >= parameters.minimum_clicks) & (rates["first_user"] != rates["last_user"])
    chosen = rates[(rates["trainable"] == 1) & enough].merge(wins, on=PAIR, how="left")
    mean, lower = _lower(chosen["trials"] * chosen["rate"], chosen["trials"], prior.alpha, prior.beta, z)
    _, preferred = _lower(chosen["wins"], chosen["wins"] + chosen["losses"], 1.0, 1.0, z)
    chosen["value"] = np.maximum(lower, 0.05 * prior.mean)
    chosen["attraction"] = (lower > bar).astype(np.int64)
    chosen["preference"] = ((preferred > 0.5) & (mean > bar)).astype(np.int64)
    chosen["together"] = 0
    chosen = chosen[chosen["attraction"] + chosen["preference"] > 0]
    return chosen[[*PAIR, "value", "attraction", "preference", "together"]]


def _together(
    genuine: pd.DataFrame,
    looks: pd.Series,
    prior,
    images: pd.DataFrame,
    parameters: LabellingParameters,
) -> pd.DataFrame:
    clicked = genuine.loc[genuine["clicked"] == 1, ["query_id", "image_id", "user_id"]]
    counts = clicked.groupby("query_id").size()
    modest = counts.index[counts.between(2, parameters.coclick_largest_query)]
    several = clicked[clicked["query_id"].isin(modest)].rename(columns={"image_id": "one"})
    both = several.merge(several[["query_id", "one"]].rename(columns={"one": "other"}), on="query_id")
    both = both[both["one"] < both["other"]]
    pairs = both.groupby(["one", "other"], as_index=False).agg(
        clicks=("query_id", "size"), first_user=("user_id", "min"), last_user=("user_id", "max")
    )
    pairs = pairs[pairs["clicks"] >= parameters.minimum_clicks]
    either = pd.concat([pairs[["one", "other"]], pairs[["other", "one"]].set_axis(["one", "other"], axis=1)])
    trials = clicked[["query_id", "image_id"]].rename(columns={"image_id": "one"}).merge(either, on="one")
    shown = genuine[["query_id", "image_id", "position"]].rename(columns={"image_id": "other"})
    trials = trials.merge(shown, on=["query_id", "other"])
    trials["looks"] = np.floor(trials["position"].map(looks) * SCALE + 0.5).astype(np.int64)
    swap = trials["one"] > trials["other"]
    trials.loc[swap, ["one", "other"]] = trials.loc[swap, ["other", "one"]].to_numpy()
    pairs = pairs.merge(trials.groupby(["one", "other"], as_index=False)["looks"].sum(), on=["one", "other"])
    successes = pairs["clicks"].astype(float) * 2.0
    _, pairs["value"] = _lower(
        successes, np.maximum(pairs["looks"] / SCALE, successes), prior.alpha, prior.beta, parameters.credibility_z
    )
    trainable = images[images["trainable"] == 1].set_index("image_id")["duplicate_group"]
    one, other = pairs["one"].map(trainable), pairs["other"].map(trainable)
    good = (
        one.notna()
        & other.notna()
        & (one != other)
        & (pairs["first_user"] != pairs["last_user"])
        & (pairs["value"] > prior.mean * parameters.attraction_lift)
    )
    pairs = pairs[good].rename(columns={"one": "query_image_id", "other": "image_id"})
    return pairs.assign(attraction=0, preference=0, together=1)[
        [*PAIR, "value", "attraction", "preference", "together"]
    ]


def measure(side: str, folder: Path) -> dict[str, float]:
    """Run one side in a child process; return its wall seconds, CPU-seconds and peak memory in MB."""
    begin = time.perf_counter()
    command = [sys.executable, __file__, "--side", side, "--folder", str(folder)]
    child = subprocess.Popen(command, stderr=subprocess.PIPE)
    errors = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{side} failed:\n{errors.decode()}")
    return {
        "wall": time.perf_counter() - begin,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak": usage.ru_maxrss / 1000,
    }


def compare(folder: Path) -> str:
    """Check that both sides give the same pairs, values, propensities, prior and bots."""
    ours, theirs = (pd.read_parquet(folder / side / "result.parquet") for side in ("mining", "pandas"))
    facts, others = (json.loads((folder / side / "facts.json").read_text()) for side in ("mining", "pandas"))
    pd.testing.assert_frame_equal(ours, theirs.reset_index(drop=True), check_dtype=False, rtol=1e-9)
    if facts != others:
        raise SystemExit(f"the two sides differ: {facts} {others}")
    return f"{len(ours):,} pairs, propensities, prior and {len(facts['bots'])} bots are the same on both sides"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=lambda text: int(text.replace("_", "")), default=10_000_000)
    parser.add_argument("--images", type=lambda text: int(text.replace("_", "")), default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="folder for the log and the results; a temporary one by default")
    parser.add_argument("--side", choices=("mining", "pandas"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        (mine if arguments.side == "mining" else mine_with_pandas)(arguments.folder, arguments.folder / arguments.side)
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        simulate(folder, arguments.events, arguments.images, arguments.seed)
        rows = sum(pq.read_metadata(path).num_rows for path in (folder / "events").glob("*.parquet"))
        results = {side: measure(side, folder) for side in ("mining", "pandas")}
        print(compare(folder))
    print(f"{rows:,} events on {os.cpu_count()} cores, {platform.processor() or platform.machine()}")
    for side, result in results.items():
        print(
            f"{side:8} {rows / result['wall']:>12,.0f} rows/s  {result['wall']:7.1f} s wall  {result['cpu']:7.1f} CPU-s  "
            f"{result['peak']:8,.0f} MB peak"
        )
    ratios = {key: results["pandas"][key] / results["mining"][key] for key in ("wall", "cpu", "peak")}
    print("pandas / mining: " + "  ".join(f"{key} {value:.2f}" for key, value in ratios.items()))


if __name__ == "__main__":
    main()
