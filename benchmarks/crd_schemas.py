"""Compare manifests/checks/schemas.yaml with the public CRDs: each of our fields must exist there, with the same type.

python benchmarks/crd_schemas.py CRD.yaml …      (files of CustomResourceDefinitions, as their projects publish them)
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from manifests.checks.schema import custom_schemas

_TYPES = {"string": "string", "bool": "boolean", "any": None}


def compare(ours: Any, theirs: dict[str, Any], path: str) -> Iterator[str]:
    """Yield fields of our schema that the CRD lacks or defines differently, and fields that the CRD requires and ours lacks."""
    if theirs.get("x-kubernetes-preserve-unknown-fields") and "properties" not in theirs:
        return
    if isinstance(ours, dict) and "*" not in ours:
        known = theirs.get("properties", {})
        for name, part in ours.items():
            field = name.rstrip("!")
            if field not in known:
                yield f"{path}.{field} is not in the CRD"
            else:
                yield from compare(part, known[field], f"{path}.{field}")
        demanded = set(theirs.get("required", [])) - {name[:-1] for name in ours if name.endswith("!")}
        for name in sorted(demanded & {name.rstrip("!") for name in ours}):
            yield f"{path}.{name} is required by the CRD"
    elif isinstance(ours, dict):
        if "additionalProperties" not in theirs:
            yield f"{path} is not a map in the CRD"
    elif isinstance(ours, list):
        if theirs.get("type") != "array":
            yield f"{path} is {theirs.get('type')} in the CRD, not a list"
        else:
            yield from compare(ours[0], theirs["items"], f"{path}[]")
    elif "|" in ours or not (ours in _TYPES or ours.startswith(("int", "V1"))):
        allowed = set(theirs.get("enum", []))
        if allowed and (odd := set(ours.split("|")) - allowed):
            yield f"{path} cannot be {', '.join(sorted(odd))} in the CRD"
    elif not ours.startswith("V1") and ours != "any":
        wanted = "integer" if ours.startswith("int") else _TYPES[ours]
        union = theirs.get("x-kubernetes-int-or-string")
        if not union and theirs.get("type") != wanted:
            yield f"{path} is {theirs.get('type')} in the CRD, not {wanted}"
        if ours.startswith("int "):
            low, high = map(int, ours[4:].split(".."))
            if low < theirs.get("minimum", low) or high > theirs.get("maximum", high):
                yield f"{path} is between {theirs.get('minimum')} and {theirs.get('maximum')} in the CRD"


def main(paths: list[str]) -> int:
    """Compare all schemas with the files."""
    definitions: dict[str, dict[str, Any]] = {}
    for path in paths:
        for document in yaml.load_all(Path(path).read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if document and document.get("kind") == "CustomResourceDefinition":
                spec = document["spec"]
                for version in spec["versions"]:
                    name = f"{spec['group']}/{version['name']} {spec['names']['kind']}"
                    definitions[name] = version["schema"]["openAPIV3Schema"]
    found = 0
    for name, ours in custom_schemas().items():
        if name not in definitions:
            print(f"{name}: not in these files")
            continue
        differences = list(compare(ours, definitions[name], name))
        found += len(differences)
        print("\n".join(differences) or f"{name}: agrees")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
