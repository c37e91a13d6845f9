"""Whole files: killed writers, full disks, broken writers; digests; trees."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.shared.errors import ResourceError
from components.shared.files.atomic import (
    canonical_json,
    digest_of,
    publish_tree,
    remove_unfinished_files,
    sha256_of,
    whole_file,
    write_json,
)

WRITER = """
import sys
from pathlib import Path
from components.shared.files.atomic import whole_file
target = Path(sys.argv[1])
for round in range(10**9):
    with whole_file(target) as temporary:
        with temporary.open("wb") as file:
            for _ in range(50):
                file.write(bytes([round % 256]) * 4096)
    if round == 0:
        print("begun", flush=True)
"""

FULL_DISK = """
import os, resource, sys
from pathlib import Path
import pyarrow as pa, pyarrow.parquet as pq
from components.shared.errors import ResourceError
from components.shared.files.atomic import whole_file, write_json

def write_text(path):
    write_json(path, ["x" * 100] * 1000)

def write_with_arrow(path):
    with whole_file(path) as temporary:
        pq.write_table(pa.table({"x": [os.urandom(1000) for _ in range(100)]}), temporary)

resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
target = Path(sys.argv[1])
for write in (write_text, write_with_arrow):
    try:
        write(target)
    except ResourceError as error:
        assert "no space left" in str(error) and str(target) in str(error), error
        assert not [p for p in target.parent.iterdir() if p.name.endswith(".part")]
    else:
        raise SystemExit("written beyond the limit")
    print("refused")
"""


def test_a_killed_writer_leaves_the_old_file_or_the_new_one(tmp_path):
    """kill -9 at random moments: whoever reads sees a whole file, always."""
    dice, target = random.Random(0), tmp_path / "file.bin"
    for _ in range(12):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(target)], stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout.readline() == b"begun\n"
                for _ in range(5):
                    time.sleep(dice.uniform(0, 0.01))
                    check_whole(target)
            finally:
                process.kill()
        check_whole(target)
    remove_unfinished_files(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file.bin"]


def check_whole(path: Path) -> None:
    data = path.read_bytes()
    assert len(data) == 50 * 4096
    assert len(set(data)) == 1


def test_full_disk_is_named_and_leaves_nothing(tmp_path):
    target = tmp_path / "table"
    target.write_text("old")
    found = subprocess.run([sys.executable, "-c", FULL_DISK, str(target)], capture_output=True, text=True, check=False)
    assert found.stdout.split() == ["refused", "refused"], found.stderr
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["table"]


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_folder_that_must_not_be_written_is_named(tmp_path, monkeypatch, code):
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(tempfile, "mkstemp", refuse)  # root may write everywhere, so the system's answer is given here
    with pytest.raises(ResourceError, match="table cannot be written"):
        write_json(tmp_path / "table", 1)


def test_a_failed_writer_leaves_the_old_file(tmp_path):
    target = tmp_path / "deep" / "file.txt"
    with whole_file(target) as temporary:
        temporary.write_text("old")
    with pytest.raises(ZeroDivisionError):
        _write_half(target)
    assert target.read_text() == "old"
    assert len(list(target.parent.iterdir())) == 1
    assert target.stat().st_mode & 0o777 == 0o644


def _write_half(target: Path) -> None:
    with whole_file(target) as temporary:
        temporary.write_text("half of the ne")
        raise ZeroDivisionError


def test_other_errors_of_the_system_are_not_called_a_full_disk(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        write_json(tmp_path / "file" / "below", 1)


def test_json_is_whole_sorted_and_free_of_nan(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": ["é", None]})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == {"b": 1, "a": ["é", None]}
    assert text.index('"a"') < text.index('"b"')
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
    assert (tmp_path / "a.json").read_text() == text


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=8,
    )
)
@settings(max_examples=50)
def test_digest_depends_on_the_value_alone(value):
    again = json.loads(json.dumps(value))
    assert digest_of(value) == digest_of(again) == hashlib.sha256(canonical_json(value)).hexdigest()
    assert digest_of([value, 1]) != digest_of([value, 2])


def test_digest_ignores_the_order_of_keys():
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})


def test_sha256_of_a_known_text(tmp_path):
    """FIPS 180-4, example of "abc"."""
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_published_tree_replaces_what_was_there(tmp_path):
    source, destination = tmp_path / "source", tmp_path / "to" / "destination"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "a").write_text("a")
    for _ in range(2):
        publish_tree(source, destination)
        assert (destination / "deep" / "a").read_text() == "a"
        assert sorted(p.name for p in destination.rglob("*")) == ["a", "deep"]
        (destination / "stale").write_text("stale")
    assert Path(source / "deep" / "a").samefile(destination / "deep" / "a")
    (tmp_path / "file").write_text("x")
    publish_tree(source, tmp_path / "file")
    assert (tmp_path / "file" / "deep" / "a").read_text() == "a"
