"""The real container images, if the Docker Engine answers: built once (its cache keeps layers), run hardened.

DOCKER_BASE names the base (default: one with "python" in its repository that is here already). Where there is none, it is made by
debootstrap. CERTIFICATES names the file of a company's own certificate authority.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LOCAL_BASE = "visual-search-base-python:3.11"
_CERTIFICATES = os.environ.get("CERTIFICATES", "/etc/ssl/certs/ca-certificates.crt")
_DOCKER = shutil.which("docker", path="/usr/bin:" + os.environ.get("PATH", "")) or "docker"
# What a pod of the restricted profile has, and less: no network but the loopback of its own namespace.
HARDENED = (
    "--user=1000:1000", "--read-only", "--tmpfs=/tmp:size=512m", "--cap-drop=ALL", "--security-opt=no-new-privileges",
    "--pids-limit=512",
)  # fmt: skip


def docker(*words: str, seconds: float = 60, text: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
    return subprocess.run(
        [_DOCKER, *words], capture_output=True, text=True, input=text, timeout=seconds, check=False, env=environment
    )


def require_engine() -> None:
    if shutil.which(_DOCKER) is None:
        pytest.skip("the Docker Engine is not installed, so no container image is built or run")
    answer = docker("version", "--format", "{{.Server.Version}}")
    if answer.returncode != 0:
        pytest.skip(f"the Docker Engine does not answer: {answer.stderr.strip()[:200]}")


def base_image() -> str:
    """Return an image with Python 3.11; made by debootstrap where none is here."""
    if named := os.environ.get("DOCKER_BASE"):
        return named
    found = docker("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.split()
    for name in found:
        if re.search(r"(^|/)python:3\.11", name) or name == LOCAL_BASE:
            return name
    if shutil.which("debootstrap") is None or os.geteuid() != 0:
        pytest.skip(
            "no image with Python 3.11 is here, and debootstrap (as root) is not there to make one; set DOCKER_BASE"
        )
    with tempfile.TemporaryDirectory() as folder:
        packages = "python3,python3-venv,ca-certificates"
        made = subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", folder],
            capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        if made.returncode != 0:
            pytest.skip(f"debootstrap cannot make a base image here: {made.stderr.strip()[-200:]}")
        tar = f"tar -C {folder} --exclude=./var/cache/apt/archives/* -c . | {_DOCKER} import - {LOCAL_BASE}"
        subprocess.run(["bash", "-c", tar], check=True, timeout=300, capture_output=True)
    return LOCAL_BASE


def build(name: str, folder: str, *, seconds: float) -> str:
    """Build an image from its Dockerfile and return its name; unchanged layers come from the cache.

    The image that had the name before goes, unless something still uses it.
    """
    before = docker("image", "inspect", "--format", "{{.Id}}", name).stdout.strip()
    secret = [f"--secret=id=certificates,src={_CERTIFICATES}"] if Path(_CERTIFICATES).is_file() else []
    words = [
        "build",
        "--network=host",
        f"--build-arg=BASE={base_image()}",
        *secret,
        f"--file={folder}/Dockerfile",
        f"--tag={name}",
    ]
    try:
        done = docker(*words, str(ROOT), seconds=seconds)
    except subprocess.TimeoutExpired:
        pytest.skip(f"{name} was not built within {seconds:g} s (its packages have to come from a registry first)")
    if done.returncode != 0 and "buildx component is missing" in done.stderr:
        pytest.skip(f"{_DOCKER} has no BuildKit; install the plugin buildx")
    if done.returncode != 0 and re.search(
        r"(Temporary failure|Could not find a version|Network|Connection|timed out)", done.stderr
    ):
        pytest.skip(f"{name} cannot be built without a package registry: {done.stderr.strip()[-300:]}")
    assert done.returncode == 0, done.stderr[-2000:]
    if before and before != docker("image", "inspect", "--format", "{{.Id}}", name).stdout.strip():
        docker("image", "rm", before)
    return name


class Hardened:
    """One container with nothing but what it needs; removed at the end."""

    def __init__(
        self, image: str, *words: str, network: str, mounts: Sequence[str] = (), variables: Sequence[str] = ()
    ) -> None:
        self.name = f"visual-search-test-{uuid.uuid4().hex[:12]}"
        options = [f"--network={network}", *HARDENED, *(f"--volume={mount}" for mount in mounts)]
        options += [f"--env={each}" for each in variables]
        started = docker("run", "--detach", f"--name={self.name}", *options, image, *words)
        assert started.returncode == 0, started.stderr

    def python(self, code: str, *, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """Run Python inside, beside the process."""
        return docker("exec", "--interactive", self.name, "python", "-", seconds=seconds, text=code)

    def state(self) -> dict[str, object]:
        found: list[dict[str, dict[str, object]]] = json.loads(docker("inspect", self.name).stdout)
        return found[0]["State"]

    def logs(self) -> str:
        done = docker("logs", self.name)
        return done.stdout + done.stderr

    def stop(self, *, seconds: int) -> object:
        """Send SIGTERM, wait, and return the exit code."""
        docker("stop", f"--time={seconds}", self.name, seconds=seconds + 30)
        return self.state()["ExitCode"]

    def remove(self) -> None:
        docker("rm", "--force", self.name)


def size_of(image: str) -> int:
    """Return the bytes of an image."""
    return int(docker("image", "inspect", "--format", "{{.Size}}", image).stdout)
