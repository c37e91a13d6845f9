"""kserve's data plane, made strict: what cannot be read is the client's fault, and readiness is that of the models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kserve.errors import InvalidInput, ModelNotReady
from kserve.protocol.dataplane import DataPlane

from serving.server.media_types import charset_of, is_json, may_be_picture
from serving.server.refusals import MediaTypeError

_CLOUD_EVENTS = "application/cloudevents"


def _in_utf8(body: bytes, headers: Mapping[str, str]) -> bytes:
    """Return JSON text in UTF-8 without a byte order mark, as RFC 8259, section 8.1, demands; older clients send others."""
    charset = charset_of(headers)
    try:
        text = body if charset in {"", "utf-8", "utf8", "us-ascii", "ascii"} else body.decode(charset).encode()
    except (LookupError, ValueError) as error:
        raise InvalidInput(f"the body is not text in the charset {charset[:40]!r}; send UTF-8") from error
    return text.removeprefix(b"\xef\xbb\xbf")


class StrictDataPlane(DataPlane):  # type: ignore[misc]
    """Reads requests and finds models; shared by REST and gRPC."""

    def decode(self, body: Any, headers: Any, *arguments: Any, **keywords: Any) -> Any:
        """Decode a body; any failure there is bad input.

        Raises:
            MediaTypeError: a CloudEvent.
            InvalidInput: the body is not what the protocol says.
        """
        names = headers or {}
        if str(names.get("content-type", "")).startswith(_CLOUD_EVENTS) or any(
            name.startswith("ce-") for name in names
        ):
            raise MediaTypeError("CloudEvents are not accepted here; send the picture or JSON itself.")
        if isinstance(body, bytes) and is_json(names, body):
            body, headers = _in_utf8(body, names), {**names, "content-type": "application/json"}
        elif isinstance(body, bytes) and may_be_picture(names):
            headers = {**names, "content-type": "image/*"}  # kserve takes a body without a type of its own for JSON
        try:
            decoded, attributes = super().decode(body, headers, *arguments, **keywords)
        except Exception as error:
            raise InvalidInput("the body cannot be read") from error
        if isinstance(decoded, (list, str, int, float)) or decoded is None:
            raise InvalidInput("the body must be a JSON object or a picture")
        return decoded, attributes

    async def get_model(self, name: str) -> Any:
        """Find a ready model; one that is not ready is never loaded on a client's word.

        Raises:
            ModelNotReady: it has nothing loaded.
        """
        model = self.get_model_from_registry(name)
        if not await self.model_registry.is_model_ready(name):
            raise ModelNotReady(name)
        return model

    async def model_ready(self, model_name: str, disable_predictor_health_check: bool = False) -> bool:
        """Tell whether a model is ready and, where KServe's flag asks for it, its predictor too."""
        self.get_model_from_registry(model_name)
        if not await self.model_registry.is_model_ready(model_name):
            return False
        return bool(await super().model_ready(model_name, disable_predictor_health_check))

    async def ready(self) -> bool:
        """Tell whether all models are ready."""
        names = list(self.model_registry.get_models())
        return bool(names) and all([await self.model_ready(name) for name in names])
