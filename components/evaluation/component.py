"""Evaluation as a pipeline task."""

from kfp import dsl

from components.container_images import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def evaluation(
    catalogue: dsl.Input[dsl.Dataset],
    labels: dsl.Input[dsl.Dataset],
    encoder: dsl.Input[dsl.Model],
    embeddings: dsl.Input[dsl.Dataset],
    index: dsl.Input[dsl.Model],
    champion: dsl.Input[dsl.Model],
    evaluation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    workspace: str,
    parameters: str,
) -> bool:
    """Measure the encoder and the index on held-out images, apply the gate, and draw the report; returns the gate's decision."""
    import json
    import shutil
    from pathlib import Path

    from components.evaluation.parameters import EvaluationParameters
    from components.evaluation.step import run

    destination = Path(evaluation.path)
    artifact = run(
        catalogue=Path(catalogue.path),
        labels=Path(labels.path),
        encoder=Path(encoder.path),
        embeddings=Path(embeddings.path),
        index=Path(index.path),
        champion=Path(champion.path),
        destination=destination,
        workspace=Path(workspace),
        parameters=EvaluationParameters(**json.loads(parameters).get("evaluation", {})),
    )
    shutil.copyfile(destination / "report.html", report.path)
    for name, value in artifact.summary.items():
        if isinstance(value, float):
            metrics.log_metric(name, value)
    return bool(json.loads((destination / "gate.json").read_text())["passed"])
