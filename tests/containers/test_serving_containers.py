"""Encoder and transformer as the containers they are on a cluster: hardened, in one network namespace, on one mounted release."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from support.factories.release_factory import make_release
from support.servers.container_images import Hardened, build, docker, require_engine, size_of

pytestmark = pytest.mark.timeout(900)
_BUILD_SECONDS = 240
_START_SECONDS = 300
_MOST_BYTES = 2_000_000_000
_FORBIDDEN = ("torch", "torchvision", "mlflow", "kfp", "evidently", "pip")

_SEARCH = """
import json, urllib.request
picture = open("/pictures/query.jpg", "rb").read()
request = urllib.request.Request(
    "http://127.0.0.1:8080/v1/models/visual-search:predict?k=5", data=picture, headers={"Content-Type": "image/jpeg"}
)
with urllib.request.urlopen(request, timeout=30) as answer:
    print(json.dumps({"arm": answer.headers["X-Visual-Search-Arm"], "body": json.load(answer)}))
"""
_READY = """
import sys, urllib.request
try:
    sys.exit(urllib.request.urlopen("http://127.0.0.1:8080/v2/health/ready", timeout=5).status != 200)
except OSError:
    sys.exit(1)
"""
_METRICS = """
import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:8080/metrics", timeout=10).read().decode())
print(urllib.request.urlopen("http://127.0.0.1:8085/metrics", timeout=10).read().decode())
"""
_RIGHTS = """
import os, socket
status = dict(line.split(":", 1) for line in open("/proc/1/status").read().splitlines())
assert os.getuid() == 1000 and os.getgid() == 1000, (os.getuid(), os.getgid())
assert int(status["CapEff"], 16) == 0 and int(status["CapBnd"], 16) == 0, status
assert status["NoNewPrivs"].strip() == "1", status
assert sorted(name for _, name in socket.if_nameindex()) == ["lo"], socket.if_nameindex()
for path in ("/app/x", "/opt/venv/x", "/mnt/models/x", "/x"):
    try:
        open(path, "w")
    except OSError:
        continue
    raise SystemExit(f"{path} can be written")
"""


@pytest.fixture(scope="module")
def images() -> dict[str, str]:
    require_engine()
    folders = {"visual-search-encoder": "serving/encoder", "visual-search-transformer": "serving/transformer"}
    return {name: build(name, folder, seconds=_BUILD_SECONDS) for name, folder in folders.items()}


@pytest.fixture(scope="module")
def pod(images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Hardened]]:
    root = tmp_path_factory.mktemp("containers")
    release = make_release(root / "made")
    pictures = root / "pictures"
    pictures.mkdir()
    first = min((root / "made").rglob("*.jpg"))
    (pictures / "query.jpg").write_bytes(first.read_bytes())
    for path in (root, *root.rglob("*")):  # uid 1000 reads what root wrote
        path.chmod(0o755 if path.is_dir() else 0o644)
    mounts = [f"{release}:/mnt/models:ro", f"{pictures}:/pictures:ro"]
    cache = "VISUAL_SEARCH_CACHE=/tmp/visual-search"
    encoder = Hardened(
        images["visual-search-encoder"],
        "--model_name=visual-search", "--http_port=8085", "--grpc_port=8081", "--workers=1",
        network="none", mounts=mounts[:1], variables=[cache, "VISUAL_SEARCH_LAME_DUCK_SECONDS=1"],
    )  # fmt: skip
    transformer = None
    try:
        transformer = Hardened(
            images["visual-search-transformer"],
            "--model_name=visual-search", "--http_port=8080", "--predictor_host=127.0.0.1:8081", "--workers=1",
            network=f"container:{encoder.name}", mounts=mounts,
            variables=[cache, "VISUAL_SEARCH_ARM=challenger", "VISUAL_SEARCH_LAME_DUCK_SECONDS=1"],
        )  # fmt: skip
        deadline = time.monotonic() + _START_SECONDS
        while transformer.python(_READY).returncode != 0:
            if time.monotonic() > deadline:
                pytest.fail(
                    f"not ready after {_START_SECONDS} s\n{encoder.logs()[-3000:]}\n{transformer.logs()[-3000:]}"
                )
            time.sleep(1)
        yield {"encoder": encoder, "transformer": transformer}
    finally:
        if transformer is not None:
            transformer.remove()
        encoder.remove()


def test_a_search_over_http_inside_the_pod(pod: dict[str, Hardened]) -> None:
    done = pod["transformer"].python(_SEARCH)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    prediction = answer["body"]["predictions"][0]
    assert answer["arm"] == prediction["arm"] == "challenger"
    assert prediction["release_id"].startswith("r-")
    assert prediction["results"]
    best = prediction["results"][0]  # the query is a picture of this item; itself it is left out
    assert best["item_id"] == "item-000"
    assert best["score"] > 0.9


def test_metrics_of_both(pod: dict[str, Hardened]) -> None:
    pod["transformer"].python(_SEARCH)
    done = pod["transformer"].python(_METRICS)
    assert done.returncode == 0, done.stderr
    assert "visual_search_release_info{" in done.stdout
    assert "visual_search_queries_total" in done.stdout
    assert "visual_search_encoder_loads_total" in done.stdout


@pytest.mark.parametrize("which", ["encoder", "transformer"])
def test_process_has_no_rights(pod: dict[str, Hardened], which: str) -> None:
    done = pod[which].python(_RIGHTS)
    assert done.returncode == 0, done.stderr + done.stdout


@pytest.mark.parametrize("name", ["visual-search-encoder", "visual-search-transformer"])
def test_image_has_no_framework_of_training_and_a_stated_size(images: dict[str, str], name: str) -> None:
    code = f"import importlib.util as u; print([n for n in {_FORBIDDEN!r} if u.find_spec(n)])"
    done = docker("run", "--rm", "--network=none", "--entrypoint=python", images[name], "-c", code)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
    print(f"{name}: {size_of(name) / 1e9:.2f} GB")
    assert size_of(name) < _MOST_BYTES


def test_sigterm_ends_both_in_order(pod: dict[str, Hardened]) -> None:  # the last test of the file
    assert pod["transformer"].stop(seconds=30) == 0, pod["transformer"].logs()[-2000:]
    assert pod["encoder"].stop(seconds=30) == 0, pod["encoder"].logs()[-2000:]
