"""The order of the steps is said once, in three places that must agree."""

import re
from pathlib import Path

import components

ROOT = Path(components.__file__).parents[1]


def test_order_of_the_steps_is_the_same_everywhere() -> None:
    order = re.search(r"^(\w+(?: → \w+)+)$", components.__doc__ or "", re.M)[1].split(" → ")
    assert all((ROOT / "components" / step / "step.py").is_file() for step in order)
    text = (ROOT / "pipelines" / "graphs" / "training.py").read_text()
    calls = re.findall(r"^ +(?:\w+_task = )?(?:placed_)?(\w+)\(", text, re.M)
    assert [step for step in calls if step in order] == order
    assert " → ".join(order) in (ROOT / "README.md").read_text()


def test_pipelines_import_only_component_files_of_steps() -> None:
    for name in ("training", "reindexing", "demonstration"):
        text = (ROOT / "pipelines" / "graphs" / f"{name}.py").read_text()
        imported = re.findall(r"^from (components\.\w+\.\w+|components\.\w+)", text, re.M)
        assert imported
        assert all(module.endswith(".component") for module in imported)


def test_top_level_is_what_the_card_says() -> None:
    expected = {
        "pipelines",
        "components",
        "serving",
        "manifests",
        "monitoring",
        "tests",
        "benchmarks",
        "docs",
        "examples",
    }
    packages = {
        p.name for p in ROOT.iterdir() if p.is_dir() and not p.name.startswith(".") and not p.name.endswith(".egg-info")
    }
    assert packages <= expected | {"__pycache__", "build"}


def test_no_distribution_claims_our_package_names() -> None:
    from importlib.metadata import packages_distributions

    for name in ("components", "pipelines"):
        assert packages_distributions().get(name, ["visual-search"]) in (["visual-search"], [])
