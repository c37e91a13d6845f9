"""Registration as pipeline tasks: fetch the champion before, register the new release after."""

from kfp import dsl

from components.container_images import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def champion(champion: dsl.Output[dsl.Model], workspace: str, tracking_uri: str) -> None:
    """Fetch the release that serves now, for comparison, or write a marker file if there is no champion yet."""
    from pathlib import Path

    from components.registration.fetch_champion import run_fetch_champion

    run_fetch_champion(destination=Path(champion.path), workspace=Path(workspace), tracking_uri=tracking_uri)


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def registration(
    catalogue: dsl.Input[dsl.Dataset],
    encoder: dsl.Input[dsl.Model],
    embeddings: dsl.Input[dsl.Dataset],
    index: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    champion: dsl.Input[dsl.Model],
    release: dsl.Output[dsl.Model],
    workspace: str,
    tracking_uri: str,
    parameters: str,
) -> None:
    """Assemble the release, verify it and register it as one version in MLflow."""
    from pathlib import Path

    from components.registration.parameters import RegistrationParameters
    from components.registration.step import run
    from components.shared.parameters import step_parameters

    run(
        catalogue=Path(catalogue.path),
        encoder=Path(encoder.path),
        embeddings=Path(embeddings.path),
        index=Path(index.path),
        evaluation=Path(evaluation.path),
        champion=Path(champion.path),
        destination=Path(release.path),
        workspace=Path(workspace),
        tracking_uri=tracking_uri,
        parameters=step_parameters(parameters, "registration", RegistrationParameters),
    )
