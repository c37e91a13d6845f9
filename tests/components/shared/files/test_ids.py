"""Ids out of paths, and what people write for them."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.shared.files.ids import LONGEST_ID, find_id, safe_id

PATHS = ("shoes/red shoe.jpg", "shoes/café.jpg", "bags/50% off.jpg", "a.jpg", "x/Straße #1?.png", "日本/猫.webp")
KNOWN = {safe_id(path): path for path in PATHS}


@pytest.mark.parametrize("path", PATHS)
def test_what_people_write_for_a_picture_finds_it(path):
    from urllib.parse import quote

    forms = [
        path,
        safe_id(path),
        quote(path),
        unicodedata.normalize("NFD", path),
        f"./{path}",
        f"/{path}",
        f" {path}\n",
    ]
    for written in [*forms, path.replace("/", "\\"), f"file:///{quote(path)}"]:
        assert find_id(written, KNOWN) == safe_id(path), written


def test_an_id_as_it_is_written_wins_and_a_stranger_is_none():
    known = {"a%20b.jpg", "a%2520b.jpg"}
    assert find_id("a%20b.jpg", known) == "a%20b.jpg"
    assert find_id("a%2520b.jpg", known) == "a%2520b.jpg"
    assert find_id("a b.jpg", known) == "a%20b.jpg"
    assert find_id("c.jpg", known) is None
    assert find_id("", known) is None


@given(st.text(max_size=700))
def test_an_id_is_printable_bounded_and_found_by_its_path(path):
    made = safe_id(path)
    assert len(made) <= LONGEST_ID
    assert not made or made.isprintable()
    assert safe_id(unicodedata.normalize("NFD", path)) == made or unicodedata.normalize("NFC", path) != path
    assert find_id(path, {made}) == made


def test_long_paths_keep_ids_of_their_own():
    paths = [f"{'ü' * 400}/{number}.jpg" for number in range(3)]
    assert len({safe_id(path) for path in paths}) == 3
    assert find_id(paths[1], {safe_id(path) for path in paths}) == safe_id(paths[1])
