"""Strict schemas: Kubernetes' own kinds from the classes of its client, others from schemas.yaml. Unknown fields are faults."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from importlib import resources
from typing import Any

import yaml

from manifests.checks.findings import Finding, Json, name_of

BUILT_IN = frozenset({
    "v1 ConfigMap", "v1 Namespace", "v1 PersistentVolumeClaim", "v1 Secret", "v1 Service", "v1 ServiceAccount",
    "apps/v1 Deployment", "apps/v1 StatefulSet", "batch/v1 CronJob", "batch/v1 Job",
    "networking.k8s.io/v1 NetworkPolicy", "policy/v1 PodDisruptionBudget",
    "rbac.authorization.k8s.io/v1 ClusterRole", "rbac.authorization.k8s.io/v1 ClusterRoleBinding",
    "rbac.authorization.k8s.io/v1 Role", "rbac.authorization.k8s.io/v1 RoleBinding",
})  # fmt: skip
_PLAIN: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "string": (str,),
    "int": (int,),
    "bool": (bool,),
    "float": (int, float),
}
_WORDS = {str: "text", int: "a whole number", bool: "true or false", float: "a number", dict: "a map", list: "a list"}
_QUANTITIES = ("V1ResourceRequirements", "V1VolumeResourceRequirements")


@functools.cache
def custom_schemas() -> dict[str, Any]:
    """Return schemas.yaml: "group/version Kind" → schema."""
    text = resources.files("manifests.checks").joinpath("schemas.yaml").read_text()
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def check_schema(document: Json) -> Iterator[Finding]:
    """Find fields of a document that its kind does not have, requires, or has in another type."""
    thing = name_of(document)
    kind = f"{document.get('apiVersion')} {document.get('kind')}"
    if not isinstance(document.get("metadata", {}).get("name"), str):
        yield Finding(thing, "metadata.name", "is missing; every object has a name")
        return
    if kind in BUILT_IN:
        faults = _check_class(document, f"V1{document['kind']}", "")
    elif kind in custom_schemas():
        top = {"apiVersion!": "string", "kind!": "string", "metadata!": "V1ObjectMeta", **custom_schemas()[kind]}
        faults = _check(document, top, "")
    else:
        yield Finding(thing, "apiVersion", f"{kind} is not a kind that these manifests use; check its spelling")
        return
    for field, sentence in faults:
        yield Finding(thing, field, sentence)


def _check(value: Any, schema: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(schema, dict):
        yield from _check_map(value, schema, path)
    elif isinstance(schema, list):
        if not isinstance(value, list):
            yield path, _wrong(value, list)
            return
        for number, each in enumerate(value):
            yield from _check(each, schema[0], f"{path}[{number}]")
    elif schema.startswith("V1"):
        yield from _check_class(value, schema, path)
    elif schema != "any":
        yield from _check_word(value, schema, path)


def _check_map(value: Any, schema: Json, path: str) -> Iterator[tuple[str, str]]:
    if not isinstance(value, dict):
        yield path, _wrong(value, dict)
        return
    if "*" in schema:
        for key, each in value.items():
            yield from _check(each, schema["*"], _join(path, key))
        return
    fields = {name.rstrip("!"): part for name, part in schema.items()}
    for name in schema:
        if name.endswith("!") and value.get(name[:-1]) is None:
            yield _join(path, name[:-1]), "is missing"
    for key, each in value.items():
        if key not in fields:
            yield _join(path, key), f"is not a field of this object; the fields are {', '.join(sorted(fields))}"
        else:
            yield from _check(each, fields[key], _join(path, key))


def _check_word(value: Any, schema: str, path: str) -> Iterator[tuple[str, str]]:
    if bounds := re.fullmatch(r"int (\d+)\.\.(\d+)", schema):
        if type(value) is not int:
            yield path, _wrong(value, int)
        elif not int(bounds[1]) <= value <= int(bounds[2]):
            yield path, f"is {value}; it must lie between {bounds[1]} and {bounds[2]}"
    elif schema in _PLAIN:
        if not _is(value, schema):
            yield path, _wrong(value, _PLAIN[schema][0])
    elif value not in schema.split("|"):
        yield path, f"is {value!r}; it must be one of {', '.join(schema.split('|'))}"


def _check_class(value: Any, name: str, path: str) -> Iterator[tuple[str, str]]:
    from kubernetes import client

    if not isinstance(value, dict):
        yield path, _wrong(value, dict)
        return
    cls = getattr(client, name)
    attributes = {json_name: attribute for attribute, json_name in cls.attribute_map.items()}
    known = {attributes[key]: each for key, each in value.items() if key in attributes and each is not None}
    for key, each in value.items():
        if key not in attributes:
            yield _join(path, key), f"is not a field of Kubernetes' {name[2:]}"
        else:
            yield from _check_type(each, cls.openapi_types[attributes[key]], _join(path, key), name)
    try:
        cls(**known)
    except ValueError as error:
        missing = re.search(r"`(\w+)`", str(error))
        yield _join(path, cls.attribute_map[missing[1]] if missing else ""), "is missing"


def _check_type(value: Any, kind: str, path: str, owner: str) -> Iterator[tuple[str, str]]:
    if kind.startswith("list["):
        if not isinstance(value, list):
            yield path, _wrong(value, list)
            return
        for number, each in enumerate(value):
            yield from _check_type(each, kind[5:-1], f"{path}[{number}]", owner)
    elif kind.startswith("dict("):
        if not isinstance(value, dict):
            yield path, _wrong(value, dict)
            return
        for key, each in value.items():
            if not (owner in _QUANTITIES and isinstance(each, int | float)):
                yield from _check_type(each, kind[5:-1].split(", ", 1)[1], _join(path, key), owner)
    elif kind in _PLAIN:
        # Quantities such as sizeLimit can also be numbers, but ours are all text.
        if not _is(value, kind):
            yield path, _wrong(value, _PLAIN[kind][0])
    elif kind not in ("object", "datetime"):
        yield from _check_class(value, kind, path)


def _is(value: Any, kind: str) -> bool:
    return isinstance(value, _PLAIN[kind]) and (kind == "bool" or not isinstance(value, bool))


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else str(key)


def _wrong(value: Any, wanted: type) -> str:
    return f"is {value!r}; it must be {_WORDS[wanted]}"
