"""The parameters of the steps, as every task of a pipeline gets them: one JSON text, {"step": {"name": value}}."""

from __future__ import annotations

import json
from typing import TypeVar

from pydantic import BaseModel

Parameters = TypeVar("Parameters", bound=BaseModel)


def step_parameters(text: str, step: str, model: type[Parameters]) -> Parameters:
    """Return the parameters of one step; what the text does not name keeps its default."""
    return model.model_validate(json.loads(text).get(step, {}))
