"""Environment variables with our prefix: settings of a process, as opposed to those that Kubernetes adds.

Kubernetes gives a pod variables for every Service of its namespace. The Service `visual-search-champion-predictor` gives
VISUAL_SEARCH_CHAMPION_PREDICTOR_PORT=tcp://10.96.0.9:80 and six more (service links), so the prefix alone does not make a
variable a setting. For pods that Kubeflow makes, service links cannot be switched off.

Source: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from components.shared.errors import ParameterError

PREFIX = "VISUAL_SEARCH_"

_HOST = r"[0-9A-Fa-f.:]+"
_PORT = r"PORT_\d+_(TCP|UDP|SCTP)"
_SERVICE_LINK = re.compile(
    rf"\w+_(SERVICE_HOST={_HOST}|SERVICE_PORT(_\w+)?=\d+|(PORT|{_PORT})=(tcp|udp|sctp)://\S+:\d+"
    rf"|{_PORT}_(PROTO=(tcp|udp|sctp)|PORT=\d+|ADDR={_HOST}))"
)


def is_service_link(name: str, value: str) -> bool:
    """Whether Kubernetes made a variable for a Service.

    Name and value must both fit, so that a misspelt setting such as VISUAL_SEARCH_ENCODER_HTP_PORT=8085 is still reported.
    """
    return _SERVICE_LINK.fullmatch(f"{name.upper()}={value}") is not None


class ProcessSettings(BaseSettings):
    """Settings of one process. Every field is an environment variable with the prefix VISUAL_SEARCH_."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments, then the environment without service links, which can have the name of a setting."""
        variables = EnvSettingsSource(settings_cls)
        variables.env_vars = {
            name: value for name, value in variables.env_vars.items() if not is_service_link(name, value or "")
        }
        return init_settings, variables


S = TypeVar("S", bound=ProcessSettings)


def names_of(*kinds: type[ProcessSettings]) -> frozenset[str]:
    """Return the names of the environment variables behind these settings."""
    return frozenset(PREFIX + name.upper() for kind in kinds for name in kind.model_fields)


def read_environment(kind: type[S], known: Collection[str], **overrides: object) -> S:
    """Read the settings of a process.

    Args:
        kind: class of the settings.
        known: names of all permitted variables with our prefix, including those of the processes beside this one.
        **overrides: values from the command line; None leaves the environment's value.

    Raises:
        ParameterError: a variable with our prefix is neither a setting nor a service link, or a value is out of range.
    """
    unknown = sorted(
        name
        for name, value in os.environ.items()
        if name.upper().startswith(PREFIX) and name.upper() not in known and not is_service_link(name, value)
    )
    if unknown:
        raise ParameterError(
            f"the environment sets {', '.join(unknown)}, but the settings are {', '.join(sorted(known))}"
        )
    try:
        return kind(**{name: value for name, value in overrides.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        raise ParameterError(
            "; ".join(f"{PREFIX}{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
        ) from error
