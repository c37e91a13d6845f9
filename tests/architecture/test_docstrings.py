"""The examples in docstrings run and print what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import components

ROOT = Path(components.__file__).parents[1]
PACKAGES = ("components", "pipelines", "serving", "monitoring", "manifests")
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if ">>> " in path.read_text()
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_a_module(name: str) -> None:
    found = doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name))
    examples = [example for each in found for example in each.examples]
    assert examples, f"{name} holds >>> outside of a docstring"
    results = doctest.testmod(importlib.import_module(name))
    assert results.failed == 0


def test_every_metric_has_an_example() -> None:
    metrics = importlib.import_module("components.shared.truth.metrics")
    found = {each.name.rpartition(".")[2] for each in doctest.DocTestFinder().find(metrics) if each.examples}
    public = {
        name
        for name, value in vars(metrics).items()
        if callable(value) and getattr(value, "__module__", "") == metrics.__name__
    }
    assert {name for name in public if not name.startswith("_") and name[0].islower()} <= found
