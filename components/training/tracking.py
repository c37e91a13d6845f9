"""One MLflow run per training; an interrupted training goes on in its run."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from components.shared.errors import ResourceError
from components.shared.files.atomic import whole_file
from components.tracking.store import TrackingStore

EXPERIMENT = "visual-search"
_RUN_FILE = "mlflow_run_id"
_log = logging.getLogger(__name__)


class Tracker:
    """Records parameters, a series of figures and the end of a training; "" as address records nothing.

    A run that a killed process left behind is opened again by the next one, which finds its id in `scratch`, and is
    ended with it. A tracking server that is away in between does not stop the training: figures wait until it is back.

    Args:
        uri: MLflow tracking address, for example sqlite:////home/me/mlflow.db; see `TrackingStore`.
        scratch: where the id of the run is kept.
        parameters: what to record once.
        step: names the run.

    Raises:
        ParameterError: the address is none.
        ResourceError: the address cannot be used.
    """

    def __init__(self, uri: str, scratch: Path, parameters: Mapping[str, Any], *, step: str = "training") -> None:
        self._uri = uri
        self._waiting: list[Any] = []
        if not uri:
            return
        self._store = TrackingStore(uri)
        self._client = self._store.client
        from mlflow.exceptions import MlflowException  # seconds of import that an untracked training is spared

        self._failure = (MlflowException, OSError)
        self._foreign = os.environ.get("MLFLOW_RUN_ID", "")
        try:
            with self._store.lock():
                self._run_id = self._open(scratch / _RUN_FILE, step)
            self._record_parameters(parameters)
        except self._failure as error:
            raise ResourceError(
                f"the tracking address {uri} cannot be used ({error}); start the server, correct the address, or give an "
                "empty one to train without tracking"
            ) from error

    def log(self, figures: Mapping[str, float], *, step: int) -> None:
        """Record figures of one epoch; names hold letters, digits and _ only."""
        if not self._uri:
            return
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._waiting += [Metric(name, float(value), now, step) for name, value in sorted(figures.items())]
        try:
            self._flush()
        except self._failure as error:
            _log.warning("%s does not answer; %d figures wait: %s", self._uri, len(self._waiting), error)

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        if not self._uri:
            return
        try:
            self._flush()
            if not self._foreign:
                status = "FINISHED" if kind is None else "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED"
                self._client.set_terminated(self._run_id, status)
        except self._failure as error:
            if kind is None:
                raise ResourceError(
                    f"{self._uri} does not take the figures of the training ({error}); run the same command again once it "
                    "answers: the training itself is kept"
                ) from error
            _log.warning("%s does not answer: %s", self._uri, error)

    def _open(self, path: Path, step: str) -> str:
        if self._foreign:
            return self._foreign
        if path.exists() and (known := self._reopened(path.read_text())):
            return known
        experiment = self._store.experiment_id(EXPERIMENT)
        run_id: str = self._client.create_run(experiment, run_name=step, tags={"step": step}).info.run_id
        with whole_file(path) as temporary:
            temporary.write_text(run_id)
        return run_id

    def _reopened(self, run_id: str) -> str:
        try:
            self._client.update_run(run_id, status="RUNNING")
        except self._failure:
            return ""  # of another server, or deleted there
        return run_id

    def _record_parameters(self, parameters: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        self._client.log_batch(
            self._run_id, params=[Param(name, str(value)) for name, value in sorted(parameters.items())]
        )

    def _flush(self) -> None:
        while self._waiting:
            self._client.log_batch(self._run_id, metrics=self._waiting[:1000])
            del self._waiting[:1000]
