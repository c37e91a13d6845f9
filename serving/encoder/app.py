"""Puts the encoder together in the shell that both servers run in."""

from __future__ import annotations

import os

from components.shared.pictures.preprocessing import LARGEST_SIDE
from serving.encoder.loading import EncoderHolder
from serving.encoder.metrics import EncoderMetrics
from serving.encoder.predictor import EncoderModel
from serving.server.limits import GuardSettings
from serving.server.metrics import Identity, ServerMetrics
from serving.server.server import run_server
from serving.server.traces import start_traces
from serving.settings import EncoderSettings

_HEADROOM_BYTES = 1 << 20


def run(settings: EncoderSettings) -> int:
    """Serve until told to stop; returns the exit status. It listens at once and is ready when a release is loaded."""

    def identity() -> Identity:
        served = holder.current
        if served is None:
            return Identity(arm=settings.arm)
        manifest = served.manifest
        return Identity(manifest.release_id, manifest.space_id, manifest.catalogue.generation, settings.arm)

    metrics = ServerMetrics(identity)
    holder = EncoderHolder(settings, EncoderMetrics(metrics.registry, arm=settings.arm))
    largest = settings.encoder_max_request_images * LARGEST_SIDE * LARGEST_SIDE * 3 + _HEADROOM_BYTES
    return run_server(
        EncoderModel(settings, holder),
        name=settings.model_name,
        host=settings.bind,
        http_port=settings.encoder_http_port,
        grpc_port=settings.encoder_grpc_port,
        guard=GuardSettings(max_body_bytes=largest, grpc_max_message_bytes=largest),
        lame_duck_seconds=settings.lame_duck_seconds,
        grace_seconds=settings.grace_seconds,
        metrics=metrics,
        traces=start_traces("visual-search-encoder", os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")),
        on_start=holder.start,
        on_stop=holder.stop,
    )
