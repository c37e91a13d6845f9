from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import components.training.image_cache as module
from components.shared.pictures.decoder import load_image
from components.shared.pictures.preprocessing import PreprocessingSpec
from components.training.image_cache import cache_images
from support.factories.basics import encode_picture, make_picture

SPEC = PreprocessingSpec(side=32)


def make_files(root: Path, n: int = 5) -> list[str]:
    root.mkdir(exist_ok=True)
    paths = [root / f"{k}.jpg" for k in range(n)]
    for k, path in enumerate(paths):
        path.write_bytes(encode_picture(make_picture(k)))
    return [str(path) for path in paths]


def test_decodes_once_leaves_bad_ones_out_and_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uris = make_files(tmp_path / "images")
    Path(uris[1]).write_bytes(b"not a picture")
    uris.append(str(tmp_path / "missing.jpg"))
    monkeypatch.setattr(module, "_BLOCK", 2)
    calls: list[str] = []

    def load(uri: str, spec: PreprocessingSpec) -> np.ndarray:
        calls.append(uri)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return load_image(uri, spec)

    monkeypatch.setattr(module, "load_image", load)
    with pytest.raises(KeyboardInterrupt):
        cache_images(tmp_path, "train", uris, SPEC, threads=1)
    pixels, usable = cache_images(tmp_path, "train", uris, SPEC, threads=2)
    assert usable.tolist() == [True, False, True, True, True, False]
    assert [calls.count(uri) for uri in uris[:4]] == [1] * 4
    for row in np.flatnonzero(usable):
        assert (pixels[row] == load_image(uris[row], SPEC)).all()
    seen = len(calls)
    cache_images(tmp_path, "train", uris, SPEC, threads=2)
    assert len(calls) == seen


def test_no_pictures_are_no_pictures(tmp_path: Path) -> None:
    pixels, usable = cache_images(tmp_path, "validation", [], SPEC, threads=1)
    assert pixels.shape == (0, 32, 32, 3)
    assert usable.shape == (0,)
