"""One text carries the parameters of all steps; each task takes its own."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from components.indexing.parameters import IndexingParameters
from components.shared.parameters import step_parameters
from pipelines.runs.parameters import encode_parameters


def test_each_step_takes_its_own() -> None:
    text = encode_parameters({"indexing": {"recall_target": 0.9}, "training": {"epochs": 3}})
    assert step_parameters(text, "indexing", IndexingParameters) == IndexingParameters(recall_target=0.9)
    assert step_parameters("{}", "indexing", IndexingParameters) == IndexingParameters()


def test_a_word_that_the_step_does_not_know_is_an_error() -> None:
    with pytest.raises(ValidationError, match="recall_tarhet"):
        step_parameters('{"indexing": {"recall_tarhet": 0.9}}', "indexing", IndexingParameters)
