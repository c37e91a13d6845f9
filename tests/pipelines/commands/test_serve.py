"""`visual-search serve` and `query` as a person uses them: champion, address, curl line, promotion, Ctrl-C."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from components.registration.registry import Registry
from pipelines.__main__ import main
from pipelines.commands.serve import ServeOptions, serve_once
from pipelines.settings import read_settings
from serving.client import SearchClient
from support.servers.serving_processes import make_local_release, pictures_of


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A home with two registered releases; the first is champion, a second one with other pictures follows."""
    root = tmp_path_factory.mktemp("world")
    registry = Registry(f"sqlite:///{root / 'home' / 'mlflow.db'}")
    registry.register(make_local_release(root / "a", items=8, views=3))
    registry.register(make_local_release(root / "b", items=8, views=3, seed=7))
    return root / "home"


class Serve:
    """The command in a process of its own, and the lines that it prints."""

    def __init__(self, home: Path, *words: str) -> None:
        command = [sys.executable, "-m", "pipelines", "serve", "--home", str(home), "--port", "0", *words]
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        self._reader = threading.Thread(target=self._read)

    def __enter__(self) -> Serve:
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        self.process.stdout.close()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def wait_for(self, pattern: str, seconds: float = 120) -> re.Match:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if match := re.search(pattern, "\n".join(self.lines), re.MULTILINE):
                return match
            if self.process.poll() is not None and not self._reader.is_alive():
                break
            time.sleep(0.05)
        raise AssertionError(f"{pattern} was not printed: {self.lines}")


def test_serve_follows_the_champion_and_stops_at_a_signal(home, tmp_path, capsys):
    registry = Registry(f"sqlite:///{home / 'mlflow.db'}")
    first, second = registry.releases()
    with Serve(home, "--no-browser") as serve:
        url = serve.wait_for(r"^page +(http://127\.0\.0\.1:\d+)/$")[1]
        curl = serve.wait_for(r"^curl +(curl .*)$")[1]
        assert serve.wait_for(r"^serving +(\S+)")[1] == first.release_id
        serve.wait_for("Ctrl-C")
        printed = subprocess.run(shlex.split(curl), capture_output=True, check=True).stdout
        assert len(json.loads(printed)["predictions"][0]["results"]) == 5
        picture = tmp_path / "query.jpg"
        picture.write_bytes(next(iter(pictures_of(home / "releases" / first.release_id).values())))
        sheet = tmp_path / "sheet.html"
        assert main(["query", str(picture), "-k", "4", "--home", str(home), "--output", str(sheet)]) == 0
        assert len(capsys.readouterr().out.strip().splitlines()) == 6
        assert sheet.read_text().count("data:image/webp") == 4
        assert main(["query", str(picture), "--url", url, "--json", "--crop", "0,0,0.5,1"]) == 0
        assert json.loads(capsys.readouterr().out)["release_id"] == first.release_id
        assert main(["query", str(picture), "--url", url, "--crop", "0,0"]) == 1
        registry.promote(second.version, "champion", who="test", why="it is newer")
        serve.wait_for(f"champion is {second.release_id} now")
        with SearchClient(url) as client:
            deadline = time.monotonic() + 60
            while client.release()["release_id"] != second.release_id:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        children = psutil.Process(serve.process.pid).children(recursive=True)
        assert len(children) >= 4
        serve.process.send_signal(signal.SIGINT)
        assert serve.process.wait(60) == 0
        _, alive = psutil.wait_procs(children, timeout=20)
        assert not alive
        assert not (home / "serve" / "address.json").exists()


def test_a_directory_is_served_for_some_seconds_and_a_killed_parent_leaves_nobody(home, tmp_path):
    release = home.parent / "a" / "release"
    with Serve(tmp_path, str(release), "--seconds", "0.5", "--arm", "blue") as serve:
        serve.wait_for(r"arm blue")
        assert serve.process.wait(120) == 0
    with Serve(tmp_path, str(release)) as serve:
        serve.wait_for("Ctrl-C")
        children = psutil.Process(serve.process.pid).children(recursive=True)
        serve.process.kill()
        _, alive = psutil.wait_procs(children, timeout=30)
        assert not alive


def test_without_a_terminal_the_demonstration_asks_once_and_stops(home, capsys):
    settings = read_settings(home=home)
    assert serve_once(settings, ServeOptions(port=0)) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^page +http://", printed, re.MULTILINE)
    assert re.search(r"^1 +0\.\d+ +", printed, re.MULTILINE)
    assert not (home / "serve" / "address.json").exists()


def test_what_cannot_be_served_is_said_in_a_sentence(tmp_path, capsys):
    assert main(["serve", "--home", str(tmp_path)]) == 1
    assert "champion" in capsys.readouterr().err
    assert main(["serve", str(tmp_path), "--home", str(tmp_path)]) == 1
    assert "holds no release" in capsys.readouterr().err
    assert main(["query", str(tmp_path / "gone.jpg"), "--home", str(tmp_path)]) == 1
    assert "gone.jpg" in capsys.readouterr().err
    picture = tmp_path / "a.jpg"
    picture.write_bytes(b"x")
    assert main(["query", str(picture), "--url", "http://127.0.0.1:9", "--home", str(tmp_path)]) == 1
    assert "running" in capsys.readouterr().err


def test_query_shows_its_key(tmp_path, monkeypatch, capsys):
    """Against a service that asks for one; what it answers then is not of interest here."""
    shown = []

    class Service(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shown.append(self.headers["X-Api-Key"])
            self.send_error(401)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    (tmp_path / "picture.jpg").write_bytes(b"\xff\xd8\xff")
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        command = ["query", str(tmp_path / "picture.jpg"), "--url", f"http://127.0.0.1:{service.server_port}"]
        assert main(command) == 1
        monkeypatch.setenv("VISUAL_SEARCH_API_KEY", "of-sixteen-letters")
        assert main(command) == 1
        service.shutdown()
    assert set(shown[: len(shown) // 2]) == {None}
    assert set(shown[len(shown) // 2 :]) == {"of-sixteen-letters"}
    assert "of-sixteen-letters" not in capsys.readouterr().err
