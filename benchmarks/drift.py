"""Drift: how often its tests alarm at nothing, what they find, whether the diagnosis is right, and what a run costs.

    python benchmarks/drift.py --rendered RELEASE --photographs RELEASE [--windows 1000] [--repeats 20] [--parts null,power,cost]

The releases' own pictures are the material (paths as in their items.parquet), each one the "other encoder" of the other.

- null: windows without drift, from a mixture of 40 clusters on the sphere, at sizes 300, 1,000 and 3,000, beside Evidently's
  methods at their default thresholds on the same windows.
- power: windows of 1,000 queries of real pictures through the real encoder. Every picture, of reference and window alike, is
  encoded anew as JPEG of quality 90 first, so that the fault is the only difference. Evidently's domain classifier beside ours.
- cost: one run on 50,000 × 512 beside Evidently's stock preset, each in a process of its own on one thread.
"""
# ruff: noqa: E402  # threads are set before the libraries are loaded

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("DO_NOT_TRACK", "1")

import cv2
import faiss
import numpy as np
import simplejpeg

from components.shared.decoder import decode_image, decode_picture, decoding_side
from components.shared.embeddings import normalise
from components.shared.encoder import OnnxEncoder
from components.shared.picture_statistics import picture_statistics
from components.shared.preprocessing import preprocess
from components.shared.release import ITEMS_FILE, read_manifest
from components.shared.tables import ITEMS, read_table
from monitoring.diagnosis.decision import diagnose
from monitoring.diagnosis.golden import golden_vectors
from monitoring.diagnosis.parameters import DiagnosisParameters
from monitoring.drift.comparison import EMBEDDING_TESTS, compare
from monitoring.drift.concerns import drift_concerns
from monitoring.drift.parameters import DriftParameters
from monitoring.drift.samples import FIGURES, Inputs, Sample
from monitoring.findings import worst_state

SIZES = (300, 1_000, 3_000)
WINDOW = 1_000
KINDS = ("none", "blur", "darker", "jpeg", "noise", "turned 15°", "turned 90°")
CAUSES = {
    "blur": "pictures_changed", "darker": "pictures_changed", "jpeg": "pictures_changed", "noise": "pictures_changed",
    "turned 15°": "pictures_changed", "turned 90°": "pictures_changed", "other encoder": "preprocessing_differs",
    "new category 5 %": "new_items", "mix 30 %": "mix_changed",
}  # fmt: skip


def sample(vectors: np.ndarray, inputs: Inputs | None = None) -> Sample:
    return Sample("s-benchmark", tuple(map(str, range(len(vectors)))), vectors, inputs)


def world(seed: int) -> Callable[[int, np.random.Generator], np.ndarray]:
    rng = np.random.default_rng(seed)
    centres, shares = normalise(rng.normal(size=(40, 128))), rng.dirichlet(np.full(40, 3.0))
    return lambda n, own: normalise(centres[own.choice(40, n, p=shares)] + own.normal(0, 0.06, (n, 128)))


def evidently_methods() -> dict[str, Callable[[np.ndarray, np.ndarray], bool]]:
    import pandas as pd
    from evidently.legacy.metrics.data_drift import embedding_drift_methods as methods

    def caller(method) -> Callable[[np.ndarray, np.ndarray], bool]:
        return lambda reference, window: bool(method(pd.DataFrame(window), pd.DataFrame(reference))[1])

    return {
        "model, 0.55": caller(methods.model()),
        "model, bootstrap": caller(methods.model(bootstrap=True)),
        "euclidean, 0.2": caller(methods.distance(dist="euclidean")),
        "cosine, 0.2": caller(methods.distance(dist="cosine")),
        "ratio wasserstein": caller(methods.ratio()),
        "ratio ks": caller(methods.ratio(component_stattest="ks")),
    }


def null_windows(windows: int, theirs: int) -> None:
    draw, methods = world(5), evidently_methods()
    print(f"\nAlarms without drift: {windows} windows each ({theirs} for Evidently), reference 3,000 × 128\n")
    print(
        "| window | all of ours | " + " | ".join([*EMBEDDING_TESTS, *(f"Evidently {name}" for name in methods)]) + " |"
    )
    for size in SIZES:
        alarms: Counter[str] = Counter()
        for window in range(windows):
            own = np.random.default_rng([size, window])
            reference, current = draw(3_000, own), draw(size, own)
            found = compare(sample(reference), sample(current), DriftParameters(seed=window))
            assert found is not None
            flags = {tested.outcome.name: tested.adjusted <= 0.01 for tested in found.embeddings}
            alarms["ours"] += any(flags.values())
            alarms.update(name for name, flag in flags.items() if flag)
            if window < theirs:
                alarms.update(name for name, method in methods.items() if method(reference, current))
        ours = [f"{alarms[name] / windows:.2%}" for name in ("ours", *EMBEDDING_TESTS)]
        print(
            f"| {size} | " + " | ".join([*ours, *(f"{alarms[name] / theirs:.1%}" for name in methods)]) + " |",
            flush=True,
        )


