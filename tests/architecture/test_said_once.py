"""What several parts need is said once: file names, class names, and nothing in `shared` that only one part uses."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import components

ROOT = Path(components.__file__).parents[1]
PARTS = ("components", "pipelines", "serving", "monitoring", "manifests")
FILE_NAME = re.compile(r"[\w-]+(\.[\w-]+)*\.(parquet|json|onnx|faiss|f16|html)")


@cache
def modules() -> dict[str, ast.Module]:
    """Return every module of the product by its full name."""
    found = {}
    for path in sorted(path for part in PARTS for path in (ROOT / part).rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found[name] = ast.parse(path.read_bytes())
    return found


@cache
def imports_of(module: str) -> frozenset[str]:
    """Return the modules of the product that a module imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(modules()[module]):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return frozenset(names & modules().keys())


def package_of(module: str) -> str:
    """Return the step, or the top-level folder, that a module belongs to."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "components" else parts[0]


def users_of(module: str) -> set[str]:
    """Return the packages outside `shared` that use a module of it, also by way of its other modules."""
    packages, waiting, seen = set(), [module], set()
    while waiting:
        wanted = waiting.pop()
        for user in modules():
            if user in seen or wanted not in imports_of(user):
                continue
            seen.add(user)
            if user.startswith("components.shared"):
                waiting.append(user)
            else:
                packages.add(package_of(user))
    return packages


def test_every_shared_module_has_users_in_two_packages() -> None:
    shared = [name for name in modules() if name.startswith("components.shared.") and modules()[name].body]
    lonely = {name: users for name in shared if len(users := users_of(name)) < 2 and not is_package(name)}
    assert not lonely, f"move these to the one package that uses them: {lonely}"


def is_package(module: str) -> bool:
    return (ROOT / module.replace(".", "/")).is_dir()


def test_the_name_of_a_file_stands_in_one_module() -> None:
    places = defaultdict(set)
    for module, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and FILE_NAME.fullmatch(node.value):
                places[node.value].add(module)
    twice = {name: sorted(users) for name, users in places.items() if len(users) > 1}
    assert not twice, f"name these once, in components/shared/files/layout.py or beside their format: {twice}"


def test_public_class_names_are_unique() -> None:
    places = defaultdict(list)
    for module, tree in modules().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(module)
    twice = {name: users for name, users in places.items() if len(users) > 1}
    assert not twice, f"one class name, one meaning; rename all but one: {twice}"
