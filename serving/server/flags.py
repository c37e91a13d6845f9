"""The command line that KServe's controller appends. kserve reads it too, while it is imported; unknown flags are left alone."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Flags:
    """Flags from the KServe controller; None if it set none.

    Attributes:
        model_name: name of the InferenceService.
        predictor_host: host:port of the predictor.
        enable_grpc: whether gRPC is wanted.
    """

    http_port: int | None = None
    grpc_port: int | None = None
    model_name: str | None = None
    predictor_host: str | None = None
    enable_grpc: bool | None = None


def read_flags(arguments: Sequence[str]) -> Flags:
    """Read the flags that concern us; the others (`--workers` with them: there is always one) are accepted and ignored."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--http_port", type=int)
    parser.add_argument("--grpc_port", type=int)
    parser.add_argument("--model_name")
    parser.add_argument("--predictor_host")
    parser.add_argument("--enable_grpc", type=lambda text: text.lower() in {"1", "true", "yes", "on"})
    known, _ = parser.parse_known_args(arguments)
    return Flags(**vars(known))
