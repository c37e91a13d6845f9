"""No function, class or method of the product is unreachable from the product, its examples and its benchmarks."""

from __future__ import annotations

from pathlib import Path

from vulture import Vulture

ROOT = Path(__file__).parents[2]
PRODUCT = ("components", "pipelines", "serving", "monitoring", "manifests")
CALLED_BY_OTHERS = {
    "_check_input_dim": "torch's batch normalisation",
    "set_user_namespace": "kfp.Client",
    "get_next": "ONNX Runtime's calibration",
    "_default_tests_with_reference": "Evidently",
    "_DriftPValueCalculation": "Evidently, by its metric's type",
    "_DriftEffectCalculation": "Evidently, by its metric's type",
    "calculate": "Evidently",
    "do_GET": "http.server",
    "do_HEAD": "http.server",
    "log_message": "http.server",
    "get_input_types": "kserve",
    "get_output_types": "kserve",
    "get_model": "kserve",
    "healthy": "kserve",
    "send_400_response": "uvicorn",
    "intercept_service": "gRPC",
}


def unreachable() -> dict[str, str]:
    """Return unused functions, classes and methods of the product by name, with their places."""
    finder = Vulture(ignore_decorators=["@*"])
    finder.scavenge([str(ROOT / folder) for folder in (*PRODUCT, "benchmarks", "examples")])
    product = tuple(str(ROOT / folder) for folder in PRODUCT)
    return {
        item.name: f"{item.filename}:{item.first_lineno}"
        for item in finder.get_unused_code(min_confidence=60)
        if item.typ in {"function", "class", "method"} and str(item.filename).startswith(product)
    }


def test_nothing_of_the_product_is_unreachable():
    found = unreachable()
    dead = {name: place for name, place in found.items() if name not in CALLED_BY_OTHERS}
    assert not dead, f"delete them, or say in CALLED_BY_OTHERS who calls them: {dead}"
    assert CALLED_BY_OTHERS.keys() <= found.keys(), "an exception is no longer needed; remove it"
