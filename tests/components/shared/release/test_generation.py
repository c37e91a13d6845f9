"""Generations: what is written is what is read, and nothing damaged or misplaced is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from components.shared.errors import ContractError, DamagedArtifactError, PoisonedVectorError, SpaceMismatchError
from components.shared.files.atomic import digest_of
from components.shared.release.generation import GENERATION_FILE, open_generation, write_generation
from support.factories.basics import make_vectors
from support.factories.generation_factory import make_items

LIES_ON = {"release_id": "r-1", "space_id": "s-1"}


def write(directory: Path, ids: list[str], removed: list[str], **more: object) -> None:
    values = {**LIES_ON, "number": 1, "parent": None, "vectors": make_vectors(len(ids), 8), **more}
    write_generation(directory, items=make_items(ids), removed=removed, **values)


@pytest.mark.parametrize(("ids", "removed"), [(["a", "b"], ["c"]), ([], ["c", "d"]), (["a"], []), ([], [])])
def test_what_is_written_is_read(tmp_path: Path, ids: list[str], removed: list[str]) -> None:
    write(tmp_path / "g", ids, removed)
    generation = open_generation(tmp_path / "g", **LIES_ON, dimension=8)
    assert generation.items.to_pylist() == make_items(ids).to_pylist()
    assert generation.removed == tuple(removed)
    assert np.array_equal(generation.vectors, make_vectors(len(ids), 8))
    assert (generation.manifest.added, generation.manifest.removed) == (len(ids), len(removed))


def test_equal_contents_have_equal_ids(tmp_path: Path) -> None:
    write(tmp_path / "a", ["a"], ["c"])
    write(tmp_path / "b", ["a"], ["c"])
    write(tmp_path / "c", ["a"], ["d"])
    texts = [(tmp_path / name / GENERATION_FILE).read_bytes() for name in "abc"]
    assert texts[0] == texts[1] != texts[2]


def test_every_damaged_byte_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "g", ["a", "b", "c"], ["d"])
    rng = np.random.default_rng(0)
    tried = 0
    for name in [path.name for path in (tmp_path / "g").iterdir()]:
        for _ in range(25):
            shutil.copytree(tmp_path / "g", tmp_path / "m")
            data = bytearray((tmp_path / "m" / name).read_bytes())
            data[rng.integers(len(data))] ^= 1 << rng.integers(8)
            (tmp_path / "m" / name).write_bytes(data)
            with pytest.raises(ContractError):
                open_generation(tmp_path / "m", **LIES_ON, dimension=8)
            shutil.rmtree(tmp_path / "m")
            tried += 1
    assert tried == 100


def test_a_foreign_missing_or_longer_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "g", ["a"], [])
    (tmp_path / "g" / "more.pkl").write_bytes(b"x")
    with pytest.raises(DamagedArtifactError, match=r"more\.pkl"):
        open_generation(tmp_path / "g", **LIES_ON, dimension=8)
    (tmp_path / "g" / "more.pkl").unlink()
    with (tmp_path / "g" / "items.parquet").open("ab") as file:
        file.write(b"x")
    with pytest.raises(DamagedArtifactError, match="bytes"):
        open_generation(tmp_path / "g", **LIES_ON, dimension=8)
    (tmp_path / "g" / "items.parquet").unlink()
    with pytest.raises(DamagedArtifactError, match="missing"):
        open_generation(tmp_path / "g", **LIES_ON, dimension=8)


def test_a_generation_of_something_else_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "g", ["a"], [])
    with pytest.raises(ContractError, match="r-2 is served"):
        open_generation(tmp_path / "g", release_id="r-2", space_id="s-1", dimension=8)
    with pytest.raises(SpaceMismatchError):
        open_generation(tmp_path / "g", release_id="r-1", space_id="s-2", dimension=8)
    with pytest.raises(ContractError, match="dimensions"):
        open_generation(tmp_path / "g", **LIES_ON, dimension=9)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 1e4])
def test_a_poisoned_vector_is_not_written(tmp_path: Path, value: float) -> None:
    vectors = make_vectors(3, 8)
    vectors[1] = value
    with pytest.raises(PoisonedVectorError) as caught:
        write(tmp_path / "g", ["a", "b", "c"], [], vectors=vectors)
    assert (caught.value.row, caught.value.image_id) == (1, "b")
    assert not (tmp_path / "g" / GENERATION_FILE).exists()


def test_a_lying_manifest_with_true_digests_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "g", ["a", "b"], ["c"])
    for change in ({"added": 3}, {"removed": 0}, {"number": 0}, {"files": {}}, {"schema_version": 2}, {"more": 1}):
        lying = json.loads((tmp_path / "g" / GENERATION_FILE).read_text()) | change
        lying.pop("generation_id")
        shutil.copytree(tmp_path / "g", tmp_path / "m")
        (tmp_path / "m" / GENERATION_FILE).write_text(
            json.dumps({**lying, "generation_id": f"g-{digest_of(lying)[:16]}"})
        )
        with pytest.raises(ContractError):
            open_generation(tmp_path / "m", **LIES_ON, dimension=8)
        shutil.rmtree(tmp_path / "m")
