"""Sealed directories: what is missing, altered or of another step is refused by name."""

from __future__ import annotations

import json

import pytest

from components.shared.errors import ContractError, DamagedArtifactError, UnfinishedArtifactError
from components.shared.files.artifacts import ARTIFACT_FILE, list_files, open_artifact, seal_artifact


@pytest.fixture
def sealed(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.bin").write_bytes(b"abc" * 100)
    (tmp_path / "deep" / "b.txt").write_text("b")
    seal_artifact(tmp_path, "labelling", {"pairs": 3})
    return tmp_path


def test_what_was_sealed_is_read(sealed):
    artifact = open_artifact(sealed, "labelling", verify=True)
    assert set(artifact.files) == {"a.bin", "deep/b.txt"}
    assert artifact.files["a.bin"].size_bytes == 300
    assert artifact.summary == {"pairs": 3}
    assert list_files(sealed, leave_out=frozenset({ARTIFACT_FILE})) == artifact.files


def test_unfinished_directory_names_its_step(tmp_path):
    with pytest.raises(UnfinishedArtifactError, match=r"labelling did not finish; run it again"):
        open_artifact(tmp_path, "labelling")


def test_output_of_another_step_is_refused(sealed):
    with pytest.raises(ContractError, match="labelling, expected the output of training"):
        open_artifact(sealed, "training")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"step": "labelling", "files": {}, "colour": 1}', "\x00"])
def test_damaged_table_of_contents_is_refused(sealed, content):
    (sealed / ARTIFACT_FILE).write_text(content)
    with pytest.raises(ContractError, match="run the step labelling again"):
        open_artifact(sealed, "labelling")


def test_missing_short_and_altered_files_are_named(sealed):
    path = sealed / "a.bin"
    for content, verify in ((b"abc" * 99, False), (b"abd" + b"abc" * 99, True), (None, False)):
        path.write_bytes(content) if content else path.unlink()
        with pytest.raises(DamagedArtifactError, match=r"a\.bin") as caught:
            open_artifact(sealed, "labelling", verify=verify)
        assert caught.value.file == "a.bin"


def test_every_single_flipped_bit_is_found(sealed):
    path = sealed / "a.bin"
    whole = path.read_bytes()
    for bit in range(0, len(whole) * 8, 37):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(DamagedArtifactError):
            open_artifact(sealed, "labelling", verify=True)


def test_digest_is_that_of_the_contents(sealed):
    before = open_artifact(sealed, "labelling").digest
    assert seal_artifact(sealed, "labelling", {"pairs": 4}).digest == before
    assert seal_artifact(sealed, "training").digest != before
    (sealed / "a.bin").write_bytes(b"abd" * 100)
    assert seal_artifact(sealed, "labelling").digest != before
    assert json.loads((sealed / ARTIFACT_FILE).read_text())["schema_version"] == 1
