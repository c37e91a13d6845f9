"""The allow-list: a request whose method and path are not on it never reaches the application."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.routing import compile_path

from serving.server.refusals import MethodNotAllowedError, RouteNotFoundError

QUEUE_TAG = "queue:"
OPEN_TAG = "open"


@dataclass(frozen=True)
class Route:
    """One row of the allow-list.

    Attributes:
        methods: allowed HTTP methods.
        path: template, as Starlette writes them.
        queue: name of the queue that its requests pass, if any.
        is_open: whether it is answered without an API key.
        is_readiness: whether it must say no while the server drains.
    """

    methods: tuple[str, ...]
    path: str
    queue: str | None = None
    is_open: bool = False
    is_readiness: bool = False


def kserve_routes(name: str) -> list[Route]:
    """List what remains of kserve's own routes: prediction and health of one model. Load, unload, explain and docs do not."""
    return [
        Route(("POST",), f"/v1/models/{name}:predict", queue="search"),
        Route(("POST",), f"/v2/models/{name}/infer", queue="search"),
        Route(("GET",), "/v2/health/live", is_open=True),
        Route(("GET",), "/v2/health/ready", is_open=True, is_readiness=True),
        Route(("GET",), f"/v1/models/{name}", is_open=True, is_readiness=True),
        Route(("GET",), f"/v2/models/{name}/ready", is_open=True, is_readiness=True),
        Route(("GET",), f"/v2/models/{name}"),
        Route(("GET",), "/metrics"),
        Route(("GET",), "/", is_open=True),
    ]


def routes_of(routers: Sequence[APIRouter]) -> list[Route]:
    """List the routes of our routers. Tags: "queue:NAME" sends requests through a queue, "open" needs no API key.

    The page (`/`, `/static/…`) is open in any case: a browser has no key to send while it loads one.
    """
    found = []
    for route in (each for router in routers for each in router.routes):
        if not isinstance(route, APIRoute):
            raise TypeError(f"a router of the shell holds plain routes only, not a {type(route).__name__}")
        tags = [str(tag) for tag in route.tags]
        queue = next((tag.removeprefix(QUEUE_TAG) for tag in tags if tag.startswith(QUEUE_TAG)), None)
        is_open = OPEN_TAG in tags or route.path == "/" or route.path.startswith("/static/")
        found.append(Route(tuple(sorted(route.methods or ())), route.path, queue, is_open))
    return found


class AllowList:
    """Finds the row of a request.

    Args:
        routes: in order; the first that fits counts.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes: list[tuple[re.Pattern[str], Route]] = [(compile_path(each.path)[0], each) for each in routes]
        self._exact: dict[tuple[str, str], Route] = {}
        for _, route in reversed(self._routes):
            if "{" not in route.path:
                self._exact.update({(method, route.path): route for method in route.methods})

    def match(self, method: str, path: str) -> Route:
        """Return the row of a request.

        Raises:
            RouteNotFoundError: no row has this path.
            MethodNotAllowedError: rows have the path, none the method.
        """
        found = self._exact.get((method, path))
        if found is not None:
            return found
        fitting = [route for pattern, route in self._routes if pattern.match(path)]
        for route in fitting:
            if method in route.methods:
                return route
        if not fitting:
            raise RouteNotFoundError("There is nothing at this address.")
        allowed = tuple(sorted({each for route in fitting for each in route.methods}))
        raise MethodNotAllowedError(f"This address accepts only {', '.join(allowed)}.", allowed=allowed)
