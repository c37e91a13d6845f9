"""The part of the evaluation that a release keeps: headline figures with intervals, and the gate's checks.

Nothing in here depends on the champion at that time. A rerun after the release itself has become champion must end in
the same manifest, and so in the same release_id.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from components.shared.errors import ContractError, DataError
from components.shared.files.layout import GATE_FILE, METRICS_FILE

_CHAMPION = "champion"
_DECIMALS = 6  # the last bits depend on other values in the same computation


def read_metrics(evaluation: Path) -> dict[str, Any]:
    """Return the headline figures of `metrics.json`, flat: name → number, with "<name>_low" and "<name>_high".

    The trained encoder's metrics keep their names, those of other rankers get a prefix ("untrained_map"). "score_floors"
    is copied whole, with its method: serving reads it from the release.

    Raises:
        ContractError: the file is missing or was not written by the evaluation step.
    """
    content = _read(evaluation / METRICS_FILE)
    try:
        flat = {name: value for name, value in content["flat"].items() if not name.startswith(_CHAMPION)}
        intervals = dict(content["rankers"]["trained"])
        intervals["ann_recall_at_10"] = content["index"]["ann_recall_at_10"]
        for name, interval in intervals.items():
            flat |= {f"{name}_low": interval["low"], f"{name}_high": interval["high"]}
        flat["queries"] = content["protocol"]["queries"]
    except (KeyError, TypeError, AttributeError) as error:
        raise ContractError(
            f"{evaluation / METRICS_FILE} lacks {error}; it is not of this version: run the evaluation step again"
        ) from error
    figures: dict[str, Any] = {
        name: value if isinstance(value, int) else round(value, _DECIMALS)
        for name, value in sorted(flat.items())
        if isinstance(value, int | float) and math.isfinite(value)
    }
    if "score_floors" in content:
        figures["score_floors"] = content["score_floors"]
    return figures


def read_gate(evaluation: Path) -> dict[str, Any]:
    """Return the gate's verdict, or raise if it is negative.

    Raises:
        DataError: the gate did not pass; the message gives its reasons.
        ContractError: `gate.json` is missing or was not written by the evaluation step.
    """
    content = _read(evaluation / GATE_FILE)
    try:
        passed, reasons = content["passed"], [str(reason) for reason in content["reasons"]]
        checks = [
            {key: check[key] for key in ("name", "value", "threshold", "passed")}
            for check in content["checks"]
            if _CHAMPION not in check["name"]
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise ContractError(
            f"{evaluation / GATE_FILE} lacks {error}; it is not of this version: run the evaluation step again"
        ) from error
    if passed is not True:
        raise DataError(
            f"the quality gate rejected this release, so nothing was registered: {' '.join(reasons) or 'no reason given'}"
        )
    return {"passed": True, "checks": checks}


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ContractError(f"{path} cannot be read ({error}); run the evaluation step again") from error
