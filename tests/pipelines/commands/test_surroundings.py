"""Ports that are taken, proxies, terminals of other encodings, full temporary folders."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from components.shared.environment import check_temporary_folder, prepare_process
from components.shared.errors import ResourceError
from pipelines.commands.serving_processes import Ports, ServingProcesses, require_free_port
from serving.client import SearchClient

ROOT = Path(__file__).parents[3]


def command(*words, **environment):
    return subprocess.run(
        [sys.executable, "-m", "pipelines", *words], cwd=ROOT, capture_output=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip


@pytest.fixture
def busy():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_second_service_on_a_port_is_refused_and_disturbs_nothing(busy, tmp_path):
    (tmp_path / "serve").mkdir()
    address = tmp_path / "serve" / "address.json"
    address.write_text(json.dumps({"url": f"http://127.0.0.1:{busy}", "pid": 1}))
    before = sorted(path.name for path in tmp_path.rglob("*"))
    done = command("serve", "--home", str(tmp_path), "--port", str(busy), "--no-browser")
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1 port {busy}: another process listens there" in done.stderr.decode()
    assert b"serving" not in done.stdout
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
    assert address.exists()


def test_what_a_host_or_port_that_cannot_be_had_is_told(busy):
    with pytest.raises(ResourceError, match="choose another port with --port"):
        ServingProcesses(Path("x"), Path("y"), ports=Ports(transformer=busy))
    with pytest.raises(ResourceError, match="not an address of this machine"):
        require_free_port("192.0.2.1", 8080)
    require_free_port("127.0.0.1", 0)


def test_addresses_of_ipv6_hosts_are_addresses(tmp_path):
    processes = ServingProcesses(tmp_path, tmp_path, host="::1")
    try:
        assert httpx.URL(processes.url).host == "::1"
        assert httpx.URL(processes.url).port == processes.port
    finally:
        processes.stop()


def test_loopback_passes_by_every_proxy(monkeypatch, busy):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "example.org")
    monkeypatch.delenv("NO_PROXY", raising=False)
    for host in ("127.0.0.1", "localhost", "[::1]"):
        client = SearchClient(f"http://{host}:{busy}")
        assert client._http._transport_for_url(httpx.URL(f"http://{host}:{busy}/x")) is client._http._transport
    prepare_process()
    import urllib.request

    assert os.environ["no_proxy"] == "example.org,127.0.0.1,localhost,::1"
    assert urllib.request.proxy_bypass("127.0.0.1:8080")
    assert urllib.request.proxy_bypass("example.org")
    assert not urllib.request.proxy_bypass("example.com")


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252"])
def test_every_terminal_can_print(encoding, tmp_path):
    done = command("parameters", "training", "--home", str(tmp_path), PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode(encoding)


def test_a_temporary_folder_that_cannot_be_written_is_named(monkeypatch, tmp_path):
    import tempfile

    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def write(self, _):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(ResourceError, match=r"temporary folder .*gone cannot be written \(No such file or directory\)"):
        check_temporary_folder()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    check_temporary_folder()
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Full())
    with pytest.raises(ResourceError, match=r"No space left on device\); free some space there, or set TMPDIR"):
        check_temporary_folder()
