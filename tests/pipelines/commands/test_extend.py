"""`visual-search extend`, end to end: files change, a generation is published, the server's holder picks it up."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from components.catalogue.listing import list_images
from components.catalogue.parameters import CatalogueParameters
from components.shared.errors import InputError, ParameterError
from components.shared.files.tables import ITEMS
from components.shared.release.golden import embed_pictures, write_golden
from components.shared.release.manifest import GOLDEN_FILE, REFERENCE_FILE, CatalogueFacts, seal_release
from components.shared.release.served import publish_release, read_current
from components.shared.vectors.embeddings import write_embeddings
from components.shared.vectors.encoder import ENCODER_FILE, OnnxEncoder
from pipelines.__main__ import main
from pipelines.commands.extend import ExtendOptions, extend
from pipelines.settings import Settings
from serving.transformer.search.catalogue import Catalogue, UnknownImageError
from serving.transformer.search.holder import Holder
from serving.transformer.search.results import SearchOptions
from support.factories.basics import encode_picture, make_picture
from support.factories.release_factory import make_encoder, make_index


@dataclass(frozen=True)
class Serving:
    location: str
    cache: Path
    poll_seconds: float = 1.0


class Shop:
    """A manifest of pictures, a release made of it, and the holder of a server on it."""

    def __init__(self, home: Path) -> None:
        self.home, self.manifest = home, home / "shop" / "manifest.csv"
        self.rows: dict[str, dict[str, str]] = {}
        for number in range(8):
            self.put(f"image-{number}", number, is_public="false" if number == 3 else "true")
        self.write()
        self.settings = Settings(home=home)
        self.root = home / "served"
        publish_release(self.root, self._release())
        self.holder = Holder(Serving(str(self.root), home / "cache"), trial=lambda trial: None)
        self.holder.refresh()
        assert self.holder.current is not None, self.holder.last_error

    def put(self, image_id: str, seed: int, **more: str) -> bytes:
        path = self.manifest.parent / f"{image_id}.jpg"
        path.parent.mkdir(exist_ok=True, parents=True)
        data = encode_picture(make_picture(seed), quality=92)
        path.write_bytes(data)
        row = {"uri": str(path), "image_id": image_id, "item_id": f"item-{image_id}", "is_public": "true"}
        self.rows[image_id] = row | more
        return data

    def write(self) -> None:
        with self.manifest.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["uri", "image_id", "item_id", "is_public"])
            writer.writeheader()
            writer.writerows(self.rows.values())

    def extend(self, **options: object) -> str:
        said = extend(self.settings, ExtendOptions(**options))  # type: ignore[arg-type]
        self.holder.refresh()
        assert self.holder.last_error == ""
        return said

    @property
    def catalogue(self) -> Catalogue:
        assert self.holder.current is not None
        return self.holder.current

    def first(self, picture: bytes) -> str:
        (vector,) = embed_pictures([picture], self.encoder, self.catalogue.preprocessing)
        return self.catalogue.search(vector, SearchOptions(k=1)).results[0].image_id

    def _release(self) -> Path:
        directory = self.home / "release"
        spec = make_encoder(directory)
        self.encoder = OnnxEncoder(directory / ENCODER_FILE, threads=1)
        items = list_images(
            str(self.manifest), workspace=self.settings.workspace, parameters=CatalogueParameters()
        ).items
        pictures = [Path(uri).read_bytes() for uri in items.column("uri").to_pylist()]
        vectors = embed_pictures(pictures, self.encoder, spec.preprocessing)
        ids = items.column("image_id").to_pylist()
        index = make_index(directory, items.drop_columns(["row"]), vectors)
        for name in ("index.json", "encoder.json"):
            (directory / name).unlink()
        write_embeddings(directory / REFERENCE_FILE, ids, vectors, space_id=spec.space_id)
        nearest = np.argsort(-vectors[:2] @ vectors.T, axis=1)[:, :3]
        write_golden(
            directory / GOLDEN_FILE,
            image_ids=ids[:2],
            pictures=pictures[:2],
            embeddings=vectors[:2],
            expected=[[ids[i] for i in row] for row in nearest],
            space_id=spec.space_id,
        )
        facts = CatalogueFacts(images=len(ids), items=len(ids))
        seal_release(directory, encoder=spec, index=index, catalogue=facts, metrics={}, gate={"passed": True})
        return directory


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_new_gone_changed_private_and_bad(shop: Shop) -> None:
    gone = (shop.manifest.parent / "image-0.jpg").read_bytes()
    old = (shop.manifest.parent / "image-1.jpg").read_bytes()
    assert shop.first(gone) == "image-0"
    del shop.rows["image-0"]
    changed = shop.put("image-1", 101)
    new = shop.put("image-new", 102)
    private = shop.put("image-private", 103, is_public="false")
    shop.put("image-bad", 104)
    (shop.manifest.parent / "image-bad.jpg").write_bytes(b"no picture")
    shop.write()
    said = shop.extend(images=str(shop.manifest))
    assert "3 images added, 2 removed" in said
    assert "image-bad.jpg" in said
    assert shop.catalogue.generation == 1
    assert shop.first(new) == "image-new"
    assert shop.first(changed) == "image-1"
    assert shop.catalogue.item("image-1").sha256 == hashlib.sha256(changed).hexdigest()
    for picture in (gone, private, old):
        (vector,) = embed_pictures([picture], shop.encoder, shop.catalogue.preprocessing)
        results = shop.catalogue.search(vector, SearchOptions(k=50)).results
        assert len(results) == shop.catalogue.images == 7
        assert not {"image-0", "image-private", "image-3", "image-bad"} & {r.image_id for r in results}
        assert results[0].score < 0.9999
    for image_id in ("image-0", "image-private", "image-bad"):
        with pytest.raises(UnknownImageError):
            shop.catalogue.item(image_id)


def test_the_same_again_changes_nothing(shop: Shop) -> None:
    before = read_current(shop.root)
    assert "nothing was changed" in shop.extend(images=str(shop.manifest))
    assert read_current(shop.root) == before


def test_an_image_that_becomes_private_disappears_and_comes_back(shop: Shop) -> None:
    picture = (shop.manifest.parent / "image-2.jpg").read_bytes()
    for number, is_public in enumerate(("false", "true"), start=1):
        shop.rows["image-2"]["is_public"] = is_public
        shop.write()
        shop.extend(images=str(shop.manifest))
        assert shop.catalogue.generation == number
        assert (shop.first(picture) == "image-2") == (is_public == "true")


def test_adding_and_removing_leaves_the_others(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shop.home / "more"
    folder.mkdir()
    data = encode_picture(make_picture(200), quality=92)
    (folder / "one.jpg").write_bytes(data)
    assert main(["extend", "--home", str(shop.home), "--add", str(folder), "--remove", "image-5"]) == 0
    assert "1 images added, 1 removed" in capsys.readouterr().out
    shop.holder.refresh()
    assert shop.catalogue.images == 7
    assert shop.catalogue.item(shop.first(data)).sha256 == hashlib.sha256(data).hexdigest()
    with pytest.raises(UnknownImageError):
        shop.catalogue.item("image-5")


def test_what_makes_no_sense_is_refused(shop: Shop) -> None:
    before = read_current(shop.root)
    with pytest.raises(InputError, match="not served"):
        extend(shop.settings, ExtendOptions(remove=["unknown"]))
    for wrong in (ExtendOptions(), ExtendOptions(images="x", add="y"), ExtendOptions(images="x", remove=["z"])):
        with pytest.raises(ParameterError):
            extend(shop.settings, wrong)
    assert read_current(shop.root) == before


def test_a_copy_of_a_served_picture_is_its_near_duplicate(shop: Shop) -> None:
    shop.put("image-copy", 6)
    shop.write()
    shop.extend(images=str(shop.manifest))
    vector = shop.catalogue.vector_of("image-copy")
    together = {"image-6", "image-copy"}
    shown = [r.image_id for r in shop.catalogue.search(vector, SearchOptions(k=8)).results]
    assert len(together & set(shown)) == 1
    apart = SearchOptions(k=8, collapse_duplicates=False)
    assert together <= {r.image_id for r in shop.catalogue.search(vector, apart).results}


def test_items_are_a_table_of_items(shop: Shop) -> None:
    listing = list_images(str(shop.manifest), workspace=shop.settings.workspace, parameters=CatalogueParameters())
    assert listing.items.schema.names == ITEMS.schema.names
    assert listing.refused == []
