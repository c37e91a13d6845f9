"""Summary of a run on the terminal: the figures, the gate's decision, and next steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from components.shared.files.artifacts import ARTIFACT_FILE
from components.shared.files.layout import MANIFEST_FILE, METRICS_FILE
from pipelines.runs.local import RunResult, read_verdict

_SHOWN = ("hit_rate_at_1", "recall_at_10", "precision_at_10", "map", "ndcg_at_10")


def run_summary(result: RunResult) -> str:
    """Return the table of rankers and metrics, the decision with its reasons, the release and the report's path."""
    metrics = json.loads((result.evaluation / METRICS_FILE).read_text())
    verdict = read_verdict(result)
    lines = ["", _table(metrics["rankers"]), ""]
    if result.release is not None:
        manifest = json.loads((result.release / MANIFEST_FILE).read_text())
        lines.append(
            f"release  {manifest['release_id']}  (space {manifest['space_id']}, {manifest['catalogue']['images']} images)"
        )
    if not verdict["passed"]:
        lines.append(
            "the quality gate rejected this release; nothing was registered:"
            if result.release is None
            else "the gate warns:"
        )
        lines += [f"  – {reason}" for reason in verdict["reasons"]]
    lines += unusable_pictures(result.directory)
    lines.append(f"report   {_short(result.report)}")
    return "\n".join(lines)


def unusable_pictures(directory: Path) -> list[str]:
    """Return a line with the number of pictures that the run's catalogue could not use, by reason; none without any."""
    found = next(directory.glob(f"*/catalogue*/catalogue/{ARTIFACT_FILE}"), None)
    facts = json.loads(found.read_text())["summary"] if found else {}
    counts: dict[str, int] = facts.get("quarantined", {})
    lines = []
    if counts:
        reasons = ", ".join(
            f"{count} {reason.replace('_', ' ')}"
            for reason, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        )
        total = sum(counts.values())
        lines.append(f"pictures {total} could not be used: {reasons} (each with its reason in quarantine.parquet)")
    if facts.get("ignored_files"):
        lines.append(f"files    {facts['ignored_files']} without the name of a picture were passed over")
    return lines


def _table(rankers: dict[str, dict[str, dict[str, Any]]]) -> str:
    width = max(len(name) for name in rankers) + 2
    lines = [" " * width + "".join(f"{metric:>24}" for metric in _SHOWN)]
    for name, figures in rankers.items():
        cells = []
        for metric in _SHOWN:
            figure = figures.get(metric)
            cells.append(
                f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"
                if figure and figure["value"] is not None
                else "–"
            )
        lines.append(name.ljust(width) + "".join(f"{cell:>24}" for cell in cells))
    return "\n".join(lines)


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
