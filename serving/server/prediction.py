"""kserve's route of predictions by protocol v1, without the framework around it.

Routing, dependencies and exit stacks of FastAPI cost as much processor time as everything that kserve does for such a
request; and there is nothing here for them to do.
"""

from __future__ import annotations

from typing import Any

import orjson
from kserve.errors import ModelNotReady
from starlette.types import Receive, Scope, Send


class PredictRoute:
    """An ASGI application that answers `POST /v1/models/{name}:predict`, step by step as kserve's own does."""

    def __init__(self, plane: Any, name: str) -> None:
        self._plane, self._name = plane, name
        self.path = f"/v1/models/{name}:predict"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; what goes wrong is raised.

        Raises:
            ModelNotReady: it has nothing loaded.
        """
        if not await self._plane.model_ready(self._name, True):
            raise ModelNotReady(self._name)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        body = await _body_of(receive)
        request, attributes = self._plane.decode(body=body, headers=headers)
        response, more = await self._plane.infer(model_name=self._name, request=request, headers=headers)
        response, encoded = self._plane.encode(
            model_name=self._name, response=response, headers=headers, req_attributes=attributes
        )
        content = response if isinstance(response, bytes) else orjson.dumps(response, option=orjson.OPT_SERIALIZE_NUMPY)
        answered = {"content-type": "application/json", **more, **encoded, "content-length": str(len(content))}
        pairs = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answered.items()]
        await send({"type": "http.response.start", "status": 200, "headers": pairs})
        await send({"type": "http.response.body", "body": content})


async def _body_of(receive: Receive) -> bytes:
    """Return the whole body, which the guard has read: one message."""
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return parts[0] if len(parts) == 1 else b"".join(parts)
