"""`visual-search serve` and `visual-search query`: the champion on this machine, and a question to it from the shell."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import sys
import threading
import time
import webbrowser
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow.parquet as pq

from components.shared.defaults import MODEL_NAME
from components.shared.errors import ParameterError, ResourceError, VisualSearchError
from components.shared.files.atomic import write_json
from components.shared.files.text_table import text_table
from components.shared.release.manifest import GOLDEN_FILE, Manifest, is_release, read_manifest
from components.shared.release.served import publish_release
from pipelines.commands.result_sheet import Sheet, write_sheet
from pipelines.commands.serving_processes import Ports, ServingProcesses, require_free_port
from pipelines.settings import Settings
from serving.client import SearchAnswer, SearchClient, SearchError

_POLL_SECONDS = 5.0
_ADDRESS_FILE = "address.json"
_PORT = 8080
_DEFAULT_URL = f"http://127.0.0.1:{_PORT}"
_SIGNATURES = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"RIFF": ".webp"}


@dataclass(frozen=True)
class ServeOptions:
    """How to serve.

    Attributes:
        target: a release directory, or a version, alias or release_id of the registry.
        host: address to listen on.
        port: port of the page and the API; 0: one that is free.
        arm: name of this arm.
        seconds: stop by itself after so long; None: at Ctrl-C.
        browser: open the page.
    """

    target: str = "champion"
    host: str = "127.0.0.1"
    port: int = _PORT
    arm: str = "champion"
    seconds: float | None = None
    browser: bool = True


def serve(settings: Settings, options: ServeOptions) -> int:
    """Serve a release until Ctrl-C, picking up releases that are promoted in the meantime.

    Raises:
        ParameterError: there is no such release.
        ResourceError: a process does not start, or ends.
    """
    with _Service(settings, options) as service:
        print(service.greeting(), flush=True)
        if options.browser and sys.stdout.isatty():
            webbrowser.open(service.url)
        service.run()
    print("stopped", flush=True)
    return 0


def serve_once(settings: Settings, options: ServeOptions) -> int:
    """Serve a release, ask it one query from end to end, show the answer, and stop: for scripts and continuous integration.

    Raises:
        SearchError: the query failed.
    """
    with _Service(settings, options) as service:
        print(service.greeting(), flush=True)
        with SearchClient(service.url, _key(settings)) as client:
            answer = client.search(service.picture, k=5)
        if not answer.results:
            raise ResourceError("the service answered its first query without results; check its logs")
        print(format_answer(answer))
    print("\nstopped; `visual-search serve` starts it again")
    return 0


def query(
    settings: Settings, picture: Path, *, url: str | None, k: int, crop: str | None, output: Path | None
) -> SearchAnswer:
    """Ask a service and, if wanted, write a sheet.

    Args:
        settings: for where the service on this machine listens.
        picture: file to search by.
        url: url of the service; None: the one that `serve` started from the same home.
        k: number of results.
        crop: "x,y,width,height" as fractions.
        output: .html or .png.

    Raises:
        ParameterError: the file cannot be read, or the crop is no crop.
        SearchError: the service refuses or gives no answer.
    """
    try:
        data = picture.read_bytes()
    except OSError as error:
        raise ParameterError(f"{picture} cannot be read: {error.strerror or error}") from error
    with SearchClient(url or (running_address(settings.home, "url") or _DEFAULT_URL), _key(settings)) as client:
        answer = client.search(data, k=k, crop=_crop_of(crop))
        if output is not None:
            thumbnails = [_thumbnail(client, result.image_id) for result in answer.results]
            write_sheet(output, Sheet(picture.name, data, answer, thumbnails))
    return answer


def format_answer(answer: SearchAnswer) -> str:
    """Lay an answer out as a table."""
    if not answer.results:
        return "no good match" if answer.no_good_match else "no result"
    rows = [
        (str(r.position), f"{r.score:.3f}", r.image_id, r.item_id, r.category or "–", str(r.grouped or "–"), r.uri)
        for r in answer.results
    ]
    head = ("#", "score", "image", "item", "category", "more", "uri")
    return text_table(head, rows)


def answer_as_json(answer: SearchAnswer) -> str:
    """Return an answer as JSON."""
    return json.dumps(asdict(answer), indent=2, ensure_ascii=False)


def preferred_port() -> int:
    """Return 8080, or 0 where something else listens there already."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", _PORT))
        except OSError:
            return 0
    return _PORT


