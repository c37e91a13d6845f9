"""From a folder or a file to documents; `kubectl kustomize` renders a folder."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import yaml

from components.shared.errors import NotReadyError, SourceError
from manifests.checks.findings import Json

OLDEST_KUBECTL = (1, 27)  # kustomize 5.0: components after resources, patches with targets, replacements
_TIMEOUT_SECONDS = 120
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, if PyYAML has it


def render(folder: Path) -> str:
    """Render a folder with `kubectl kustomize`.

    Raises:
        NotReadyError: kubectl is missing or too old.
        SourceError: kustomize rejects the folder.
    """
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise NotReadyError(f"kubectl is not on the PATH; install {_least()} or newer, or pass a rendered file")
    check_version(_run([kubectl, "version", "--client"]).stdout)
    done = _run([kubectl, "kustomize", str(folder)])
    if done.returncode != 0:
        raise SourceError(f"kustomize refuses {folder}: {done.stderr.strip()[:500]}", source=str(folder))
    return done.stdout


def check_version(text: str) -> None:
    """Raise if kubectl is older than the kustomize features in our manifests.

    Raises:
        NotReadyError: it is too old, or reports no version.
    """
    found = re.search(r"Client Version: v(\d+)\.(\d+)", text)
    if found is None or (int(found[1]), int(found[2])) < OLDEST_KUBECTL:
        raise NotReadyError(f"kubectl says {text.strip()[:60]!r}; these manifests need {_least()} or newer")


def load(path: Path) -> list[Json]:
    """Return the documents of a rendered file, or of a folder that is rendered first.

    Raises:
        SourceError: the path does not exist, or its content is not valid YAML of objects.
    """
    if not path.exists():
        raise SourceError(
            f"there is nothing at {path}; name a folder with a kustomization.yaml, or a rendered file", source=str(path)
        )
    return parse(render(path) if path.is_dir() else path.read_text(), str(path))


def parse(text: str, source: str) -> list[Json]:
    """Return the documents of a YAML text.

    Raises:
        SourceError: it is not valid YAML, or has documents that are not objects.
    """
    try:
        documents = [document for document in yaml.load_all(text, Loader=_LOADER) if document is not None]
    except yaml.YAMLError as error:
        raise SourceError(f"{source} is not valid YAML: {error}", source=source) from error
    for document in documents:
        if not isinstance(document, dict) or not isinstance(document.get("metadata"), dict) or "kind" not in document:
            raise SourceError(f"{source} has a document without kind and metadata: {str(document)[:80]}", source=source)
    if not documents:
        raise SourceError(f"{source} has no document", source=source)
    return documents


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)  # noqa: S603


def _least() -> str:
    return "kubectl " + ".".join(map(str, OLDEST_KUBECTL))
