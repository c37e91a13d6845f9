"""The sheet of results: complete, self-contained, escaped."""

from __future__ import annotations

import re

import pytest
from PIL import Image

from components.shared.errors import ParameterError
from pipelines.commands.result_sheet import Sheet, render_sheet, write_sheet
from pipelines.commands.serve import format_answer
from serving.client import SearchAnswer, SearchResult
from support.factories.basics import encode_picture, make_picture

EVIL = "<script>alert(1)</script>"


def make_sheet(count: int = 7) -> Sheet:
    results = tuple(
        SearchResult(
            place, f"image-{place}", EVIL, f"/pictures/{place}.jpg", "cups", 1 - place / 10, place % 3, "", "t"
        )
        for place in range(1, count + 1)
    )
    answer = SearchAnswer("q-1", "r-1", "s-1", 0, "champion", None, not results, results)
    pictures = [encode_picture(make_picture(place), "WEBP") if place != 2 else None for place in range(1, count + 1)]
    return Sheet(f"photo {EVIL}.jpg", encode_picture(make_picture(99)), answer, pictures)


def test_html_needs_no_other_file_and_escapes_everything(tmp_path):
    write_sheet(tmp_path / "sheet.html", make_sheet())
    text = (tmp_path / "sheet.html").read_text()
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert all(source.startswith("data:image/") for source in re.findall(r'src="([^"]*)"', text))
    assert text.count("data:image/webp") == 6
    assert "0.900" in text
    assert "image-7" in text


def test_png_holds_every_result(tmp_path):
    write_sheet(tmp_path / "sheet.png", make_sheet())
    with Image.open(tmp_path / "sheet.png") as seven:
        assert seven.format == "PNG"
        height = seven.height
    write_sheet(tmp_path / "sheet.png", make_sheet(11))
    with Image.open(tmp_path / "sheet.png") as eleven:
        assert eleven.height > height


def test_no_results(tmp_path):
    write_sheet(tmp_path / "sheet.png", make_sheet(0))
    assert "No good match" in render_sheet(make_sheet(0))
    assert format_answer(make_sheet(0).answer) == "no good match"


def test_other_endings_are_refused(tmp_path):
    with pytest.raises(ParameterError):
        write_sheet(tmp_path / "sheet.pdf", make_sheet())
    assert not list(tmp_path.iterdir())


def test_table_has_a_line_for_each_result():
    lines = format_answer(make_sheet(3).answer).splitlines()
    assert len(lines) == 5
    assert "image-3" in lines[-1]
