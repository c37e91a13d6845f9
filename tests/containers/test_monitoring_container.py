"""Monitoring as the container it is on a cluster, hardened and without a network: it looks at a window, and says what it saw."""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from components.shared.files.tables import QUERY_SAMPLES, write_table
from components.shared.release.golden import embed_pictures
from components.shared.release.manifest import read_manifest
from components.shared.vectors.encoder import ENCODER_FILE, OnnxEncoder
from support.factories.basics import encode_picture, make_picture
from support.servers.container_images import HARDENED, build, docker, require_engine, size_of
from support.servers.serving_processes import make_local_release

pytestmark = [pytest.mark.long, pytest.mark.timeout(2_400)]
_BUILD_SECONDS = 1_200
_MOST_BYTES = 3_000_000_000
_FORBIDDEN = ("torch", "torchvision", "mlflow", "kfp", "kserve", "pip")
_ITEMS, _QUERIES, _USER = 35, 210, 1000


@pytest.fixture(scope="module")
def image() -> str:
    require_engine()
    if os.geteuid() != 0:
        pytest.skip("only root can give monitoring's folder to uid 1000")
    return build("visual-search-monitoring-python", "monitoring", seconds=_BUILD_SECONDS)


@pytest.fixture(scope="module")
def mounts(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A release, two windows of queries, one as the catalogue is and one far from it, and a folder to write to."""
    root = tmp_path_factory.mktemp("monitored")
    release = make_local_release(root / "made", items=_ITEMS, views=6)
    manifest = read_manifest(release)
    pictures = [encode_picture(make_picture(90_000 + i, item=i % _ITEMS), quality=92) for i in range(_QUERIES)]
    fresh = embed_pictures(pictures, OnnxEncoder(release / ENCODER_FILE, threads=1), manifest.encoder.preprocessing)
    for name, shift in (("alike", 0.0), ("moved", 2.0)):
        vectors = fresh + shift * np.eye(fresh.shape[1])[0]
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        now = datetime.datetime.now(datetime.UTC)
        rows = [
            {"query_id": f"q-{i}", "release_id": manifest.release_id, "space_id": manifest.space_id, "arm": "champion",
             "at": now - datetime.timedelta(hours=1, seconds=i), "country": None, "embedding": vector.tolist(),
             "top_score": 0.9, "results": 5, "width": 96, "height": 80, "bytes": 4000, "format": "jpeg", "brightness": 0.5,
             "contrast": 0.4, "sharpness": 0.01, "saturation": 0.5}
            for i, vector in enumerate(vectors)
        ]  # fmt: skip
        write_table(root / name / "samples.parquet", pa.Table.from_pylist(rows, QUERY_SAMPLES.schema), QUERY_SAMPLES)
    for path in (root, *root.rglob("*")):  # uid 1000 reads what root wrote
        path.chmod(0o755 if path.is_dir() else 0o644)
    (root / "written").mkdir()
    os.chown(root / "written", _USER, _USER)
    places = (
        (release, "/release:ro"),
        (root / "alike", "/alike:ro"),
        (root / "moved", "/moved:ro"),
        (root / "written", "/out"),
    )
    return [f"--volume={path}:{place}" for path, place in places]


def test_it_looks_once_and_says_what_it_saw(image: str, mounts: list[str]) -> None:
    common = ("run", "--rm", "--network=none", *HARDENED, *mounts, image)
    shown = docker(*common, "run", "--help", seconds=180)
    assert shown.returncode == 0, shown.stderr
    assert "--samples" in shown.stdout
    for samples, code, state in (("/alike", 0, "ok"), ("/moved", 4, "alarm")):
        folder = f"--folder=/out{samples}"
        words = ("run", "--release=/release", f"--samples={samples}", folder, "--json")
        done = docker(*common, *words, seconds=300)
        assert done.returncode == code, done.stdout + done.stderr
        assert json.loads(done.stdout)["state"] == state
        again = docker(*common, "report", folder, seconds=180)
        assert "mean_difference" in again.stdout, again.stderr
    written = Path(mounts[-1].removeprefix("--volume=").partition(":")[0])
    assert "<html" in (written / "moved" / "champion" / "status.html").read_text()
    assert (written / "moved" / "champion" / "status.html").stat().st_uid == _USER


def test_it_writes_nowhere_else(image: str, mounts: list[str]) -> None:
    done = docker(
        "run", "--rm", "--network=none", *HARDENED, *mounts, image,
        "run", "--release=/release", "--samples=/alike", "--folder=/app/monitoring", seconds=300,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_image_has_no_framework_of_training_and_a_stated_size(image: str) -> None:
    code = f"import importlib.util as u; print([n for n in {_FORBIDDEN!r} if u.find_spec(n)])"
    done = docker("run", "--rm", "--network=none", "--entrypoint=python", image, "-c", code, seconds=180)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
    print(f"{image}: {size_of(image) / 1e9:.2f} GB")
    assert size_of(image) < _MOST_BYTES
