"""A web shop that shows similar products beside each product, and reports clicks back, so that search learns from them.

    python examples/web_shop.py http://127.0.0.1:8080        # the address of a running `visual-search serve`

The shop's server asks the search service; browsers never see the service or its API key. Each link to a similar product goes
through `/go`, which reports the click with the signed token of the result. A cookie keeps a pseudonym per visitor, so that the
visitor stays in one arm of an A/B test and clicks count per user.
"""

from __future__ import annotations

import html
import os
import secrets
import sys
from http import HTTPStatus
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, urlsplit

from serving.client import SearchClient, SearchError, SearchResult

COOKIE = "shop_visitor"


class Shop(ThreadingHTTPServer):
    """The shop's server: pages by product, and the latest results per visitor, by which `/go` finds the token of a click."""

    daemon_threads = True

    def __init__(self, search_url: str, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Page)
        self.search_url = search_url
        self.shown: dict[tuple[str, str], SearchResult] = {}  # a real shop keeps this in its session store

    def client(self, visitor: str) -> SearchClient:
        """Return a client that speaks for one visitor."""
        return SearchClient(self.search_url, api_key=os.environ.get("SHOP_SEARCH_KEY"), user_id=visitor)


class Page(BaseHTTPRequestHandler):
    """One request of a browser."""

    server: Shop

    def do_GET(self) -> None:
        """Answer `/` (some products), `/product/ID` (with similar ones), `/go?to=ID` (a click) and `/picture/ID`."""
        address = urlsplit(self.path)
        kind, _, image_id = address.path.strip("/").partition("/")
        try:
            with self.server.client(self._visitor()) as client:
                if kind == "picture":
                    self._send(client.thumbnail(image_id), "image/webp")
                elif kind == "go":
                    self._click(client, parse_qs(address.query)["to"][0])
                elif kind == "product":
                    self._product(client, image_id)
                else:
                    products = client.samples(12)
                    self._send_page(
                        "Products", "".join(_tile(p["image_id"], f"/product/{p['image_id']}") for p in products)
                    )
        except (SearchError, KeyError) as error:  # the shop works without search: it only shows fewer links
            self._send_page("Products", f"<p>Similar products are not available ({html.escape(str(error))}).</p>")

    def _product(self, client: SearchClient, image_id: str) -> None:
        answer = client.similar(image_id, k=6, floor="calibrated" if client.release()["floors"] else None)
        for result in answer.results:
            self.server.shown[client.user_id, result.image_id] = result
        similar = "".join(_tile(each.image_id, f"/go?to={quote(each.image_id, safe='')}") for each in answer.results)
        self._send_page(image_id, f"{_tile(image_id, '/')}<h2>Similar products</h2>{similar}")

    def _click(self, client: SearchClient, image_id: str) -> None:
        if result := self.server.shown.get((client.user_id, image_id)):
            client.click(result)
        self.send_response(HTTPStatus.SEE_OTHER)
        self.send_header("Location", f"/product/{quote(image_id)}")
        self.end_headers()

    def _visitor(self) -> str:
        cookie = SimpleCookie(self.headers.get("Cookie", "")).get(COOKIE)
        self.visitor = cookie.value if cookie else secrets.token_urlsafe(12)
        return self.visitor

    def _send_page(self, title: str, body: str) -> None:
        page = (
            f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title><h1>{html.escape(title)}</h1>{body}"
        )
        self._send(page.encode(), "text/html; charset=utf-8")

    def _send(self, body: bytes, media_type: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Set-Cookie", f"{COOKIE}={self.visitor}; HttpOnly; SameSite=Lax; Path=/")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet; a real shop logs here."""


def _tile(image_id: str, link: str) -> str:
    return f'<a href="{link}"><img src="/picture/{quote(image_id)}" alt="{html.escape(image_id)}" width="128"></a>'


if __name__ == "__main__":
    shop = Shop(sys.argv[1], port=8000)
    print("http://127.0.0.1:8000")
    shop.serve_forever()
