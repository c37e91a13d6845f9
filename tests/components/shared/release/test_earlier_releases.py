"""Releases that earlier code wrote must load, hold and serve for ever; see the folder `releases`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from components.shared.release.golden import embed_pictures
from components.shared.release.manifest import GOLDEN_FILE, open_release, verify_release
from components.shared.vectors.encoder import ENCODER_FILE, OnnxEncoder, space_id_of

RELEASE = Path(__file__).parent / "releases" / "before_backbones"


def test_a_release_from_before_pretrained_backbones_still_opens_with_its_golden_pictures() -> None:
    manifest = verify_release(RELEASE)
    assert manifest.release_id == "r-cd15cfaf4d154d5a"
    opened = open_release(RELEASE)
    assert opened.manifest.space_id == manifest.space_id
    spec = manifest.encoder
    assert (spec.architecture, spec.preprocessing.side, spec.preprocessing.fit) == ("resnet10", 224, "pad")


def test_its_space_and_embeddings_are_what_they_were() -> None:
    manifest = verify_release(RELEASE)
    spec = manifest.encoder
    assert space_id_of(spec.onnx_sha256, spec.preprocessing) == spec.space_id
    assert set(spec.preprocessing.model_dump(mode="json")) == {"version", "side", "fit", "pad_level"}
    table = pq.read_table(RELEASE / GOLDEN_FILE)
    encoder = OnnxEncoder(RELEASE / ENCODER_FILE, threads=1)
    vectors = embed_pictures(table.column("picture").to_pylist(), encoder, spec.preprocessing)
    recorded = np.array(table.column("embedding").to_pylist(), np.float32)
    assert np.einsum("gd,gd->g", vectors, recorded).min() > 0.9995
