"""A server with the real routes of the page and scripted answers, for what is hard to provoke in the real transformer."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from components.shared.errors import VisualSearchError
from serving.server.problems import ProblemTable
from serving.web.routes import make_router
from serving.web.thumbnails import ThumbnailCache, ThumbnailSource
from support.factories.basics import encode_picture, make_picture

ITEMS = 6
KEY = "sesame"


@dataclass
class Asked:
    """One search that came in."""

    headers: dict[str, str]
    parameters: dict[str, Any]
    body: bytes


@dataclass
class Script:
    """What is answered; a test changes it and reads what came in."""

    problems: list[tuple[int, str, str, dict[str, str]]] = field(default_factory=list)
    key: str | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    results: list[dict[str, Any]] | None = None
    release: dict[str, Any] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    thumbnail_headers: list[dict[str, str]] = field(default_factory=list)


def bare_app() -> FastAPI:
    """An app without routes that answers errors by the table of the shell."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    async def on_error(_: Request, error: Exception) -> Response:
        problem = ProblemTable().problem_of(error)
        return Response(problem.body("request-1"), problem.kind.status, media_type="application/json")

    for kind in (VisualSearchError, HTTPException):
        app.add_exception_handler(kind, on_error)
    return app


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Serve an app in a thread, on a port that is free; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(app, log_level="error", lifespan="off", ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            # Listening already: a client that comes before the server is up waits in the backlog.
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)


class Shop:
    """The app and its script."""

    def __init__(self) -> None:
        self.script = Script()
        self.pictures = {f"img-{n}": encode_picture(make_picture(n, item=n, size=(320, 240))) for n in range(ITEMS)}
        self.app = self._app()

    def new_script(self) -> None:
        """Forget what came in and what was changed."""
        self.script = Script()

    def default_results(self) -> list[dict[str, Any]]:
        return [
            {
                "position": n + 1,
                "image_id": image_id,
                "item_id": f"item-{n}",
                "uri": f"file:///secret/{n}.jpg",
                "category": "teapots",
                "score": 0.95 - 0.1 * n,
                "grouped": n % 3,
                "thumbnail": f"/v1/images/{image_id}/thumbnail",
                "token": f"token-{n}",
                "explain": ["one of the nearest"],
            }
            for n, image_id in enumerate(self.pictures)
        ]

    def _app(self) -> FastAPI:
        app = bare_app()

        def locate(image_id: str) -> ThumbnailSource | None:
            data = self.pictures.get(image_id)
            return None if data is None else ThumbnailSource(hashlib.sha256(data).hexdigest(), image_id)

        async def render(uri: str, side: int) -> bytes:
            await asyncio.sleep(0)
            return self.pictures[uri]

        @app.middleware("http")
        async def keep(request: Request, call_next: Any) -> Response:
            script = self.script
            if request.url.path.endswith("/thumbnail"):
                script.thumbnail_headers.append(dict(request.headers))
            if request.url.path.startswith("/v1/") and script.key and request.headers.get("x-api-key") != script.key:
                return _problem(401, "unauthorised", "An API key is needed.")
            answer: Response = await call_next(request)
            answer.headers.update({"X-Visual-Search-Release": "r-1234567890abcdef", "X-Visual-Search-Arm": "champion"})
            return answer

        app.include_router(make_router(ThumbnailCache(locate, render)))
        app.add_api_route("/v1/release", self._release)
        app.add_api_route("/v1/samples", self._samples)
        app.add_api_route("/v1/events", self._events, methods=["POST"])
        app.add_api_route("/v1/models/visual-search:predict", self._predict, methods=["POST"])
        return app

    async def _release(self) -> dict[str, Any]:
        facts = {"release_id": "r-1234567890abcdef", "space_id": "s-1", "generation": 0, "arm": "champion"}
        return facts | {"images": 12_345, "items": 1_234, "floors": {"calibrated": 0.6}} | self.script.release

    async def _samples(self, n: int) -> dict[str, Any]:
        names = ("image_id", "item_id", "category", "thumbnail")
        found = self.script.results if self.script.results is not None else self.default_results()
        return {"samples": [{name: result[name] for name in names} for result in found][:n]}

    async def _events(self, request: Request) -> dict[str, Any]:
        events = (await request.json())["events"]
        self.script.events += events
        return {"accepted": len(events), "repeated": 0, "refused": []}

    async def _predict(self, request: Request) -> Response:
        body = await request.body()
        script = self.script
        is_json = request.headers["content-type"] == "application/json"
        parameters = json.loads(body)["parameters"] if is_json else dict(request.query_params)
        script.asked.append(Asked(dict(request.headers), parameters, body))
        if script.problems:
            return _problem(*script.problems.pop(0))
        prediction = {
            "query_id": "q-0123456789",
            "release_id": "r-1234567890abcdef",
            "space_id": "s-1",
            "generation": 0,
            "arm": "champion",
            "query_image_id": None,
            "no_good_match": False,
            "results": script.results if script.results is not None else self.default_results(),
            "explain": [{"rule": "group_items", "text": "Pictures of one item count once."}],
        }
        return Response(json.dumps({"predictions": [prediction | script.changes]}), media_type="application/json")


def _problem(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    body = json.dumps({"error": {"code": code, "message": message}, "request_id": "request-1"})
    return Response(body, status, headers=headers, media_type="application/json")
