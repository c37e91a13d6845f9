"""Versions below which a library is known to be dangerous: a server refuses to start with them."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version

from components.shared.errors import ResourceError

# Only what is installed is checked.
FLOORS = {
    "pillow": "13.0.0",  # CVE-2026-112403, heap overflow in the JPEG decoder
    "starlette": "1.3.1",  # PYSEC-2026-249, limits of forms ignored
    "h11": "0.16.0",  # CVE-2025-43859, chunks accepted that are none
    "onnx": "1.21.0",  # CVE-2026-34447, external data outside the model's folder
    "mlflow": "3.17.2",  # security fixes of 3.17
    "torch": "2.6.0",  # CVE-2025-32434, code execution in spite of weights_only
}


def check_versions(floors: dict[str, str] = FLOORS) -> None:
    """Compare what is installed with the floors.

    Raises:
        ResourceError: a library is below its floor.
    """
    for name, floor in floors.items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            continue
        if _numbers(installed) < _numbers(floor):
            raise ResourceError(
                f"{name} {installed} has known vulnerabilities; install {floor} or newer (requirements.lock names a good one)"
            )


def _numbers(text: str) -> tuple[int, ...]:
    numbers = [int(each) for each in re.match(r"(\d+(?:\.\d+)*)", text)[0].split(".")] if text[:1].isdigit() else [0]  # type: ignore[index]
    return tuple(numbers + [0] * (4 - len(numbers)))
