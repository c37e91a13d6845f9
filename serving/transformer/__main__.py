"""The transformer process: `python -m serving.transformer`; settings come from VISUAL_SEARCH_* and KServe's arguments."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from components.shared.environment import prepare_process
from components.shared.errors import VisualSearchError
from serving.server.flags import Flags, read_flags
from serving.settings import TransformerSettings, read_settings

_GRPC_PORT = 8081


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; returns the exit status: 2 if it cannot start as it is told."""
    prepare_process()
    flags = read_flags(sys.argv[1:] if arguments is None else arguments)
    try:
        settings = settings_of(flags)
        # Only now: kserve reads the command line while it is imported.
        from serving.transformer.app import run

        return run(settings, flags)
    except VisualSearchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def settings_of(flags: Flags) -> TransformerSettings:
    """Join the environment with the arguments that KServe's controller appends, which win."""
    host = flags.predictor_host
    return read_settings(
        TransformerSettings,
        transformer_http_port=flags.http_port,
        model_name=flags.model_name,
        encoder_address=host if host is None or ":" in host else f"{host}:{_GRPC_PORT}",
    )


if __name__ == "__main__":
    sys.exit(main())
