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
    """Measure the encoder and the index on held-out images, decide, and draw the report; returns the gate's decision."""
    import shutil
    from pathlib import Path

    from components.evaluation.parameters import EvaluationParameters
    from components.evaluation.step import run
    from components.shared.files.layout import REPORT_FILE
    from components.shared.parameters import step_parameters

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
        parameters=step_parameters(parameters, "evaluation", EvaluationParameters),
    )
    shutil.copyfile(destination / REPORT_FILE, report.path)
    for name, value in artifact.summary.items():
        if isinstance(value, float):
            metrics.log_metric(name, value)
    return bool(artifact.summary["passed"])
