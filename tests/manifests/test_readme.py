"""manifests/README.md names what is there: each component and overlay by the first line of its file."""

from __future__ import annotations

import re

import pytest

from support.inputs.rendered_overlays import MANIFESTS

README = (MANIFESTS / "README.md").read_text()
FOLDERS = sorted(path for kind in ("components", "overlays") for path in (MANIFESTS / kind).iterdir())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_folder_is_explained_in_one_line(folder) -> None:  # type: ignore[no-untyped-def]
    first = (folder / "kustomization.yaml").read_text().splitlines()[0]
    assert f"| `{folder.name}` | {first.removeprefix('# ')} |" in README


def test_nothing_is_explained_that_is_not_there() -> None:
    assert set(re.findall(r"^\| `([a-z-]+)` \|", README, re.MULTILINE)) == {folder.name for folder in FOLDERS}


def test_a_file_is_named_by_its_kind() -> None:
    known = {"kustomization.yaml", "probes.yaml", "training.yaml", "reindexing.yaml", "executors.yaml"}
    for path in MANIFESTS.rglob("*.yaml"):
        if path.name not in known:
            kinds = set(re.findall(r"^kind: (\w+)", path.read_text(), re.MULTILINE))
            assert kinds <= {path.stem}, path


def test_every_component_is_in_some_overlay() -> None:
    used = {
        name
        for path in (MANIFESTS / "overlays").rglob("kustomization.yaml")
        for name in re.findall(r"components/([a-z-]+)$", path.read_text(), re.MULTILINE)
    }
    assert used == {path.name for path in (MANIFESTS / "components").iterdir()}
