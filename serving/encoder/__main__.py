"""The encoder process: `python -m serving.encoder`; settings come from VISUAL_SEARCH_* and, on KServe, its arguments."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys

from components.shared.errors import VisualSearchError
from serving.settings import EncoderSettings, read_settings


def main(arguments: list[str] | None = None) -> int:
    """Load the release, serve it until told to stop, and return the exit status."""
    try:
        settings = _settings(arguments)
    except VisualSearchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # Only now: kserve reads the command line while it is imported.
    from serving.encoder.loading import EncoderHolder
    from serving.encoder.metrics import EncoderMetrics
    from serving.encoder.predictor import EncoderModel
    from serving.encoder.server import serve

    holder = EncoderHolder(settings, EncoderMetrics())
    holder.load()
    asyncio.run(serve(EncoderModel(settings, holder), settings))
    return 0


def _settings(arguments: list[str] | None) -> EncoderSettings:
    """Join the environment with the arguments that KServe's controller appends; what is not ours there is kserve's."""
    parser = argparse.ArgumentParser(prog="python -m serving.encoder", allow_abbrev=False)
    parser.add_argument("--http_port", type=int, dest="encoder_http_port")
    parser.add_argument("--grpc_port", type=int, dest="encoder_grpc_port")
    parser.add_argument("--model_name")
    known, _ = parser.parse_known_args(arguments)
    return read_settings(EncoderSettings, **vars(known))


if __name__ == "__main__":
    sys.exit(main())
