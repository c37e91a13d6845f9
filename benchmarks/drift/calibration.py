"""False alarms: alarms on windows without a change."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from kept import Kept
from partners import WINDOWS, evidently_methods

from components.shared.vectors.embeddings import normalise
from monitoring.drift.comparison import EMBEDDING_TESTS, compare
from monitoring.drift.parameters import DriftParameters
from monitoring.drift.samples import Sample

SIZES = (300, 1_000, 3_000)
_REFERENCE, _DIMENSION, _CLUSTERS = 3_000, 128, 40


def calibration(kept: Kept, sizes: Sequence[int], windows: int) -> None:
    draw, methods = world(5), evidently_methods()
    print(f"\nAlarms without drift: windows of each size, reference {_REFERENCE} × {_DIMENSION}\n")
    print(f"| window | windows | all of ours | {' | '.join(EMBEDDING_TESTS)} |")
    rows = []
    for size in sizes:

        def look(window: int, size: int = size) -> dict[str, bool]:
            own = np.random.default_rng([size, window])
            reference, current = draw(_REFERENCE, own), draw(size, own)
            found = compare(_sample(reference), _sample(current), DriftParameters(seed=window))
            if found is None:
                raise SystemExit(f"{size} queries are fewer than the smallest window")
            alarms = {tested.outcome.name: tested.adjusted <= 0.01 for tested in found.embeddings}
            theirs = {name: method(reference, current) for name, method in methods.items() if window < WINDOWS[name]}
            return {"ours": any(alarms.values()), **alarms, **theirs}

        results = kept.results(f"calibration-{size}", windows, look)
        shares = [_share(results, name)[0] for name in ("ours", *EMBEDDING_TESTS)]
        print(f"| {size} | {len(results)} | " + " | ".join(f"{share:.1%}" for share in shares) + " |", flush=True)
        rows.append((size, [_share(results, name) for name in methods]))
    print(f"\nEvidently on the same windows (how many)\n\n| window | {' | '.join(methods)} |")
    for size, found in rows:
        print(f"| {size} | " + " | ".join(f"{share:.1%} ({count})" for share, count in found) + " |", flush=True)


def world(seed: int) -> Callable[[int, np.random.Generator], np.ndarray]:
    """Return a function that draws n unit vectors from one fixed mixture."""
    rng = np.random.default_rng(seed)
    centres = normalise(rng.normal(size=(_CLUSTERS, _DIMENSION)))
    shares = rng.dirichlet(np.full(_CLUSTERS, 3.0))
    return lambda n, own: normalise(centres[own.choice(_CLUSTERS, n, p=shares)] + own.normal(0, 0.06, (n, _DIMENSION)))


def _sample(vectors: np.ndarray) -> Sample:
    return Sample("s-benchmark", tuple(map(str, range(len(vectors)))), vectors)


def _share(results: list[dict[str, bool]], name: str) -> tuple[float, int]:
    seen = [result[name] for result in results if name in result]
    return (float(np.mean(seen)) if seen else float("nan")), len(seen)
