"""Ranking metrics over many queries, beside torchmetrics and ranx: equal figures, and the time of each.

    python benchmarks/metrics.py [--queries 100000] [--candidates 100]

All three start from the same (q, n) float32 scores and (q, n) grades, each in its own form, made before the clock starts,
and end in the means of hit rate@1, hit rate@10, recall@10, precision@10, mAP, nDCG@10 and MRR. torchmetrics works query
by query, and ranx needs minutes to convert its dictionaries, so both are timed on a sample; their times are scaled up and
marked as such.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable

import numpy as np

from components.shared.truth import metrics

Figures = dict[str, float]

TORCH_SAMPLE = 2_000
RANX_SAMPLE = 20_000


def draw(queries: int, candidates: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw distinct positive scores (torchmetrics drops the others) and grades, at least one relevant image per query."""
    rng = np.random.default_rng(seed)
    grades = (rng.integers(1, 4, (queries, candidates)) * (rng.random((queries, candidates)) < 0.08)).astype(np.uint8)
    grades[np.arange(queries), rng.integers(0, candidates, queries)] = 3
    noise = rng.permuted(np.tile(np.arange(candidates, dtype=np.float32), (queries, 1)), axis=1) / candidates
    scores = (1 + grades * rng.integers(0, 2, grades.shape) + noise).astype(np.float32)
    return scores, grades


def ours(scores: np.ndarray, grades: np.ndarray) -> Figures:
    ranked = np.take_along_axis(grades, metrics.rank_rows(scores), axis=1)
    relevant, ideal = metrics.count_relevant(grades), metrics.ideal_grades(grades, 10)
    values = {
        "hit_rate@1": metrics.hit_rate_at_k(ranked, relevant, 1),
        "hit_rate@10": metrics.hit_rate_at_k(ranked, relevant, 10),
        "recall@10": metrics.recall_at_k(ranked, relevant, 10),
        "precision@10": metrics.precision_at_k(ranked, relevant, 10),
        "map": metrics.average_precision(ranked, relevant),
        "ndcg@10": metrics.ndcg_at_k(ranked, ideal, 10),
        "mrr": metrics.reciprocal_rank(ranked, relevant),
    }
    return {name: metrics.average(value).value for name, value in values.items()}


def prepare_ranx(scores: np.ndarray, grades: np.ndarray) -> Callable[[], Figures]:
    import ranx

    ids = np.array([f"d{i:04d}" for i in range(scores.shape[1])])
    names = [f"q{i:07d}" for i in range(len(scores))]
    judged = [grade > 0 for grade in grades]
    qrels = ranx.Qrels.from_dict(
        {
            q: dict(zip(ids[j].tolist(), g[j].tolist(), strict=True))
            for q, j, g in zip(names, judged, grades.astype(int), strict=True)
        }
    )
    run = ranx.Run.from_dict(
        {q: dict(zip(ids.tolist(), s.tolist(), strict=True)) for q, s in zip(names, scores, strict=True)}
    )
    wanted = ["hit_rate@1-l2", "hit_rate@10-l2", "recall@10-l2", "precision@10-l2", "map-l2", "ndcg@10", "mrr-l2"]

    def measure() -> Figures:
        found = ranx.evaluate(qrels, run, wanted, make_comparable=False)
        return {name.removesuffix("-l2"): float(value) for name, value in found.items()}

    return measure


def torchmetrics_figures(scores: np.ndarray, grades: np.ndarray) -> Figures:
    import torch
    from torchmetrics import retrieval as tm

    q, n = scores.shape
    options = {"empty_target_action": "skip"}
    binary = {
        "hit_rate@1": tm.RetrievalHitRate(top_k=1, **options),
        "hit_rate@10": tm.RetrievalHitRate(top_k=10, **options),
        "recall@10": tm.RetrievalRecall(top_k=10, **options),
        "precision@10": tm.RetrievalPrecision(top_k=10, **options),
        "map": tm.RetrievalMAP(**options),
        "mrr": tm.RetrievalMRR(**options),
    }
    indexes = torch.arange(q).repeat_interleave(n)
    predictions = torch.from_numpy(scores).flatten()
    relevant = torch.from_numpy(grades >= 2).flatten()
    figures = {name: float(metric(predictions, relevant, indexes=indexes)) for name, metric in binary.items()}
    gain = tm.RetrievalNormalizedDCG(top_k=10, **options)
    figures["ndcg@10"] = float(gain(predictions, torch.from_numpy(grades.astype(np.int64)).flatten(), indexes=indexes))
    return figures


def timed(work: Callable[[], Figures], repeats: int) -> tuple[Figures, float]:
    """Return the figures and the shortest of several runs, in seconds."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        figures = work()
        seconds.append(time.perf_counter() - start)
    return figures, min(seconds)


def check(name: str, theirs: Figures, expected: Figures) -> None:
    for metric, value in expected.items():
        if abs(theirs[metric] - value) > 1e-5:
            raise SystemExit(f"{name} gives {theirs[metric]:.6f} for {metric}, ours {value:.6f}: the figures differ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=100_000)
    parser.add_argument("--candidates", type=int, default=100, help="ranked images per query")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    scores, grades = draw(arguments.queries, arguments.candidates)
    print(
        f"{arguments.queries:,} queries × {arguments.candidates} candidates, {os.cpu_count()} cores, {platform.machine()}"
    )

    expected, our_seconds = timed(lambda: ours(scores, grades), arguments.repeats)
    rows = [("components.shared.truth.metrics", our_seconds, "from scores, sorting included")]
    sample = min(RANX_SAMPLE, arguments.queries)
    try:
        measure = prepare_ranx(scores[:sample], grades[:sample])
    except ImportError:
        rows.append(("ranx", float("nan"), "not installed: pip install -r benchmarks/requirements.lock"))
    else:
        measure()  # numba compiles on the first call
        theirs, seconds = timed(measure, arguments.repeats)
        check("ranx", theirs, ours(scores[:sample], grades[:sample]))
        remark = f"sorting and compilation left out; measured on {sample:,} queries, scaled up"
        rows.append(("ranx", seconds * arguments.queries / sample, remark))
    sample = min(TORCH_SAMPLE, arguments.queries)
    theirs, seconds = timed(lambda: torchmetrics_figures(scores[:sample], grades[:sample]), 1)
    check("torchmetrics", theirs, ours(scores[:sample], grades[:sample]))
    remark = f"measured on {sample:,} queries, scaled up"
    rows.append(("torchmetrics", seconds * arguments.queries / sample, remark))

    for metric, value in expected.items():
        print(f"  {metric:14s} {value:.6f}")
    print("the figures agree to 1e-5")
    for name, seconds, remark in rows:
        print(f"{name:28s} {seconds:9.3f} s  {seconds / our_seconds:8.1f} × ours   {remark}")


if __name__ == "__main__":
    main()
