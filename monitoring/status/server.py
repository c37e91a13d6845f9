"""The status pages and the gauges over HTTP: read-only, on loopback unless told otherwise."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

from components.shared.errors import ResourceError, VisualSearchError
from monitoring.status.exporter import arms_of, render
from monitoring.status.page import PAGE_FILE, POLICY, empty_page
from monitoring.status.record import LATEST_FILE, RecordStore

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_HTML, _JSON = "text/html; charset=utf-8", "application/json"
_CONNECTIONS = 32
_HEADERS = {
    "Content-Security-Policy": POLICY + "; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD of `/`, `/arms/<arm>`, `/arms/<arm>/latest.json`, `/metrics` and `/healthz`; else 404."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "visual-search", ""
    timeout = 10  # seconds; slow clients are let go
    folder: ClassVar[Path]
    places: ClassVar[threading.BoundedSemaphore]

    def handle(self) -> None:
        """Serve one connection, if there is room for it."""
        if not self.places.acquire(blocking=False):
            self.close_connection = True
            return
        try:
            super().handle()
        finally:
            self.places.release()

    def do_GET(self) -> None:
        """Answer with a body."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Answer without."""
        self._answer(with_body=False)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: a scrape a few times a minute is no news."""

    def _answer(self, *, with_body: bool) -> None:
        try:
            status, kind, body = self._find(self.path.partition("?")[0])
        except (VisualSearchError, OSError):
            status, kind, body = 503, "text/plain; charset=utf-8", b"the record cannot be read\n"
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _find(self, path: str) -> tuple[int, str, bytes]:
        if path == "/healthz":
            return 200, "text/plain; charset=utf-8", b"ok\n"
        if path == "/metrics":
            return 200, METRICS_TYPE, render(self.folder)
        arms = arms_of(self.folder)
        if path == "/":
            page = (self.folder / arms[0] / PAGE_FILE).read_bytes() if arms else empty_page().encode()
            return 200, _HTML, page
        for arm in arms:
            if path == f"/arms/{arm}":
                return 200, _HTML, (self.folder / arm / PAGE_FILE).read_bytes()
            if path == f"/arms/{arm}/{LATEST_FILE}":
                record = RecordStore(self.folder / arm).latest()
                return 200, _JSON, record.model_dump_json(indent=2).encode()
        return 404, "text/plain; charset=utf-8", b"there is nothing here; see / and /metrics\n"


class StatusServer(ThreadingHTTPServer):
    """Serves a folder of monitoring.

    Args:
        folder: output of `visual-search monitor run`.
        host: address to listen on.
        port: 0: one that is free; see `url`.

    Raises:
        ResourceError: the port is taken.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, folder: Path, *, host: str = "127.0.0.1", port: int = 0) -> None:
        places = threading.BoundedSemaphore(_CONNECTIONS)
        handler = type("_HandlerOfFolder", (_Handler,), {"folder": folder, "places": places})
        try:
            super().__init__((host, port), handler)
        except OSError as error:
            raise ResourceError(
                f"{host}:{port} cannot be listened on ({error.strerror}); give another --port"
            ) from error

    @property
    def url(self) -> str:
        """Address of the page."""
        host, port = self.server_address[:2]
        return f"http://{'127.0.0.1' if host in {'0.0.0.0', '::'} else str(host)}:{port}"  # noqa: S104 - compared
