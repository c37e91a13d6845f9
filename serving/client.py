"""A client for programs: search by a picture or by an image of the catalogue, and tell what was clicked.

SearchError                 every failure
├── ConnectionFailedError   no answer came
├── RefusedError            the request is at fault (400, 404, 413, 415, 422, 429); its `code` and `reason` say how
├── UnauthorisedError       an API key is needed, or another one (401)
└── UnavailableError        the service cannot answer now (500, 502, 503, 504); `retry_after_seconds` says when to try again

Example:
    >>> with SearchClient("http://127.0.0.1:8080") as client:  # doctest: +SKIP
    ...     answer = client.search("photo.jpg", k=5)
    ...     client.click(answer.results[0])
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from components.shared.defaults import MODEL_NAME, RESULTS
from components.shared.errors import VisualSearchError

_LOOPBACK = ("all://127.0.0.1", "all://localhost", "all://[::1]")
_SIGNATURES = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG", "image/png"), (b"RIFF", "image/webp"))


class SearchError(VisualSearchError):
    """A request failed.

    Attributes:
        status: status of HTTP; 0 where no answer came.
        code: the service's word for the failure, for example "bad_image".
        reason: a finer word, for example "truncated".
        request_id: to be found in the service's log.
        retry_after_seconds: pause that the service asks for.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        code: str = "",
        reason: str | None = None,
        request_id: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.reason = status, code, reason
        self.request_id, self.retry_after_seconds = request_id, retry_after_seconds


class ConnectionFailedError(SearchError):
    """No answer came: nothing listens, the connection broke, or it took too long."""


class RefusedError(SearchError):
    """The request is at fault; the same again would fail again."""


class UnauthorisedError(SearchError):
    """An API key is needed, or another one."""


class UnavailableError(SearchError):
    """The service cannot answer now; the same may succeed later."""


@dataclass(frozen=True)
class SearchResult:
    """One similar image.

    Attributes:
        position: from 1.
        uri: location of the picture in the catalogue.
        category: category of the item; None where it is not known.
        score: inner product of unit vectors, −1 to 1; higher is more similar.
        grouped: other images of the item, or near-duplicates, that it represents.
        thumbnail: path of its thumbnail on the service.
        token: vouches for clicks on it.
    """

    position: int
    image_id: str
    item_id: str
    uri: str
    category: str | None
    score: float
    grouped: int
    thumbnail: str
    token: str


@dataclass(frozen=True)
class SearchAnswer:
    """The answer to one query.

    Attributes:
        release_id: release that answered.
        query_image_id: the image that was searched by, if it was one of the catalogue.
        no_good_match: whether a floor was given and nothing reached it.
        results: best first.
        explain: effect of each rule, if requested.
    """

    query_id: str
    release_id: str
    space_id: str
    generation: int
    arm: str
    query_image_id: str | None
    no_good_match: bool
    results: tuple[SearchResult, ...]
    explain: tuple[dict[str, Any], ...] = ()


