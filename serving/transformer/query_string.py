"""The query string of the request being answered: kserve hands its models headers and body, not the address."""

from __future__ import annotations

from contextvars import ContextVar

from starlette.types import ASGIApp, Receive, Scope, Send

QUERY_STRING: ContextVar[str] = ContextVar("query_string", default="")


class QueryStringMiddleware:
    """Keeps the query string in the context of the request's task.

    Args:
        app: what answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        if scope["type"] == "http":
            QUERY_STRING.set(scope["query_string"].decode("latin-1"))
        await self._app(scope, receive, send)
