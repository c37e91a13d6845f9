"""Share of each fault that is detected, and how often the diagnosis names its cause."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from faults import MIX, NEW_CATEGORY, OTHER_ENCODER, WINDOW, Pictures
from kept import Kept
from partners import evidently_methods

from monitoring.diagnosis.decision import diagnose
from monitoring.diagnosis.golden import golden_vectors
from monitoring.diagnosis.parameters import DiagnosisParameters
from monitoring.drift.comparison import EMBEDDING_TESTS, compare
from monitoring.drift.concerns import drift_concerns
from monitoring.drift.parameters import DriftParameters
from monitoring.findings import Concern, worst_state

CAUSES = {
    "blur": "pictures_changed", "darker": "pictures_changed", "jpeg": "pictures_changed", "noise": "pictures_changed",
    "turned 15°": "pictures_changed", "turned 90°": "pictures_changed", OTHER_ENCODER: "preprocessing_differs",
    NEW_CATEGORY: "new_items", MIX: "mix_changed",
}  # fmt: skip
_PARTNER = "model, 0.55"  # Evidently's default
_COLUMNS = (*EMBEDDING_TESTS, "inputs", "any", "evidently")


def power(kept: Kept, rendered: Path, photographs: Path, *, repeats: int, most: int) -> None:
    for title, own, other in (("Rendered", rendered, photographs), ("Photographs", photographs, rendered)):
        pictures = Pictures(own, other, most, kept.folder)
        print(f"\n{title}: {len(pictures.category)} pictures, window {WINDOW}; share detected\n")
        print(f"| fault | windows | {' | '.join([*_COLUMNS[:-1], 'right cause', f'Evidently {_PARTNER}'])} | causes |")
        right = detected = 0
        golden = _golden(pictures)
        for kind in ("none", *CAUSES):

            def look(repeat: int, pictures: Pictures = pictures, kind: str = kind, golden: Any = golden) -> Any:
                return _look(pictures, kind, golden[kind == OTHER_ENCODER], repeat)

            results = kept.results(f"power-{title}-{kind}".lower(), repeats, look)
            _print_row(kind, results)
            if kind in CAUSES:
                detected += sum(result["any"] for result in results)
                right += sum(_right(kind, result) for result in results)
        print(f"\nright cause in {right} of {detected} detected faults ({right / max(detected, 1):.1%})", flush=True)


def _golden(pictures: Pictures) -> tuple[Concern, Concern]:
    """Return the verdict of the golden pictures on the release's own encoder, and on the other."""
    own, other = (
        golden_vectors(pictures.release, pictures.manifest, encoder, DiagnosisParameters())
        for encoder in (pictures.encoder, pictures.other)
    )
    return own, other


def _look(pictures: Pictures, kind: str, golden: Concern, repeat: int) -> dict[str, Any]:
    reference, window = pictures.draw(kind, np.random.default_rng([7, repeat]))
    parameters = DriftParameters(seed=repeat)
    comparison = compare(reference, window, parameters)
    if comparison is None:
        raise SystemExit(f"{pictures.release} has too few pictures for a window of {WINDOW}")
    found: dict[str, Any] = {tested.outcome.name: tested.state == "alarm" for tested in comparison.embeddings}
    found["inputs"] = any(tested.state == "alarm" for tested in comparison.inputs)
    concerns = list(drift_concerns(comparison, WINDOW, parameters))
    found["any"] = worst_state(concerns) == "alarm"
    named = diagnose([*concerns, golden], comparison, drift=parameters) if found["any"] else ()
    found["causes"] = [diagnosis.cause for diagnosis in named]
    found["evidently"] = evidently_methods()[_PARTNER](reference.vectors, window.vectors)
    return found


def _right(kind: str, result: dict[str, Any]) -> bool:
    return bool(result["any"] and result["causes"] == [CAUSES.get(kind)])


def _print_row(kind: str, results: list[dict[str, Any]]) -> None:
    if not results:
        return
    *ours, theirs = (f"{np.mean([result[name] for result in results]):.2f}" for name in _COLUMNS)
    detected = sum(result["any"] for result in results)
    right = sum(_right(kind, result) for result in results)
    cause = f"{right / detected:.2f}" if detected and kind in CAUSES else "–"
    causes = Counter("+".join(result["causes"]) for result in results if result["any"])
    told = ", ".join(f"{name} {count}" for name, count in causes.most_common())
    print(f"| {kind} | {len(results)} | {' | '.join(ours)} | {cause} | {theirs} | {told} |", flush=True)
