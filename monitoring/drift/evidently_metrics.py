"""The tests of drift as metrics of Evidently. Importing this module imports Evidently: seconds, and 290 MB.

Evidently's own `EmbeddingsDrift` is not among them: it draws a map of 5,000 points by t-SNE whenever it runs, which takes
about a minute of CPU time, and its thresholds alarm more often the smaller the window is. `evidently_report` offers it.
"""

from __future__ import annotations

import os
import weakref
from typing import Any, ClassVar

os.environ.setdefault("DO_NOT_TRACK", "1")  # or Evidently reports to its makers; it looks when it is imported

import numpy as np
import pandas as pd
from evidently import DataDefinition, Dataset
from evidently.core.metric_types import BoundTest, SingleValue, SingleValueCalculation, SingleValueMetric
from evidently.core.report import Context
from evidently.legacy.model.widget import BaseWidgetInfo
from evidently.legacy.renderers.html_widgets import CounterData, WidgetSize, counter
from evidently.tests import gt

from components.shared.errors import ContractError, DataError
from monitoring.drift.comparison import Comparison, Tested, compare
from monitoring.drift.parameters import DriftParameters
from monitoring.drift.samples import FIGURES, Inputs, Sample

EMBEDDING = "query"  # name of the embedding in Evidently's definition of the data
_PREFIX = "embedding_"

# The metrics of one run share their tests; a data set that is let go takes its results with it.
_compared: weakref.WeakKeyDictionary[Dataset, Comparison] = weakref.WeakKeyDictionary()


class DriftPValue(SingleValueMetric):  # type: ignore[misc]
    """The adjusted p-value of one test; passes while it is above α.

    Attributes:
        test: one of EMBEDDING_TESTS, a figure of the input statistics, or "format".
        parameters: fields of DriftParameters that differ from the default.
    """

    test: str
    parameters: dict[str, Any] = {}  # noqa: RUF012  # pydantic copies it

    def _default_tests_with_reference(self, context: Context) -> list[BoundTest]:
        alpha = DriftParameters(**self.parameters).alpha
        return [gt(alpha).bind_single(self.get_fingerprint())]


class DriftEffect(SingleValueMetric):  # type: ignore[misc]
    """The size of the change that one test sees; 0 is none. See `DriftPValue`."""

    test: str
    parameters: dict[str, Any] = {}  # noqa: RUF012  # pydantic copies it


class _DriftPValueCalculation(SingleValueCalculation[DriftPValue]):  # type: ignore[misc]
    metric: DriftPValue

    def calculate(self, context: Context, current_data: Dataset, reference_data: Dataset | None) -> SingleValue:
        tested = _tested(self.metric, current_data, reference_data)
        result = self.result(tested.adjusted)
        result.widget = _counters(tested)
        return result

    def display_name(self) -> str:
        return f"p-value of {self.metric.test.replace('_', ' ')}, adjusted"


class _DriftEffectCalculation(SingleValueCalculation[DriftEffect]):  # type: ignore[misc]
    metric: DriftEffect
    _hidden: ClassVar[list[BaseWidgetInfo]] = []  # shown beside the p-value already

    def calculate(self, context: Context, current_data: Dataset, reference_data: Dataset | None) -> SingleValue:
        result = self.result(_tested(self.metric, current_data, reference_data).outcome.effect)
        result.widget = self._hidden
        return result

    def display_name(self) -> str:
        return f"Effect of {self.metric.test.replace('_', ' ')}"


def data_set(sample: Sample) -> Dataset:
    """Return a sample as Evidently takes it: a column for each dimension and each figure, the space in the metadata."""
    columns = [f"{_PREFIX}{place}" for place in range(sample.vectors.shape[1])]
    frame = pd.DataFrame(sample.vectors, columns=columns)
    if sample.inputs is not None:
        inputs = {**sample.inputs.figures, "format": sample.inputs.formats}
        frame = pd.concat([frame, pd.DataFrame(inputs)], axis=1)
    # Unless the list is set to empty, Evidently would inspect every dimension as a column.
    definition = DataDefinition(numerical_columns=[], categorical_columns=[], embeddings={EMBEDDING: columns})
    return Dataset.from_pandas(frame, definition, metadata={"space_id": sample.space_id})


def remember(data: Dataset, comparison: Comparison) -> None:
    """Return the tests' results for this current data set, so that they are not run twice."""
    _compared[data] = comparison


def sample_of(data: Dataset) -> Sample:
    """Return what `data_set` was made of, without ids.

    Raises:
        ContractError: the data set does not say of which space its embeddings are, or has none.
    """
    space_id = data.metadata.get("space_id")
    columns = (data.data_definition.embeddings or {}).get(EMBEDDING)
    if not isinstance(space_id, str) or not columns:
        raise ContractError(
            f"expected a data set with the embedding {EMBEDDING!r} and a space_id in its metadata; make it by data_set()"
        )
    frame = data.as_dataframe()
    vectors = np.ascontiguousarray(frame[columns].to_numpy(), np.float32)
    inputs = None
    if all(name in frame.columns for name in (*FIGURES, "format")):
        figures = {name: frame[name].to_numpy(np.float64) for name in FIGURES}
        inputs = Inputs(figures, frame["format"].to_numpy(np.str_))
    return Sample(space_id, tuple(map(str, range(len(frame)))), vectors, inputs)


def _tested(metric: DriftPValue | DriftEffect, current: Dataset, reference: Dataset | None) -> Tested:
    if reference is None:
        raise ContractError("drift is seen against a reference; give the report reference data")
    if current not in _compared:
        parameters = DriftParameters(**metric.parameters)
        comparison = compare(sample_of(reference), sample_of(current), parameters)
        if comparison is None:
            raise DataError(
                f"fewer than {parameters.minimum_window} distinct queries, or references; collect more, or lower minimum_window"
            )
        _compared[current] = comparison
    try:
        return _compared[current].tested(metric.test)
    except KeyError as error:
        raise ContractError(f"there is no test {metric.test!r} of these data; leave the metric out") from error


def _counters(tested: Tested) -> list[BaseWidgetInfo]:
    outcome = tested.outcome
    counters = [
        CounterData("state", tested.state),
        CounterData("p-value, adjusted", f"{tested.adjusted:.2g}"),
        CounterData(f"effect ({outcome.effect_name})", f"{outcome.effect:.3f}"),
        CounterData("alarms from", f"{outcome.minimum:.3f}"),
    ]
    return [counter(counters=counters, title=outcome.name.replace("_", " "), size=WidgetSize.FULL)]
