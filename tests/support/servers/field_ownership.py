"""Server-side apply of custom resources: who owns which field, what conflicts, what an apply removes.

A model of Kubernetes' field manager, as far as InferenceService, ServingRuntime and HTTPRoute need it. Lists are atomic: whoever
writes one element owns the whole, except those that their schema merges by keys. tests/manifests/test_field_ownership.py
compares it with Kubernetes' own field manager.

Source: sigs.k8s.io/structured-merge-diff, merge/update.go; the CRDs of KServe 0.20 and Gateway API 1.4.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from support.servers.api_server import apply_json_patch

Json = dict[str, Any]
Path = tuple[str, ...]
_KEYED = {"topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable")}  # lists that merge, and by what
_ATOMIC = ("nodeSelector", "labelSelector")  # maps that do not
_IDENTITY = ("apiVersion", "kind", "status")
_ANYONES = ("name", "namespace", "generation")  # of metadata


class ConflictError(Exception):
    """An apply that Kubernetes refuses: other managers own fields that it would change."""

    def __init__(self, conflicts: dict[str, set[Path]]) -> None:
        self.conflicts = conflicts
        super().__init__(
            "; ".join(f"{name}: {'.'.join(path)}" for name, paths in conflicts.items() for path in sorted(paths))
        )


class FieldOwnership:
    """Keeps objects of a namespace and the managers of their fields.

    Attributes:
        live: "kind/name" → object.
        owners: "kind/name" → "manager/operation" → paths.
    """

    def __init__(self) -> None:
        self.live: dict[str, Json] = {}
        self.owners: dict[str, dict[str, set[Path]]] = {}

    def apply(self, documents: list[Json], manager: str = "kubectl", *, force: bool = False) -> None:
        """Apply each object as `kubectl apply --server-side` does: one after the other, each whole or not at all.

        Raises:
            ConflictError: of one or more objects; the others are applied.
        """
        conflicts: dict[str, set[Path]] = {}
        for document in documents:
            for owner, paths in self._apply(document, f"{manager}/Apply", force).items():
                conflicts.setdefault(owner, set()).update(paths)
        if conflicts:
            raise ConflictError(conflicts)

    def patch(self, key: str, operations: list[Json], manager: str) -> None:
        """Send a JSON patch; it takes the fields that it changes."""
        self.update(apply_json_patch(self.live[key], operations), manager)

    def update(self, new: Json, manager: str) -> None:
        """Put an object; it takes the fields that it changes."""
        key = _key(new)
        changed, removed = _compare(self.live.get(key, {}), new)
        owners = self.owners.setdefault(key, {})
        for paths in owners.values():
            paths -= changed | removed
        owners[f"{manager}/Update"] = owners.get(f"{manager}/Update", set()) | changed
        self._keep(key, new, owners)

    def _apply(self, document: Json, manager: str, force: bool) -> dict[str, set[Path]]:
        key = _key(document)
        live, owners = self.live.get(key, {}), self.owners.get(key, {})
        new = copy.deepcopy(live)
        wanted = leaves(document)
        for name in ("apiVersion", "kind"):
            new[name] = document[name]
        for name in ("name", "namespace"):
            if name in document["metadata"]:
                new.setdefault("metadata", {})[name] = document["metadata"][name]
        for path, value in wanted.items():
            _set(new, path, value)
        others = {name: paths for name, paths in owners.items() if name != manager}
        for path in sorted(owners.get(manager, set()) - set(wanted), key=len):  # an element before its fields
            if not any(path in paths for paths in others.values()):
                _remove(new, path)
        changed, removed = _compare(live, new)
        conflicts = {name: paths & changed for name, paths in others.items() if paths & changed}
        if conflicts and not force:
            return conflicts
        kept = {name: paths - changed - removed for name, paths in others.items()}
        self._keep(key, new, {**kept, manager: set(wanted)})
        return {}

    def _keep(self, key: str, new: Json, owners: dict[str, set[Path]]) -> None:
        self.live[key] = new
        self.owners[key] = {name: paths for name, paths in owners.items() if paths}


def leaves(document: Json) -> dict[Path, Any]:
    """Return the fields that somebody can own, with their values: scalars, atomic lists and maps, keyed elements, empty maps."""
    found: dict[Path, Any] = {}
    for name, value in document.items():
        if name == "metadata":
            value = {key: each for key, each in value.items() if key not in _ANYONES}
            if not value:
                continue
        if name not in _IDENTITY:
            _collect(value, (name,), found)
    return found


def _collect(value: Any, path: Path, found: dict[Path, Any]) -> None:
    if isinstance(value, dict) and value and path[-1] not in _ATOMIC:
        for name, each in value.items():
            _collect(each, (*path, name), found)
    elif isinstance(value, list) and value and path[-1] in _KEYED:
        for each in value:
            found[(*path, _element(path[-1], each))] = {name: each[name] for name in _KEYED[path[-1]]}
            _collect(each, (*path, _element(path[-1], each)), found)
    else:
        found[path] = value


def _element(name: str, value: Json) -> str:
    return json.dumps({key: value[key] for key in _KEYED[name]}, sort_keys=True, separators=(",", ":"))


def _set(document: Json, path: Path, value: Any) -> None:
    place: Any = document
    for before, name in zip(("", *path), path[:-1], strict=False):
        place = _step(place, before, name)
    before = path[-2] if len(path) > 1 else ""
    if before in _KEYED:
        _step(place, before, path[-1])  # makes the element
    elif value != {} or not isinstance(place.get(path[-1]), dict):  # an empty map joins what is there
        place[path[-1]] = copy.deepcopy(value)


def _step(place: Any, before: str, name: str) -> Any:
    if before in _KEYED:
        found = next((each for each in place if _element(before, each) == name), None)
        if found is None:
            found = json.loads(name)
            place.append(found)
        return found
    return place.setdefault(name, [] if name in _KEYED else {})


def _remove(place: Any, path: Path, before: str = "") -> None:
    """Remove a field, and the maps and lists around it that become empty by that."""
    if isinstance(place, list):
        for each in [each for each in place if _element(before, each) == path[0]]:
            if len(path) > 1:
                _remove(each, path[1:], path[0])
            if len(path) == 1 or not each:
                place.remove(each)
    elif path[0] in place:
        if len(path) > 1:
            _remove(place[path[0]], path[1:], path[0])
        if len(path) == 1 or place[path[0]] in ({}, []):
            del place[path[0]]


def _compare(old: Json, new: Json) -> tuple[set[Path], set[Path]]:
    before, after = leaves(old), leaves(new)
    return {path for path, value in after.items() if path not in before or before[path] != value}, set(before) - set(
        after
    )


def _key(document: Json) -> str:
    return f"{document['kind'].lower()}/{document['metadata']['name']}"
