"""The parameters of the steps, as every task of a pipeline receives them: one JSON text, {"step": {"name": value}}."""

from __future__ import annotations

import json
from typing import TypeVar

from pydantic import BaseModel

Parameters = TypeVar("Parameters", bound=BaseModel)


def step_parameters(text: str, step: str, model: type[Parameters]) -> Parameters:
    """Return the parameters of one step; those absent from the text keep their defaults."""
    return model.model_validate(json.loads(text).get(step, {}))
