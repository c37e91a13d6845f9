"""The code that a result depends on, found by following imports, so that no other change costs finished work."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import re
from pathlib import Path

from components.shared.errors import ContractError
from components.shared.files.atomic import digest_of, sha256_of

_NAME = re.compile(r"[\w-]+(\.[\w-]+)+")


def code_digest(module: str, root: Path | None = None) -> str:
    """Return the digest of a module and of everything it imports, directly or not, from its own top-level package.

    Imports inside functions count too, and so do strings that name a module (started as a process) or a file beside the
    module (a template). Comments and layout do not count; docstrings do, since code can read them.

    Args:
        module: full name.
        root: folder of the top-level package; None: the installed package.

    Raises:
        ContractError: the module does not exist.
    """
    root = root or _root(module.partition(".")[0])
    digests: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        source = None if name in digests else _source(root, name)
        if source is None:
            continue
        digests[name], names = _parsed(source.read_bytes())
        waiting += [name.rpartition(".")[0], *(each for each in names if each.startswith(f"{root.name}."))]
        for each in names:
            if not each.endswith(".py") and (file := source.with_name(each)).is_file():
                digests[f"{name}/{each}"] = sha256_of(file)
    if module not in digests:
        raise ContractError(f"there is no module {module} below {root}, so its results have no key; install it")
    return digest_of(digests)


def _root(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    places = list(spec.submodule_search_locations or ()) if spec else []
    if not places:
        raise ContractError(f"the package {package} is not installed, so results have no key; install it")
    return Path(places[0])


def _source(root: Path, module: str) -> Path | None:
    """Return the file of a module or package; None if there is none, as for an imported class or function."""
    place = root.joinpath(*module.split(".")[1:])
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if module and path.is_file()), None)


@functools.lru_cache(maxsize=1000)
def _parsed(source: bytes) -> tuple[str, frozenset[str]]:
    """Return the digest of a module's meaning, and every dotted name in it that could be a module or a file."""
    tree = ast.parse(source)
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _NAME.fullmatch(node.value):
            names |= {node.value, f"{node.value}.__main__"}
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), frozenset(names)
