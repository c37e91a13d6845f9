"""The steps' parameters, checked before a pipeline starts and carried through it as one JSON string."""

from __future__ import annotations

import difflib
import importlib
import json
from typing import Any

from pydantic import BaseModel, ValidationError

from components.shared.errors import ParameterError

STEPS = (
    "rendering",
    "catalogue",
    "labelling",
    "training",
    "embedding",
    "indexing",
    "evaluation",
    "registration",
)

# The executor gets every parameter on its command line, where one argument may have 128 KiB.
_LIMIT_BYTES = 100_000


def model_of(step: str) -> type[BaseModel]:
    """Return the parameter model of a step.

    Raises:
        ParameterError: there is no such step.
    """
    if step not in STEPS:
        raise ParameterError(f"there is no step {step!r}{_guess(step, STEPS)}; the steps are {', '.join(STEPS)}")
    module = importlib.import_module(f"components.{step}.parameters")
    model: type[BaseModel] = getattr(module, f"{step.capitalize()}Parameters")
    return model


def merge_assignments(assignments: list[str], defaults: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Lay "step.name=value" assignments over defaults; a value is JSON where it parses as such, else text.

    Raises:
        ParameterError: an assignment is malformed, unknown or out of range.

    Example:
        >>> merge_assignments(["training.epochs=20"], {"training": {"seed": 1}})
        {'training': {'seed': 1, 'epochs': 20}}
    """
    merged = {step: dict(values) for step, values in defaults.items()}
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        step, dot, name = path.partition(".")
        if not (equals and dot and name):
            raise ParameterError(f"expected --set STEP.NAME=VALUE, got {assignment!r}; for example training.epochs=20")
        fields = model_of(step).model_fields
        if name not in fields:
            raise ParameterError(
                f"the step {step} has no parameter {name!r}{_guess(name, tuple(fields))}; "
                f"`visual-search parameters {step}` lists them"
            )
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        merged.setdefault(step, {})[name] = value
    return merged


def encode_parameters(values: dict[str, dict[str, Any]]) -> str:
    """Check parameters by step and write them as the JSON string that a pipeline takes.

    Raises:
        ParameterError: a value is out of range, or the whole is too long for a task's command line.
    """
    for step, given in values.items():
        try:
            model_of(step)(**given)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in (step, *first["loc"]))
            raise ParameterError(
                f"{where}: {first['msg']} (got {first.get('input')!r}); see `visual-search parameters {step}`"
            ) from error
    text = json.dumps(values, sort_keys=True)
    if len(text.encode()) > _LIMIT_BYTES:
        raise ParameterError(
            f"the parameters take {len(text)} bytes, and a task accepts at most {_LIMIT_BYTES}; put large data into files"
        )
    return text


def describe_parameters(step: str) -> str:
    """Return a table of a step's parameters: name, default, meaning."""
    model = model_of(step)
    meanings = _attribute_docs(model)
    rows = [
        (name, json.dumps(field.get_default(call_default_factory=True), default=str))
        for name, field in model.model_fields.items()
    ]
    width = max(len(name) for name, _ in rows) + 2
    return "\n".join(
        f"{step}.{name:<{width}} {default:<14} {model.model_fields[name].description or meanings.get(name, '')}"
        for name, default in rows
    )


def _attribute_docs(model: type[BaseModel]) -> dict[str, str]:
    docs: dict[str, str] = {}
    name = ""
    for line in (model.__doc__ or "").splitlines():
        stripped = line.strip()
        head, colon, rest = stripped.partition(":")
        if colon and head in model.model_fields:
            name, docs[head] = head, rest.strip()
        elif name and stripped:
            docs[name] += " " + stripped
        else:
            name = ""
    return docs


def _guess(word: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""