class SearchClient:
    """Talks to one service; keeps its connections open. May be used from several threads.

    Args:
        url: the service's address, for example "http://127.0.0.1:8080".
        api_key: key, if the service requires one.
        user_id: a pseudonym, 1 to 64 of A–Z, a–z, 0–9, "_" and "-"; by default a random one, kept while the client lives.
        timeout_seconds: time limit per request.
        model_name: model name.
        headers: sent with every request, for example the host name that a gateway routes by.
        sticky: stay in the arm of an A/B test that answers first, by the header that `/v1/release` names.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        user_id: str | None = None,
        *,
        timeout_seconds: float = 15.0,
        model_name: str = MODEL_NAME,
        headers: Mapping[str, str] | None = None,
        sticky: bool = True,
    ) -> None:
        self._pins = not sticky  # whether there is nothing to find out any more
        self.user_id = user_id or secrets.token_urlsafe(12)
        sent = {**(headers or {}), "X-Visual-Search-User": self.user_id}
        if api_key is not None:
            sent["X-Api-Key"] = api_key
        self._predict = f"/v1/models/{model_name}:predict"
        # A proxy of the environment is for the world outside, not for a service on this machine.
        self._http = httpx.Client(base_url=url, headers=sent, timeout=timeout_seconds, mounts=dict.fromkeys(_LOOPBACK))

    def search(
        self,
        picture: str | Path | bytes,
        k: int = RESULTS,
        *,
        crop: Sequence[float] | None = None,
        explain: bool = False,
        floor: float | str | None = None,
        **parameters: Any,
    ) -> SearchAnswer:
        """Search by a picture.

        Args:
            picture: path of a JPEG, PNG, WebP, AVIF, GIF, TIFF or BMP file, or its bytes.
            k: number of results, 1 to 200.
            crop: x, y, width, height of the part to search by, as fractions of the upright picture.
            explain: say what each rule did.
            floor: least score of a good match; "calibrated": the release's own.
            **parameters: further ones of the service: group_items, collapse_duplicates, exclude_self.

        Raises:
            SearchError: or one of its kinds.
            OSError: the file cannot be read.
        """
        data = picture if isinstance(picture, bytes) else Path(picture).read_bytes()
        words: dict[str, Any] = {"k": k, "explain": explain, "floor": floor, **parameters}
        if crop is not None:
            words["crop"] = ",".join(f"{part:g}" for part in crop)
        query = {name: _word(value) for name, value in words.items() if value is not None}
        self._stay()
        found = self._ask("POST", self._predict, params=query, content=data, headers={"Content-Type": _type_of(data)})
        return _answer_of(found["predictions"][0])

    def similar(
        self,
        image_id: str,
        k: int = RESULTS,
        *,
        explain: bool = False,
        floor: float | str | None = None,
        **parameters: Any,
    ) -> SearchAnswer:
        """Search by an image of the catalogue ("more like this"); parameters as in `search`.

        Raises:
            SearchError: or one of its kinds; a RefusedError of status 404 where there is no such image.
        """
        words = {"k": k, "explain": explain, "floor": floor, **parameters}
        body = {
            "instances": [{"image_id": image_id}],
            "parameters": {name: value for name, value in words.items() if value is not None},
        }
        self._stay()
        return _answer_of(self._ask("POST", self._predict, json=body)["predictions"][0])

    def click(self, result: SearchResult, *, visit: int = 0) -> None:
        """Tell that a result was clicked; told again, it counts once.

        Args:
            result: result of an answer that this service gave.
            visit: 0 to 9; another number makes it another click.
        """
        self._tell({"token": result.token, "type": "click", "visit": visit})

    def dwell(self, result: SearchResult, milliseconds: int, *, visit: int = 0) -> None:
        """Report how long a result was viewed."""
        self._tell({"token": result.token, "type": "dwell", "dwell_ms": milliseconds, "visit": visit})

    def release(self) -> dict[str, Any]:
        """Return what is served: release_id, space_id, generation, arm, pin, images, items, floors."""
        found: dict[str, Any] = self._ask("GET", "/v1/release")
        return found

    def samples(self, n: int = 12) -> list[dict[str, Any]]:
        """Return some images of the catalogue: image_id, item_id, category, thumbnail."""
        found: list[dict[str, Any]] = self._ask("GET", "/v1/samples", params={"n": n})["samples"]
        return found

    def thumbnail(self, image_id: str, side: int = 256) -> bytes:
        """Return an image of the catalogue, re-encoded to fit into side × side pixels.

        Raises:
            RefusedError: there is no such image.
        """
        path = f"/v1/images/{quote(image_id, safe='')}/thumbnail"
        return self._send("GET", path, params={"side": side}).content

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _stay(self) -> None:
        """Before the first search, ask which header leads back to the arm that answers, and send it from now on."""
        if self._pins:
            return
        try:
            pin = self.release().get("pin") or {}
        except SearchError:  # the search itself will say what is wrong
            return
        self._http.headers.update({str(name): str(value) for name, value in pin.items()})
        self._pins = True

    def _tell(self, event: dict[str, Any]) -> None:
        outcome = self._ask("POST", "/v1/events", json={"events": [event]})
        if outcome.get("refused"):
            reason = str(outcome["refused"][0].get("reason", ""))
            raise RefusedError(f"the event was refused: {reason}", status=200, code="event_refused", reason=reason)

    def _ask(self, method: str, path: str, **options: Any) -> Any:
        response = self._send(method, path, **options)
        try:
            return response.json()
        except ValueError as error:
            raise UnavailableError(
                f"{self._http.base_url} answered with something that is not JSON; check the address",
                status=response.status_code,
            ) from error

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            text = str(error) or type(error).__name__
            raise ConnectionFailedError(
                f"{self._http.base_url} gives no answer ({text}); check that the service is running", code="no_answer"
            ) from error
        if response.is_success:
            return response
        raise _error_of(response)


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _type_of(data: bytes) -> str:
    return next((name for magic, name in _SIGNATURES if data.startswith(magic)), "image/jpeg")


def _answer_of(found: Mapping[str, Any]) -> SearchAnswer:
    names = {field.name for field in fields(SearchResult)}
    results = tuple(
        SearchResult(**{name: value for name, value in result.items() if name in names}) for result in found["results"]
    )
    known = {field.name: found[field.name] for field in fields(SearchAnswer) if field.name in found}
    return SearchAnswer(**{**known, "results": results, "explain": tuple(found.get("explain", ()))})


def _error_of(response: httpx.Response) -> SearchError:
    try:
        body = response.json()
        error = body["error"]
        code, reason, message, request_id = error["code"], error.get("reason"), error["message"], body["request_id"]
    except (ValueError, KeyError, TypeError, AttributeError):  # a proxy's own page
        code, reason, message, request_id = "", None, f"the service answered with status {response.status_code}", None
    after = response.headers.get("retry-after", "")
    kind: type[SearchError] = RefusedError
    if response.status_code == 401:
        kind = UnauthorisedError
    elif response.status_code >= 500 or response.status_code < 400:
        kind = UnavailableError
    return kind(
        message,
        status=response.status_code,
        code=code,
        reason=reason,
        request_id=request_id or response.headers.get("x-request-id"),
        retry_after_seconds=float(after) if after.replace(".", "", 1).isdigit() else None,
    )
