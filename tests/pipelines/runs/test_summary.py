"""What the terminal says after a run."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from components.catalogue.parameters import CatalogueParameters
from components.catalogue.step import run as run_catalogue
from pipelines.runs.summary import unusable_pictures
from support.factories.basics import make_picture


def test_pictures_that_could_not_be_used_are_counted_by_reason(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for seed in range(4):
        Image.fromarray(make_picture(seed)).save(images / f"{seed}.png")
    for name in ("a.heic", "b.heic"):
        (images / name).write_bytes(b"\x00\x00\x00\x18ftypheic" + bytes(60))
    (images / "c.jpg").write_bytes(b"no picture")
    (images / "notes.txt").write_text("mine")
    run = tmp_path / "run"
    run_catalogue(
        images=str(images),
        destination=run / "1" / "catalogue" / "catalogue",
        workspace=tmp_path / "workspace",
        parameters=CatalogueParameters(),
    )
    assert unusable_pictures(run) == [
        "pictures 3 could not be used: 2 unsupported format, 1 not an image (each with its reason in quarantine.parquet)",
        "files    1 without the name of a picture were passed over",
    ]


def test_nothing_is_said_of_a_run_without_a_catalogue(tmp_path: Path) -> None:
    assert unusable_pictures(tmp_path) == []
