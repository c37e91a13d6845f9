"""The encoder process: `python -m serving.encoder`; settings come from VISUAL_SEARCH_* and KServe's arguments."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from components.shared.environment import prepare_process
from components.shared.errors import VisualSearchError
from serving.server.flags import Flags, read_flags
from serving.settings import EncoderSettings, read_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; returns the exit status: 2 if it cannot start as it is told."""
    prepare_process()
    flags = read_flags(sys.argv[1:] if arguments is None else arguments)
    try:
        settings = settings_of(flags)
        # Only now: kserve reads the command line while it is imported.
        from serving.encoder.app import run

        return run(settings)
    except VisualSearchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def settings_of(flags: Flags) -> EncoderSettings:
    """Join the environment with the arguments that KServe's controller appends, which win."""
    return read_settings(
        EncoderSettings,
        encoder_http_port=flags.http_port,
        encoder_grpc_port=flags.grpc_port,
        model_name=flags.model_name,
    )


if __name__ == "__main__":
    sys.exit(main())
