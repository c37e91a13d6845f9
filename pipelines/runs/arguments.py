"""A pipeline's arguments, from text to the types that its compiled specification declares.

The API server checks types strictly: a number as text is refused. So everything is checked here, before anything is sent.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from components.shared.errors import ParameterError

Parameters = Mapping[str, Mapping[str, Any]]

_TYPES = {
    "STRING": "text",
    "NUMBER_DOUBLE": "a number",
    "NUMBER_INTEGER": "a whole number",
    "BOOLEAN": "true or false",
    "LIST": "a JSON list",
    "STRUCT": "a JSON object",
}
_JSON_TYPES = {"BOOLEAN": bool, "LIST": list, "STRUCT": dict}


def parse_assignments(assignments: Iterable[str]) -> dict[str, str]:
    """Return NAME=VALUE words as a mapping; the last one of a name counts.

    Raises:
        ParameterError: a word has no "=".
    """
    arguments = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name:
            raise ParameterError(f"expected --argument NAME=VALUE, got {assignment!r}")
        arguments[name] = value
    return arguments


def read_parameters(package: Path) -> Parameters:
    """Return the parameters that a compiled pipeline declares: name → parameterType, defaultValue, isOptional."""
    specification = next(yaml.safe_load_all(package.read_text()))
    declared: Parameters = specification["root"].get("inputDefinitions", {}).get("parameters", {})
    return declared


def convert_arguments(pipeline: str, declared: Parameters, given: Mapping[str, str]) -> dict[str, Any]:
    """Convert the text of each argument to its type.

    Args:
        pipeline: name, for the message.
        declared: result of `read_parameters`.
        given: arguments as text.

    Raises:
        ParameterError: an argument is unknown, missing or of another type; the message lists all faults and all parameters.
    """
    faults = [f"{name!r} is unknown" for name in given if name not in declared]
    faults += [f"{name!r} is missing" for name in declared if name not in given and _is_required(declared[name])]
    converted = {}
    for name, text in given.items():
        if name not in declared:
            continue
        kind = declared[name]["parameterType"]
        try:
            converted[name] = _convert(kind, text)
        except ValueError:
            faults.append(f"{name!r} has to be {_TYPES.get(kind, kind)}, got {text!r}")
    if faults:
        raise ParameterError(
            f"the arguments do not fit the pipeline {pipeline}: {'; '.join(faults)}; give --argument NAME=VALUE of: "
            f"{', '.join(_describe(name, declared[name]) for name in sorted(declared))}"
        )
    return converted


def _convert(kind: str, text: str) -> Any:
    if kind == "STRING":
        return text
    if kind == "NUMBER_INTEGER":
        return int(text)
    if kind == "NUMBER_DOUBLE":
        number = float(text)
        if not math.isfinite(number):  # JSON has neither infinities nor NaN
            raise ValueError
        return number
    value = json.loads(text.lower() if kind == "BOOLEAN" else text)
    if not isinstance(value, _JSON_TYPES[kind]):
        raise ValueError
    return value


def _is_required(parameter: Mapping[str, Any]) -> bool:
    return "defaultValue" not in parameter and not parameter.get("isOptional")


def _describe(name: str, parameter: Mapping[str, Any]) -> str:
    kind = _TYPES.get(parameter["parameterType"], parameter["parameterType"])
    if "defaultValue" in parameter:
        return f"{name} ({kind}, default {json.dumps(parameter['defaultValue'])})"
    return f"{name} ({kind}{'' if parameter.get('isOptional') else ', required'})"
