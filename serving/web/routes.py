"""The page's routes: `/`, `/static/…` and thumbnails, with the headers that keep foreign script out.

The files are read once, when the router is made: what is served is a fixed table of names, so no path reaches the disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request, Response

from components.shared.errors import ContractError, ParameterError
from serving.server.refusals import RouteNotFoundError, UnknownThingError

STATIC = Path(__file__).parent / "static"
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "geolocation=(), microphone=(), payment=(), usb=()",
}
# A picture opened by its own address is no page: nothing in it may run.
THUMBNAIL_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, max-age=300",  # short: an image may be made private
}
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
THUMBNAIL_SIDES = (128, 256, 512, 1024)  # a side asked for is rounded up to one of these, which bounds what is cached

Thumbnails = Callable[[str, int], Awaitable[bytes | None]]


@dataclass(frozen=True)
class StaticFile:
    """One file of the page, as it is sent.

    Attributes:
        media_type: its Content-Type.
        etag: strong entity tag, the digest of the body.
    """

    body: bytes
    media_type: str
    etag: str


def make_router(thumbnails: Thumbnails) -> APIRouter:
    """Make the router of the page.

    Args:
        thumbnails: (image_id, longest side in pixels) → a re-encoded WebP or JPEG picture, or None where the image is
            unknown, private, inappropriate or removed: these look alike from outside.

    Raises:
        ContractError: a file of the page is missing from this installation.
    """
    files = read_static_files()
    router = APIRouter()

    async def page(request: Request) -> Response:
        return _answer(request, files["index.html"])

    async def static(request: Request, name: str) -> Response:
        if name not in files or name == "index.html":
            raise RouteNotFoundError("there is no such file; the page is at /")
        return _answer(request, files[name])

    async def thumbnail(request: Request, image_id: str, side: int = 256) -> Response:
        if not 1 <= side <= THUMBNAIL_SIDES[-1]:
            raise ParameterError(f"side must be from 1 to {THUMBNAIL_SIDES[-1]} pixels, not {side}")
        picture = await thumbnails(image_id, next(step for step in THUMBNAIL_SIDES if step >= side))
        if picture is None:
            raise UnknownThingError("there is no such image in the catalogue")
        file = StaticFile(picture, _media_type(picture), _etag(picture))
        return _respond(request, file, THUMBNAIL_HEADERS)

    methods = ["GET", "HEAD"]
    router.add_api_route("/", page, methods=methods, include_in_schema=False)
    router.add_api_route("/static/{name}", static, methods=methods, include_in_schema=False)
    # The converter `path` because an image_id may hold slashes.
    router.add_api_route("/v1/images/{image_id:path}/thumbnail", thumbnail, methods=methods, include_in_schema=False)
    return router


def read_static_files(directory: Path = STATIC) -> dict[str, StaticFile]:
    """Read the page's files: name → file.

    Raises:
        ContractError: `index.html` is missing.
    """
    files = {
        path.name: StaticFile(body := path.read_bytes(), MEDIA_TYPES[path.suffix], _etag(body))
        for path in sorted(directory.iterdir())
        if path.suffix in MEDIA_TYPES
    }
    if "index.html" not in files:
        raise ContractError(f"{directory} has no index.html; install the package again, with its package data.")
    return files


def _answer(request: Request, file: StaticFile) -> Response:
    # no-cache: kept, but asked for each time, so that the modules of two versions never meet in one page.
    return _respond(request, file, PAGE_HEADERS | {"Cache-Control": "no-cache"})


def _respond(request: Request, file: StaticFile, headers: dict[str, str]) -> Response:
    headers = headers | {"ETag": file.etag}
    if file.etag in _entity_tags(request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    return Response(file.body, media_type=file.media_type, headers=headers)


def _entity_tags(header: str) -> set[str]:
    return {tag.strip().removeprefix("W/") for tag in header.split(",")}


def _etag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _media_type(picture: bytes) -> str:
    if picture[:3] == b"\xff\xd8\xff":
        return "image/jpeg"
    if picture[:4] == b"RIFF" and picture[8:12] == b"WEBP":
        return "image/webp"
    raise ContractError(
        "a thumbnail must be a JPEG or WebP picture; the part that makes thumbnails returned something else."
    )
