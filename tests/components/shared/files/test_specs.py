"""Specs: written whole, read as they were, and refused with the step that is to be run again."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from components.shared.errors import ContractError, UnfinishedArtifactError
from components.shared.files.specs import read_spec, write_spec


class Pot(BaseModel):
    """How much a pot holds."""

    model_config = ConfigDict(extra="forbid")

    litres: float
    lid: str | None = None


def read(path: Path) -> Pot:
    return read_spec(path, Pot, subject="a pot", step="pottery")


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_spec(tmp_path / "pot.json", Pot(litres=1.5, lid="grün"))
    assert read(tmp_path / "pot.json") == Pot(litres=1.5, lid="grün")


@pytest.mark.parametrize(
    "text", [b"", b"[]", b'{"litres": "many"}', b'{"litres": 1, "handle": 2}', b"\xff", b"[" * 10**5]
)
def test_anything_else_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "pot.json").write_bytes(text)
    with pytest.raises(ContractError, match=r"(?s)pot\.json does not describe a pot .*run the pottery step again"):
        read(tmp_path / "pot.json")


def test_a_missing_one_says_which_step_did_not_finish(tmp_path: Path) -> None:
    with pytest.raises(UnfinishedArtifactError, match="the pottery step did not finish"):
        read(tmp_path / "pot.json")
