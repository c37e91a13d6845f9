"""The transformer process: `python -m serving.transformer`; settings come from VISUAL_SEARCH_* and KServe's arguments."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from components.shared.errors import VisualSearchError
from serving.settings import TransformerSettings, read_settings

_GRPC_PORT = 8081


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; returns the exit status."""
    try:
        settings = settings_of(arguments)
        # Only now: kserve reads the command line while it is imported.
        from serving.transformer.app import Application, run

        return run(Application(settings))
    except VisualSearchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def settings_of(arguments: Sequence[str] | None) -> TransformerSettings:
    """Join the environment with the arguments that KServe's controller appends; what is not ours there is kserve's."""
    parser = argparse.ArgumentParser(prog="python -m serving.transformer", allow_abbrev=False)
    parser.add_argument("--http_port", type=int, dest="transformer_http_port")
    parser.add_argument("--model_name")
    parser.add_argument("--predictor_host", type=_address, dest="encoder_address")
    known, _ = parser.parse_known_args(arguments)
    return read_settings(TransformerSettings, **vars(known))


def _address(host: str) -> str:
    return host if ":" in host else f"{host}:{_GRPC_PORT}"


if __name__ == "__main__":
    sys.exit(main())
