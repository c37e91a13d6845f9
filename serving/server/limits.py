"""Limits of a server for its clients: sizes, times, numbers."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class QueueSettings(BaseModel):
    """One bounded queue.

    Attributes:
        concurrency: requests that are worked on at a time.
        length: largest number of waiting requests.
        wait_seconds: how long one may wait before it is refused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    concurrency: int = Field(default=8, ge=1, le=10_000)
    length: int = Field(default=32, ge=0, le=100_000)
    wait_seconds: float = Field(default=1.0, gt=0, le=60)


class GuardSettings(BaseModel):
    """Limits of a server for its clients.

    Attributes:
        max_body_bytes: largest size of a request body.
        max_receiving_bytes: largest total size of the bodies that are in memory together.
        max_headers: largest number of headers per request.
        max_header_bytes: largest size of the request line and headers together.
        header_seconds: from the first byte (or the connection) to the last header.
        body_seconds: from the last header to the last byte of the body.
        write_seconds: how long a client may leave an answer unread.
        keep_alive_seconds: how long a connection may be idle; longer than a proxy's (Envoy: 60).
        max_connections: open at a time; further ones are closed.
        queues: queue by name; a request of a route without a queue is answered at once.
        api_keys: valid keys; none: no key is required.
        access_log_share: share of the answered requests that are logged; failures of ours always are.
        grpc_max_message_bytes: largest size of a message, in either direction.
        grpc_max_streams: calls of one gRPC connection at a time.
        grpc_max_calls: calls of all connections at a time; further ones are refused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_body_bytes: int = Field(default=16 * 1024 * 1024, ge=1024, le=1024**3)
    max_receiving_bytes: int = Field(default=256 * 1024 * 1024, ge=1024, le=64 * 1024**3)
    max_headers: int = Field(default=64, ge=8, le=1000)
    max_header_bytes: int = Field(default=16 * 1024, ge=1024, le=1024**2)
    header_seconds: float = Field(default=10.0, gt=0, le=300)
    body_seconds: float = Field(default=10.0, gt=0, le=300)
    write_seconds: float = Field(default=10.0, gt=0, le=300)
    keep_alive_seconds: int = Field(default=65, ge=1, le=600)
    max_connections: int = Field(default=2048, ge=1, le=100_000)
    queues: Mapping[str, QueueSettings] = Field(default_factory=lambda: {"search": QueueSettings()})
    api_keys: tuple[SecretStr, ...] = ()
    access_log_share: float = Field(default=0.1, ge=0, le=1)
    grpc_max_message_bytes: int = Field(default=16 * 1024 * 1024, ge=1024, le=1024**3)
    grpc_max_streams: int = Field(default=128, ge=1, le=10_000)
    grpc_max_calls: int = Field(default=512, ge=1, le=100_000)
