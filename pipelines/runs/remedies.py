"""Starts the pipelines of `visual-search monitor run --act`: on this machine, or on a Kubeflow Pipelines server."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.container_images import PIPELINE_IMAGE
from components.shared.errors import NotReadyError, ParameterError
from components.shared.files.layout import MANIFEST_FILE
from monitoring.remedies.act import RemedyOutcome
from pipelines.runs.parameters import encode_parameters, merge_assignments
from pipelines.settings import Settings

if TYPE_CHECKING:
    from pipelines.runs.cluster import Kubeflow

_NAMES = {"training": ("images", "judgements", "events"), "reindexing": ("images", "judgements")}


@dataclass(frozen=True)
class Sources:
    """Data that the pipelines train on and index.

    Attributes:
        images, judgements, events: as `visual-search run` takes them; "" of all: as the latest run on this machine had it.
        assignments: "step.name=value" over the parameters of that run.
    """

    images: str = ""
    judgements: str = ""
    events: str = ""
    assignments: list[str] = field(default_factory=list)

    def arguments(self, pipeline: str, earlier: Mapping[str, Any]) -> dict[str, Any]:
        """Return the pipeline's arguments.

        Args:
            pipeline: "training" or "reindexing".
            earlier: arguments of an earlier run, or none.

        Raises:
            ParameterError: it is not known which images are meant, or a parameter is wrong.
        """
        given = {name: getattr(self, name) or earlier.get(name, "") for name in _NAMES[pipeline]}
        if not given["images"]:
            raise ParameterError(
                f"{pipeline} needs the pictures of the current catalogue, and no earlier run on this machine names them; "
                "pass --images"
            )
        parameters = merge_assignments(self.assignments, json.loads(earlier.get("parameters", "{}")))
        return {**given, "parameters": encode_parameters(parameters)}


class LocalRuns:
    """Runs a pipeline here and waits for it; what comes out is registered as by `visual-search run`."""

    def __init__(self, settings: Settings, sources: Sources, *, verbose: bool = False) -> None:
        self._settings, self._sources, self._verbose = settings, sources, verbose

    def submit(self, pipeline: str, name: str) -> RemedyOutcome:
        """Run it to the end.

        Raises:
            VisualSearchError: a task failed, or the images are not known.
        """
        from pipelines.runs.local import read_verdict, start_run

        arguments = self._sources.arguments(pipeline, latest_arguments(self._settings.home))
        arguments |= {"tracking_uri": self._settings.registry_uri, "workspace": str(self._settings.workspace)}
        result = start_run(pipeline, arguments, self._settings.home, verbose=self._verbose)
        verdict = read_verdict(result)
        if result.release is None:
            reasons = "; ".join(verdict["reasons"]) or "see its report"
            return RemedyOutcome("failed", str(result.directory), f"the gate refused the result: {reasons}")
        release_id = json.loads((result.release / MANIFEST_FILE).read_text())["release_id"]
        return RemedyOutcome("succeeded", str(result.directory), f"{release_id} is registered; see {result.report}")

    def look(self, name: str, reference: str) -> RemedyOutcome:
        """Return "interrupted": a running remedy holds the ledger's lock, so an open entry has no process."""
        return RemedyOutcome(
            "interrupted", reference, "its process ended before the pipeline did; the next run resumes it"
        )


class ClusterRuns:
    """Submits to Kubeflow Pipelines and does not wait; runs are found again by their name.

    Args:
        settings: settings with the address of the server.
        sources: addresses that the cluster can read.
        arguments: further parameters of the pipelines, for example {"training_memory": "64Gi"}.
        image: OCI image of the tasks.
        service_account: Kubernetes service account of the tasks.
    """

    def __init__(
        self,
        settings: Settings,
        sources: Sources,
        *,
        arguments: Mapping[str, str] | None = None,
        image: str | None = None,
        service_account: str = "",
    ) -> None:
        self._settings, self._sources = settings, sources
        self._arguments, self._image, self._service_account = dict(arguments or {}), image, service_account
        self._known: Kubeflow | None = None

    def submit(self, pipeline: str, name: str) -> RemedyOutcome:
        """Start it; if the answer is lost on the way, the run is looked for.

        Raises:
            VisualSearchError: it is not there, or the server or our own checks refuse it.
        """
        from pipelines.graphs.compilation import compile_pipeline
        from pipelines.runs.arguments import convert_arguments, read_parameters

        kubeflow = self._server()
        with tempfile.TemporaryDirectory() as folder:
            package = Path(folder) / f"{pipeline}.yaml"
            compile_pipeline(pipeline, package, image=self._image or PIPELINE_IMAGE)
            declared = read_parameters(package)
            arguments = convert_arguments(pipeline, declared, self._given(pipeline, set(declared)))
            try:
                run_id = kubeflow.submit(package, arguments, name=name, service_account=self._service_account)
            except NotReadyError as error:
                found = self.look(name, "")
                if found.state == "interrupted":
                    raise NotReadyError(f"the server did not take the run {name}: {error}") from error
                return found
        return RemedyOutcome(
            "running", run_id, f"run {run_id} started; its tasks run in {kubeflow.installation.tasks_place}"
        )

    def look(self, name: str, reference: str) -> RemedyOutcome:
        """Ask the server.

        Raises:
            VisualSearchError: it does not answer, or refuses.
        """
        from pipelines.runs.refusals import ServerRefusedError
        from pipelines.runs.waiting import RUNNING

        kubeflow = self._server()
        try:
            run = kubeflow.look_up(reference) if reference else kubeflow.find(name)
        except ServerRefusedError as error:
            if error.status == 404:
                return RemedyOutcome("interrupted", reference, "the server does not know this run any more")
            raise
        if run is None:
            return RemedyOutcome("interrupted", reference, "it never reached the server")
        if run.state in RUNNING:
            return RemedyOutcome("running", run.run_id)
        return RemedyOutcome(
            "succeeded" if run.state == "SUCCEEDED" else "failed", run.run_id, f"the run ended as {run.state}"
        )

    def _given(self, pipeline: str, declared: set[str]) -> dict[str, str]:
        """Return the arguments as text; the user gave them for whichever pipeline the diagnosis calls for."""
        from pipelines.runs.process import load_pipeline

        elsewhere = {name for other in _NAMES for name in load_pipeline(other).component_spec.inputs} - declared
        given = {name: value for name, value in self._arguments.items() if name not in elsewhere}
        if self._settings.tracking_uri:
            given.setdefault("tracking_uri", self._settings.tracking_uri)
        return self._sources.arguments(pipeline, {}) | given

    def _server(self) -> Kubeflow:
        from pipelines.runs import cluster

        if self._known is None:
            self._known = cluster.connect(self._settings)
        return self._known


def latest_arguments(home: Path) -> dict[str, Any]:
    """Return the arguments of the latest run on this machine that says which images it took; {} if there is none."""
    for path in sorted((home / "runs").glob("*/request.json"), reverse=True):
        try:
            arguments = json.loads(path.read_text())["arguments"]
            if arguments.get("images"):
                return dict(arguments)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # a run that was killed while it began
    return {}
