"""Settings of the serving processes, from the environment; read once, where a process starts.

Encoder and transformer run in one pod with one set of variables, so each process accepts the union of their names, and
refuses every other one with our prefix.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, SecretStr

from components.shared.settings import ProcessSettings, names_of, read_environment


class ServingSettings(ProcessSettings):
    """Settings that both processes share. Every field is an environment variable with the prefix VISUAL_SEARCH_.

    Attributes:
        location: directory or URI of a release, or of a root with `CURRENT`.
        cache: folder that a location elsewhere is mirrored to.
        model_name: name of the model in both processes; on KServe that of the InferenceService.
        bind: address to listen on; loopback unless a container says otherwise.
        arm: name of the arm of an A/B test that this pod is; part of every answer, event and metric.
        poll_seconds: interval between checks of `CURRENT`.
        lame_duck_seconds: how long a stopping process says "not ready" while it still answers.
        grace_seconds: how long requests in flight may take after that.
    """

    location: str = "/mnt/models"
    cache: Path = Path(".visual-search/serving")
    model_name: str = "visual-search"
    bind: str = "127.0.0.1"
    arm: str = Field(default="champion", pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    poll_seconds: float = Field(default=2.0, gt=0, le=3600)
    lame_duck_seconds: float = Field(default=5.0, ge=0, le=300)
    grace_seconds: float = Field(default=10.0, ge=0, le=300)


class EncoderSettings(ServingSettings):
    """Settings of the encoder process.

    Attributes:
        encoder_http_port: port of REST (health, metrics, Open Inference Protocol); 0: one that is free.
        encoder_grpc_port: port of gRPC; 0: one that is free.
        encoder_threads: threads of one computation; 0: all cores that this process may use.
        encoder_runtime: "processor" takes what this processor computes fastest of what the release's gate admitted;
            "release" what its record chose; else this one, if the gate admitted it.
        encoder_max_batch: pictures computed at a time at most.
        encoder_max_wait_ms: how long a batch may wait for more pictures; only under load, never on an idle server.
        encoder_queue_images: pictures waiting at most; beyond, requests are refused as overload.
        encoder_max_request_images: pictures of one request at most.
        encoder_timeout_seconds: deadline of a request that brings none.
    """

    encoder_http_port: int = Field(default=8085, ge=0, le=65_535)
    encoder_grpc_port: int = Field(default=8081, ge=0, le=65_535)
    encoder_threads: int = Field(default=0, ge=0, le=1024)
    encoder_runtime: Literal[
        "processor",
        "release",
        "onnxruntime-fp32",
        "onnxruntime-int8",
        "openvino-fp32",
        "openvino-int8",
        "openvino-bf16",
    ] = "processor"
    encoder_max_batch: int = Field(default=16, ge=1, le=256)
    encoder_max_wait_ms: float = Field(default=2.0, ge=0, le=1000)
    encoder_queue_images: int = Field(default=256, ge=1, le=100_000)
    encoder_max_request_images: int = Field(default=64, ge=1, le=256)
    encoder_timeout_seconds: float = Field(default=5.0, gt=0, le=600)


class TransformerSettings(ServingSettings):
    """Settings of the transformer process.

    Attributes:
        transformer_http_port: port of the page, the API, health and metrics; 0: one that is free.
        pin_header: header by which the ingress leads back to this arm; clients learn it from `/v1/release`.
        pin_value: its value for this arm; empty: nothing keeps clients in an arm.
        encoder_address: host:port of the encoder's gRPC.
        encoder_space: "required": the encoder must name the space of its answer; "trusted": it need not (Triton, OVMS).
        encoder_deadline_seconds: time limit of the encoder per request.
        encoder_call_images: pictures of requests at the same time that go to the encoder in one call at most; 1: each
            request's go alone.
        request_seconds: time limit per request, from its last byte to its answer.
        max_instances: largest number of pictures per request.
        max_image_bytes: largest size of one encoded picture.
        max_image_pixels: largest width × height of one picture.
        decode_workers: pictures decoded at a time; 0: one for each core.
        decode_queue: pictures that may wait to be decoded; beyond, requests are refused as overload.
        decode_cpu_seconds: processor time limit per picture.
        decode_wall_seconds: real time limit per picture.
        decode_memory_mb: address space of a decoding process, MiB, about 300 of them overhead; 40 million pixels fit, except as
            WebP.
        search_threads: searches at a time; 0: one for each core.
        country_header: header with the client's country, set by a proxy that is trusted; empty: none.
        samples: folder for the monitoring's sample of queries; none: no sample is kept.
        samples_per_hour: queries of one hour that are kept, each with equal probability.
        service_counts: folder for the minutes' counts of requests, errors, slow answers and empty ones, which the guardrails
            of an A/B test read; none: they are not kept.
        slow_seconds: an answer that took longer is slow.
        events_url: store of impressions, clicks and dwell, sqlite:///… or postgresql+psycopg://…; empty: SQLite below `cache`.
        events_keys: keys that sign impression tokens, newest first, separated by commas.
        events_key_file: file with these keys instead; neither: a file below `cache`, made at the first start.
        events_per_user: limit of events per minute and user.
        events_per_query: limit of events per minute and search.
        search_concurrency: largest number of concurrent searches.
        search_queue: length of the queue of searches; further ones are refused as overload.
        search_wait_seconds: longest wait in that queue.
        max_body_bytes: largest size of a request body.
        api_keys: valid keys, separated by commas; none: no key is required.
        access_log_share: share of the requests that are logged; failures of ours always are.
        rules: active re-ranking rules, in their order, separated by commas: own_image, floor, near_duplicates, items.
        recall_share: share of queries that are searched exactly as well, to watch the index.
    """

    transformer_http_port: int = Field(default=8080, ge=0, le=65_535)
    pin_header: str = Field(default="", pattern=r"^([A-Za-z0-9-]{1,60})?$")
    pin_value: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,60}$")
    encoder_address: str = "127.0.0.1:8081"
    encoder_space: Literal["required", "trusted"] = "required"
    encoder_deadline_seconds: float = Field(default=2.0, gt=0, le=60)
    encoder_call_images: int = Field(default=16, ge=1, le=64)
    request_seconds: float = Field(default=10.0, gt=0, le=600)
    max_instances: int = Field(default=16, ge=1, le=64)
    max_image_bytes: int = Field(default=10 * 1024 * 1024, ge=1024, le=256 * 1024 * 1024)
    max_image_pixels: int = Field(default=40_000_000, ge=64, le=500_000_000)
    decode_workers: int = Field(default=0, ge=0, le=256)
    decode_queue: int = Field(default=64, ge=1, le=10_000)
    decode_cpu_seconds: float = Field(default=2.0, gt=0, le=60)
    decode_wall_seconds: float = Field(default=4.0, gt=0, le=120)
    decode_memory_mb: int = Field(default=896, ge=512, le=65_536)
    search_threads: int = Field(default=0, ge=0, le=256)
    country_header: str = ""
    samples: Path | None = None
    samples_per_hour: int = Field(default=1000, ge=1, le=1_000_000)
    service_counts: Path | None = None
    slow_seconds: float = Field(default=0.5, gt=0, le=60)
    events_url: str = ""
    events_keys: SecretStr = SecretStr("")
    events_key_file: Path | None = None
    events_per_user: int = Field(default=300, ge=1, le=1_000_000)
    events_per_query: int = Field(default=120, ge=1, le=1_000_000)
    search_concurrency: int = Field(default=24, ge=1, le=10_000)
    search_queue: int = Field(default=40, ge=0, le=100_000)
    search_wait_seconds: float = Field(default=1.0, gt=0, le=60)
    max_body_bytes: int = Field(default=16 * 1024 * 1024, ge=1024, le=1024**3)
    api_keys: SecretStr = SecretStr("")
    access_log_share: float = Field(default=0.1, ge=0, le=1)
    rules: str = "own_image,floor,near_duplicates,items"
    recall_share: float = Field(default=0.01, ge=0, le=1)


S = TypeVar("S", bound=ServingSettings)


def known_names() -> frozenset[str]:
    """Return the environment variables of both processes."""
    return names_of(EncoderSettings, TransformerSettings)


def read_settings(cls: type[S], **overrides: object) -> S:
    """Read a process's settings; `overrides` (from the command line) win where they are not None.

    Raises:
        ParameterError: a variable has our prefix but no such setting exists (a typo must not be silent), or a value is
            out of range.
    """
    return read_environment(cls, known_names(), **overrides)