class _Service:
    """The two processes on what the registry, or a folder, gives."""

    def __init__(self, settings: Settings, options: ServeOptions) -> None:
        self._settings, self._options = settings, options
        self._folder = settings.home.absolute() / "serve"
        self._stopping = threading.Event()
        self._root = settings.home.absolute() / "served"
        if options.port:
            require_free_port(options.host, options.port)  # before a release is fetched, which takes a while
        self._source = _source_of(settings, options.target)
        self.manifest: Manifest
        self.picture: Path

    def __enter__(self) -> _Service:
        directory = self._source()
        publish_release(self._root, directory)
        self.manifest = read_manifest(directory)
        self._folder.mkdir(parents=True, exist_ok=True)
        self.picture = _write_picture(directory, self._folder)
        home = self._settings.home.absolute()
        environment = {
            "arm": self._options.arm,
            "events_url": self._settings.event_store,
            "events_key_file": str(self._key_file()),
            "samples": str(home / "query-samples"),
            "service_counts": str(self._settings.service_counts),
            "cache": str(self._folder / "cache"),
        }
        self._processes = ServingProcesses(
            self._root,
            self._folder,
            environment,
            host=self._options.host,
            ports=Ports(transformer=self._options.port),
        )
        try:
            self._processes.start()
            self._processes.wait_ready()
        except BaseException:
            self._processes.stop()
            raise
        self.url = self._processes.url
        encoder_url = f"http://127.0.0.1:{self._processes.encoder_http_port}"
        write_json(self._folder / _ADDRESS_FILE, {"url": self.url, "encoder_url": encoder_url, "pid": os.getpid()})
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        with contextlib.suppress(OSError, ValueError):
            if (
                json.loads((self._folder / _ADDRESS_FILE).read_text()).get("pid") == os.getpid()
            ):  # not another service's
                (self._folder / _ADDRESS_FILE).unlink()
        self._processes.stop()

    def _key_file(self) -> Path:
        """Return the file of the keys that sign impression tokens, so that those of yesterday are good today."""
        from serving.events.keys import read_keys

        path = self._folder / "event-keys"
        read_keys(path, create=True)
        return path

    def greeting(self) -> str:
        """Say what is served where, and how to ask it."""
        facts = self.manifest.catalogue
        address = f"{self.url}/v1/models/{MODEL_NAME}:predict?k=5"
        kind = {".jpg": "jpeg", ".png": "png", ".webp": "webp"}[self.picture.suffix]
        return (
            f"serving  {self.manifest.release_id}  ({self._options.target}, arm {self._options.arm}, "
            f"{facts.images} images of {facts.items} items)\n"
            f"page     {self.url}/\n"
            f"curl     curl -s -H 'Content-Type: image/{kind}' --data-binary @{shlex.quote(str(self.picture))} "
            f"{shlex.quote(address)}\n"
            f"logs     {self._folder}/encoder.log, transformer.log\n"
        )

    def run(self) -> None:
        """Keep serving; pick up promotions; end after the given time or at Ctrl-C.

        Raises:
            ResourceError: a process has ended.
        """
        deadline = None if self._options.seconds is None else time.monotonic() + self._options.seconds
        if isinstance(self._source, _RegistrySource):
            threading.Thread(target=self._follow, args=(self._source,), name="promotions", daemon=True).start()
        print("Ctrl-C stops it", flush=True)
        try:
            while deadline is None or time.monotonic() < deadline:
                self._processes.check()
                time.sleep(0.5 if deadline is None else min(0.5, max(0.0, deadline - time.monotonic())))
        except KeyboardInterrupt:
            print("\nstopping …", flush=True)

    def _follow(self, source: _RegistrySource) -> None:
        """Publish what the alias points to, whenever that changes."""
        served = self.manifest.release_id
        while not self._stopping.wait(_POLL_SECONDS):
            try:
                release_id = source.release_id()
                if release_id != served:
                    publish_release(self._root, source())
                    served = release_id
                    print(f"{source.name} is {release_id} now; it is being loaded", flush=True)
            except VisualSearchError as error:
                print(f"visual-search: the promoted release cannot be served yet: {error}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class _RegistrySource:
    """A version or alias in the registry; an alias may point elsewhere tomorrow."""

    tracking_uri: str
    name: str
    releases: Path

    def __call__(self) -> Path:
        from components.registration.registry import Registry

        return Registry(self.tracking_uri).fetch(self.name, self.releases)

    def release_id(self) -> str:
        """Return the release that the name refers to now."""
        from components.registration.registry import Registry

        return Registry(self.tracking_uri).get(self.name).release_id


def _source_of(settings: Settings, target: str) -> Callable[[], Path] | _RegistrySource:
    path = Path(target)
    if is_release(path):
        return lambda: path
    if path.is_dir():
        raise ParameterError(
            f"{path} is a folder but holds no release (no manifest.json); give a release, version or alias"
        )
    return _RegistrySource(settings.registry_uri, target, settings.home.absolute() / "releases")


def _write_picture(release: Path, folder: Path) -> Path:
    """Write one of the release's golden pictures, to try the service with."""
    data = pq.read_table(release / GOLDEN_FILE, columns=["picture"]).column("picture")[0].as_py()
    ending = next((ending for magic, ending in _SIGNATURES.items() if data.startswith(magic)), ".jpg")
    path = folder / f"query{ending}"
    path.write_bytes(data)
    return path


def _key(settings: Settings) -> str | None:
    return settings.api_key.get_secret_value() or None


def running_address(home: Path, name: str) -> str | None:
    """Return an address ("url", "encoder_url") of the service that `serve` runs from this home, if it does."""
    try:
        return str(json.loads((home / "serve" / _ADDRESS_FILE).read_text())[name])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _crop_of(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        crop = [float(part) for part in text.split(",")]
    except ValueError:
        crop = []
    if len(crop) != 4:
        raise ParameterError(f"--crop takes x,y,width,height as fractions of the picture, not {text!r}")
    return crop


def _thumbnail(client: SearchClient, image_id: str) -> bytes | None:
    try:
        return client.thumbnail(image_id)
    except SearchError:
        return None
