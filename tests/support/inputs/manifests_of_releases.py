"""Manifests that are true to files which are not what they should be: what an attacker would publish."""

from __future__ import annotations

import json
from pathlib import Path

from components.shared.files.artifacts import list_files
from components.shared.files.layout import MANIFEST_FILE
from components.shared.pictures.preprocessing import PreprocessingSpec
from components.shared.release.generation import GENERATION_FILE, GenerationManifest
from components.shared.release.manifest import Manifest
from components.shared.vectors.encoder import ENCODER_FILE, space_id_of
from components.shared.vectors.search import INDEX_FILE


def make_true(directory: Path) -> None:
    """Make a manifest true to the files that lie beside it."""
    path = directory / (MANIFEST_FILE if (directory / MANIFEST_FILE).exists() else GENERATION_FILE)
    content = json.loads(path.read_text())
    content["files"] = {
        name: entry.model_dump() for name, entry in list_files(directory, leave_out=frozenset({path.name})).items()
    }
    if path.name == MANIFEST_FILE:
        content["index"]["index_bytes"] = (directory / INDEX_FILE).stat().st_size
        encoder = content["encoder"]
        encoder["onnx_sha256"] = content["files"][ENCODER_FILE]["sha256"]
        preprocessing = PreprocessingSpec.model_validate(encoder["preprocessing"])
        content["space_id"] = encoder["space_id"] = space_id_of(encoder["onnx_sha256"], preprocessing)
        content["release_id"] = Manifest.model_validate(content).digest()
    else:
        content["generation_id"] = GenerationManifest.model_validate(content).digest()
    path.write_text(json.dumps(content))