class Pictures:
    """Every picture of a release as each kind of fault makes it: vectors and input statistics."""

    def __init__(self, release: Path, other: Path, most: int) -> None:
        self.release, self.manifest = release, read_manifest(release)
        self.encoder = OnnxEncoder(release / "encoder.onnx", threads=1)
        self.other = OnnxEncoder(other / "encoder.onnx", threads=1)
        items = read_table(release / ITEMS_FILE, ITEMS).select(["uri", "category"]).to_pylist()
        rng = np.random.default_rng(0)
        items = [items[row] for row in np.sort(rng.permutation(len(items))[:most])]
        self.category = np.array([item["category"] for item in items])
        squares: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
        facts: dict[str, list[list[float]]] = {kind: [] for kind in KINDS}
        self.vectors: dict[str, np.ndarray] = {}
        for item in items:
            picture = decode_image(Path(item["uri"]).read_bytes())
            for kind in KINDS:
                square, fact = self._sent(picture, kind, rng)
                squares[kind].append(square)
                facts[kind].append(fact)
        for kind in KINDS:
            self.vectors[kind] = self._embed(self.encoder, squares[kind])
        self.vectors["other encoder"] = self._embed(self.other, squares["none"])
        self.facts = {kind: np.array(values) for kind, values in facts.items()}
        self.facts["other encoder"] = self.facts["none"]

    def _sent(self, picture: np.ndarray, kind: str, rng: np.random.Generator) -> tuple[np.ndarray, list[float]]:
        changed = np.ascontiguousarray(faulty(picture, kind, rng))
        data = simplejpeg.encode_jpeg(changed, quality=30 if kind == "jpeg" else 90)
        preprocessing = self.manifest.encoder.preprocessing
        found = decode_picture(data, minimum_side=decoding_side(preprocessing))
        seen = picture_statistics(found.pixels)
        pixels = found.width * found.height
        fact = [seen.brightness, seen.contrast, seen.sharpness, seen.saturation]
        return preprocess(found.pixels, preprocessing), [*fact, pixels, found.width / found.height, len(data) / pixels]

    @staticmethod
    def _embed(encoder: OnnxEncoder, squares: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([encoder.encode(np.stack(squares[at : at + 64])) for at in range(0, len(squares), 64)])

    def _of(self, *parts: tuple[str, np.ndarray]) -> Sample:
        vectors = np.concatenate([self.vectors[kind][rows] for kind, rows in parts])
        facts = np.concatenate([self.facts[kind][rows] for kind, rows in parts])
        figures = {name: facts[:, place] for place, name in enumerate(FIGURES)}
        return sample(vectors, Inputs(figures, np.full(len(vectors), "jpeg")))

    def draw(self, kind: str, rng: np.random.Generator) -> tuple[Sample, Sample]:
        """Return a reference and a window that share no picture."""
        rows = rng.permutation(len(self.category))
        new: np.ndarray = rows[:0]
        if kind == "new category 5 %":
            inside = self.category == rng.choice(np.unique(self.category))
            new, rows = rng.permutation(np.flatnonzero(inside))[: WINDOW // 20], rows[~inside[rows]]
        elif kind == "mix 30 %":
            few = rng.choice(np.unique(self.category), 2, replace=False)
            new = rng.permutation(np.flatnonzero(np.isin(self.category, few)))[: 3 * WINDOW // 10]
            rows = rows[~np.isin(rows, new)]
        old = WINDOW - len(new)
        as_sent = kind if kind in self.vectors else "none"
        return self._of(("none", rows[old:][:3_000])), self._of((as_sent, rows[:old]), (as_sent, new))


def faulty(picture: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    height, width = picture.shape[:2]
    if kind == "blur":
        return cv2.GaussianBlur(picture, (0, 0), min(height, width) / 224)
    if kind == "darker":
        return (picture * 0.7).astype(np.uint8)
    if kind == "noise":
        return np.clip(picture + rng.normal(0, 0.05 * 255, picture.shape), 0, 255).astype(np.uint8)
    if kind == "turned 15°":
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), 15, 1)
        return cv2.warpAffine(picture, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return np.rot90(picture) if kind == "turned 90°" else picture


def power(title: str, pictures: Pictures, repeats: int) -> None:
    model = evidently_methods()["model, 0.55"]
    golden = {
        who: golden_vectors(pictures.release, pictures.manifest, encoder, DiagnosisParameters())
        for who, encoder in (("own", pictures.encoder), ("other", pictures.other))
    }
    print(f"\n{title}: {len(pictures.category)} pictures, window {WINDOW}, {repeats} repeats; share detected\n")
    names = [*EMBEDDING_TESTS, "inputs", "any", "right cause", "Evidently model, 0.55"]
    print(f"| fault | {' | '.join(names)} | causes |")
    right = detected = 0
    for kind in ("none", *CAUSES):
        found: Counter[str] = Counter()
        causes: Counter[str] = Counter()
        for repeat in range(repeats):
            reference, window = pictures.draw(kind, np.random.default_rng([7, repeat]))
            parameters = DriftParameters(seed=repeat)
            comparison = compare(reference, window, parameters)
            assert comparison is not None
            found.update(tested.outcome.name for tested in comparison.embeddings if tested.state == "alarm")
            found["inputs"] += any(tested.state == "alarm" for tested in comparison.inputs)
            concerns = list(drift_concerns(comparison, WINDOW, parameters))
            if worst_state(concerns) == "alarm":
                found["any"] += 1
                concerns.append(golden["other" if kind == "other encoder" else "own"])
                named = diagnose(concerns, comparison, drift=parameters)
                causes.update(diagnosis.cause for diagnosis in named)
                found["right"] += [diagnosis.cause for diagnosis in named] == [CAUSES.get(kind)]
            found["evidently"] += model(reference.vectors, window.vectors)
        right, detected = right + found["right"], detected + found["any"] * (kind in CAUSES)
        shares = [f"{found[name] / repeats:.2f}" for name in (*EMBEDDING_TESTS, "inputs", "any")]
        cause = f"{found['right'] / found['any']:.2f}" if found["any"] and kind in CAUSES else "–"
        told = ", ".join(f"{name} {count}" for name, count in causes.most_common())
        print(f"| {kind} | {' | '.join(shares)} | {cause} | {found['evidently'] / repeats:.2f} | {told} |", flush=True)
    print(f"\nright cause in {right} of {detected} that were detected ({right / max(detected, 1):.1%})", flush=True)


def cost_of_ours(rows: int, dimension: int) -> None:
    rng = np.random.default_rng(0)
    reference, window = (normalise(rng.normal(size=(rows, dimension)).astype(np.float32)) for _ in range(2))
    window[:, 0] += 0.02  # drift: every permutation is needed
    window = normalise(window)
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = compare(sample(reference), sample(window), DriftParameters())
    assert found is not None
    _tell_cost(start, before)


def cost_of_evidently(rows: int, dimension: int) -> None:
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics.embeddings import EmbeddingsDrift

    rng = np.random.default_rng(0)
    columns = [f"e{place}" for place in range(dimension)]
    frames = [pd.DataFrame(rng.normal(size=(rows, dimension)).astype(np.float32), columns=columns) for _ in range(2)]
    definition = DataDefinition(numerical_columns=[], categorical_columns=[], embeddings={"query": columns})
    sets = [Dataset.from_pandas(frame, definition) for frame in frames]
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    Report([EmbeddingsDrift(embeddings_name="query")]).run(*sets)
    _tell_cost(start, before)


def _tell_cost(start: float, before: int) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"cpu": time.process_time() - start, "peak_mb": peak / 1024, "before_mb": before / 1024}))


