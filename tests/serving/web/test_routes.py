from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from components.shared.errors import ContractError
from serving.web.routes import CONTENT_SECURITY_POLICY, STATIC, make_router, read_static_files
from support.clients.page_shop import bare_app, serving
from support.factories.basics import encode_picture, make_picture

WEBP = encode_picture(make_picture(1), "WEBP")
JPEG = encode_picture(make_picture(1))
SINKS = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|DOMParser|setHTML")


@pytest.fixture
def asked() -> list[tuple[str, int]]:
    return []


@pytest.fixture
def client(asked: list[tuple[str, int]]) -> Iterator[httpx.Client]:
    async def thumbnails(image_id: str, side: int) -> bytes | None:
        asked.append((image_id, side))
        return {"a": WEBP, "cups/1-0": JPEG}.get(image_id)

    app = bare_app()
    app.include_router(make_router(thumbnails))
    with serving(app) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


def test_page_is_served_with_the_strict_policy(client: httpx.Client) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' blob: data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("name", sorted(path.name for path in STATIC.iterdir()))
def test_static_files_have_types_and_the_policy(client: httpx.Client, name: str) -> None:
    answer = client.get(f"/static/{name}")
    if name == "index.html":
        assert answer.status_code == 404  # one page, one address
        return
    kinds = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
    assert answer.status_code == 200
    assert answer.headers["content-type"] == kinds[Path(name).suffix]
    assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.content == (STATIC / name).read_bytes()


@pytest.mark.parametrize("path", ["/", "/static/main.js", "/v1/images/a/thumbnail"])
def test_what_is_known_is_not_sent_again(client: httpx.Client, path: str) -> None:
    first = client.get(path)
    tag = first.headers["etag"]
    for known in (tag, f'"other", {tag}', f"W/{tag}"):
        again = client.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
        assert again.headers["content-security-policy"] == first.headers["content-security-policy"]
    assert client.get(path, headers={"If-None-Match": '"other"'}).content == first.content
    head = client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(first.content))


@pytest.mark.parametrize(
    "path",
    [
        "/static/",
        "/static/none.js",
        "/static/../routes.py",
        "/static/..%2froutes.py",
        "/static/%2e%2e/routes.py",
        "/static/..%5croutes.py",
        "/static/%2fetc%2fpasswd",
        "/static//etc/passwd",
        "/static/main.js%00.css",
        "/static/__init__.py",
        "/index.html",
    ],
)
def test_nothing_else_is_reachable(client: httpx.Client, path: str) -> None:
    connection = http.client.HTTPConnection(client.base_url.host, client.base_url.port, timeout=60)
    try:
        connection.request("GET", path)  # sent as it stands: httpx would tidy it up
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    assert answer.status == 404
    assert json.loads(body)["error"]["code"] == "not_found"


def test_thumbnails_are_pictures_that_run_nothing(client: httpx.Client) -> None:
    for image_id, kind, body in (("a", "image/webp", WEBP), ("cups%2F1-0", "image/jpeg", JPEG)):
        answer = client.get(f"/v1/images/{image_id}/thumbnail")
        assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, kind, body)
        assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["cache-control"].startswith("private")


def test_sides_are_rounded_up_to_few(client: httpx.Client, asked: list[tuple[str, int]]) -> None:
    for side in (1, 128, 129, 256, 600, 1024):
        client.get(f"/v1/images/a/thumbnail?side={side}")
    client.get("/v1/images/a/thumbnail")
    assert [side for _, side in asked] == [128, 128, 256, 256, 1024, 1024, 256]
    for side in ("0", "-1", "1025"):
        refused = client.get(f"/v1/images/a/thumbnail?side={side}")
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "bad_request")


def test_unknown_and_private_thumbnails_look_alike(client: httpx.Client) -> None:
    private, unknown = (client.get(f"/v1/images/{name}/thumbnail") for name in ("private", "never-was"))
    assert private.status_code == unknown.status_code == 404
    assert private.content == unknown.content
    headers = [{name: value for name, value in each.headers.items() if name != "date"} for each in (private, unknown)]
    assert headers[0] == headers[1]
    assert "private" not in private.text


def test_an_installation_without_the_page_says_so(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"no index\.html; install the package again"):
        read_static_files(tmp_path)


def test_the_package_carries_the_page() -> None:
    project = (Path(__file__).parents[3] / "pyproject.toml").read_text()
    assert '"serving.web" = ["static/*"]' in project
    assert all(path.suffix in {".html", ".css", ".js", ".svg"} for path in STATIC.iterdir())


def test_the_page_names_files_that_exist_and_nothing_from_elsewhere() -> None:
    texts = {path.name: path.read_text() for path in STATIC.iterdir()}
    page = texts["index.html"]
    named = {part.split('"')[0] for part in page.split('"/static/')[1:]}
    assert named == set(texts) - {"index.html"}  # also: every module is preloaded
    for name, text in texts.items():
        outside = text.replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in outside, name
        assert "https://" not in outside, name
        for sink in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "DOMParser",
            "setHTML",
        ):
            assert sink not in text, (name, sink)
    assert "style=" not in page
    assert " on" not in "".join(part.split(">")[0] for part in page.split("<"))