def cost(rows: int, dimension: int) -> None:
    print(
        f"\nCost of a run on {rows} × {dimension} (window and reference)\n\n| | CPU seconds | peak MB | of it the data |"
    )
    for who in ("ours", "evidently"):
        command = [sys.executable, __file__, "--cost-of", who, "--rows", str(rows), "--dimension", str(dimension)]
        told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        print(f"| {who} | {told['cpu']:.1f} | {told['peak_mb']:.0f} | {told['before_mb']:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rendered", type=Path, help="a release of rendered pictures")
    parser.add_argument("--photographs", type=Path, help="a release of photographs")
    parser.add_argument("--parts", default="null,power,cost")
    parser.add_argument("--windows", type=int, default=1_000, help="windows without drift, of each size")
    parser.add_argument("--their-windows", type=int, default=100, help="of them also shown to Evidently")
    parser.add_argument("--repeats", type=int, default=20, help="windows of each fault")
    parser.add_argument("--pictures", type=int, default=4_000, help="of each release, at most")
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--cost-of", choices=("ours", "evidently"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    faiss.omp_set_num_threads(1)
    if arguments.cost_of:
        run = cost_of_ours if arguments.cost_of == "ours" else cost_of_evidently
        run(arguments.rows, arguments.dimension)
        return
    parts = arguments.parts.split(",")
    print(f"{platform.machine()}, {os.cpu_count()} cores, one thread; {time.strftime('%Y-%m-%d')}")
    if "cost" in parts:
        cost(arguments.rows, arguments.dimension)
    if "power" in parts:
        if arguments.rendered is None or arguments.photographs is None:
            parser.error("power needs --rendered and --photographs")
        for title, own, other in (
            ("Rendered pictures", arguments.rendered, arguments.photographs),
            ("Photographs", arguments.photographs, arguments.rendered),
        ):
            power(title, Pictures(own, other, arguments.pictures), arguments.repeats)
    if "null" in parts:
        null_windows(arguments.windows, arguments.their_windows)


if __name__ == "__main__":
    main()
