"""The page: whole, self-contained, true to the figures, safe against names from outside."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from components.evaluation.bootstrap import Interval
from components.evaluation.parameters import EvaluationParameters
from components.evaluation.report import facts, plots, wording
from components.evaluation.report.embedding_map import lay_out, settle_on_grid
from components.evaluation.report.page import _category_colours, _headline
from components.evaluation.step import run
from components.shared.files.artifacts import seal_artifact
from components.shared.files.tables import CATALOGUE, QUARANTINE, read_table, write_table
from components.shared.truth.labels import LabelsSpec
from components.shared.truth.relevance import RelevanceRule
from support.inputs.evaluation_inputs import EvaluationInputs, make_evaluation_inputs

FAST = EvaluationParameters(resamples=200, report_queries=6, map_images=20, threads=1)
VOID = {"meta", "img", "br", "link"}
HOSTILE = "<script>alert(1)</script>&\"'\u202e$x^"


class Page(HTMLParser):
    """Collects tags and checks that they are balanced."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def report_of(inputs: EvaluationInputs, root: Path, parameters=FAST) -> str:
    run(**inputs.arguments(), destination=root / "out", workspace=root / "workspace", parameters=parameters)
    return (root / "out" / "report.html").read_text(encoding="utf-8")


def rewrite(inputs: EvaluationInputs, change) -> None:
    path = inputs.catalogue / "catalogue.parquet"
    rows = [row | change(row) for row in read_table(path, CATALOGUE).to_pylist()]
    write_table(path, pa.Table.from_pylist(rows, CATALOGUE.schema), CATALOGUE)
    seal_artifact(inputs.catalogue, "catalogue")


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    root = tmp_path_factory.mktemp("report")
    html = report_of(make_evaluation_inputs(root), root)
    return root, html, Page(html)


def test_the_page_needs_no_other_file(shown):
    _, html, page = shown
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base"}
        for name in ("src", "href", "xlink:href"):
            value = attributes.get(name) or ""
            assert value == "" or value.startswith(("data:image/jpeg;base64,", "#")), value[:80]
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)
    assert len(html) < 8_000_000


def test_the_sections_that_were_promised_are_there(shown):
    page = shown[2]
    ids = {attributes.get("id") for attributes in page.all("section")}
    assert ids == {"sheets", "figures", "map", "extremes", "learning", "data", "release", "gate"}
    text = " ".join(page.text)
    for words in (
        "before training",
        "after training",
        "what it should have found",
        "In quarantine",
        "truncated",
        "propensity",
    ):
        assert words in text


def test_figures_on_the_page_are_those_of_the_metrics(shown):
    root, _, page = shown
    metrics = json.loads((root / "out" / "metrics.json").read_text())
    text = " ".join(page.text)
    for ranker in ("trained", "untrained", "pixels"):
        for figure in metrics["rankers"][ranker].values():
            assert f"{figure['value']:.3f}" in text
    for check in json.loads((root / "out" / "gate.json").read_text())["checks"]:
        assert check["explanation"] in text


@pytest.mark.parametrize(("relevant", "second"), [(5, "recall_at_10"), (10, "recall_at_10"), (40, "precision_at_10")])
def test_recall_leads_only_where_ten_answers_can_hold_what_is_relevant(relevant, second):
    class Stub:
        def metric(self, name: str) -> np.ndarray:
            found = np.array([0, 3, 4, np.nan])  # nothing found; some; some; nothing to find
            return found / (10 if name == "precision_at_10" else relevant)

    assert _headline(Stub())[1] == second


def test_a_single_category_beyond_the_colours_keeps_its_name():
    names = [f"kind {number:02d}" for number in range(len(plots.CATEGORY_COLOURS) + 2)]
    one, two = names[:-1], names
    assert [name for name, _ in _category_colours(one)[1]] == one
    assert _category_colours(two)[1][-1] == ("others", plots.OTHER_COLOUR)
    assert _category_colours([*one, None])[1][-1] == ("others", plots.OTHER_COLOUR)


def test_every_picture_says_what_it_is(shown):
    page = shown[2]
    pictures = page.all("img")
    assert len(pictures) > 40
    for attributes in pictures:
        assert attributes["alt"]
        image = Image.open(io.BytesIO(base64.b64decode(attributes["src"].split(",", 1)[1])))
        image.load()
    charts = page.all("svg")
    assert len(charts) >= 12
    assert all(chart["role"] == "img" and chart["aria-label"] for chart in charts)


def test_charts_take_the_colours_of_the_page(shown):
    html = shown[1]
    assert "var(--ink)" in html[html.index("<svg") :]
    for stand_in in ("#010203", "#040506", "#070809"):
        assert stand_in not in html


def test_names_from_outside_stay_text(tmp_path):
    inputs = make_evaluation_inputs(tmp_path)
    rewrite(inputs, lambda row: {"category": HOSTILE if row["category"] == "cups" else row["category"]})
    rows = [{"uri": "s3://bucket/secret/a<b>.jpg?token=abc", "reason": HOSTILE, "message": HOSTILE}]
    write_table(inputs.catalogue / "quarantine.parquet", pa.Table.from_pylist(rows, QUARANTINE.schema), QUARANTINE)
    seal_artifact(inputs.catalogue, "catalogue")
    html = report_of(inputs, tmp_path)
    page = Page(html)
    assert not page.all("script")
    assert "alert(1)" in html  # it is shown, as text
    assert "\u202e" not in html  # but cannot turn the line round
    assert "token=abc" not in html
    assert "a&lt;b&gt;.jpg" in html


def test_private_and_inappropriate_pictures_are_not_in_the_page(tmp_path):
    inputs = make_evaluation_inputs(tmp_path)
    public = report_of(inputs, tmp_path / "public")
    rewrite(
        inputs, lambda row: {"is_public": row["item_id"] != "item-018", "is_appropriate": row["item_id"] != "item-019"}
    )
    guarded = report_of(inputs, tmp_path / "guarded")
    for item, ids in (("018", 4), ("019", 4)):
        for view in range(ids):
            # In the page that may show it, the picture stands behind its id.
            found = re.search(rf'src="(data:[^"]+)"[^>]*alt="[^"]*\b{item}-{view}"', public)
            if found:
                assert found.group(1) not in guarded
    assert not re.search(r'alt="query 01[89]-', guarded)
    assert "picture withheld" in guarded


def test_when_nothing_may_be_shown_the_figures_still_are(tmp_path):
    inputs = make_evaluation_inputs(tmp_path)
    rewrite(inputs, lambda row: {"is_public": False})
    page = Page(report_of(inputs, tmp_path))
    assert "No query may be shown" in " ".join(page.text)
    assert len(page.all("img")) == 1  # the map, all grey


def test_a_page_without_categories_clicks_history_and_map(tmp_path):
    inputs = make_evaluation_inputs(tmp_path)
    rewrite(inputs, lambda row: {"category": None})
    (inputs.encoder / "history.json").write_text("[]")
    seal_artifact(inputs.encoder, "training")
    labels = json.loads((inputs.labels / "labels.json").read_text()) | {"clicks": None, "pairs": {}}
    (inputs.labels / "labels.json").write_text(json.dumps(labels))
    seal_artifact(inputs.labels, "labelling")
    page = Page(report_of(inputs, tmp_path, FAST.model_copy(update={"map_images": 0})))
    text = " ".join(page.text)
    assert "propensity" not in text
    assert "none recorded" in text
    assert "map" not in {attributes.get("id") for attributes in page.all("section")}


def test_the_map_is_the_same_every_time_and_keeps_neighbours_together():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 16))
    vectors = (np.repeat(centres, 20, axis=0) + 0.05 * rng.normal(size=(60, 16))).astype(np.float32)
    first, second = lay_out(vectors, seed=1), lay_out(vectors, seed=1)
    np.testing.assert_array_equal(first, second)
    assert first.min() == 0
    assert first.max() == 1
    distances = np.linalg.norm(first[:, None] - first[None], axis=2) + np.eye(60) * 9
    assert (distances.argmin(axis=1) // 20 == np.arange(60) // 20).all()


@pytest.mark.parametrize("n", [3, 5, 13])
def test_the_map_takes_few_points_and_equal_ones(n):
    vectors = np.tile(np.array([[1.0, 0.0, 0.0]], np.float32), (n, 1))
    assert np.isfinite(lay_out(vectors, seed=0)).all()


def test_no_picture_of_the_mosaic_hides_another():
    positions = np.random.default_rng(0).random((50, 2)) ** 4
    cells = settle_on_grid(positions, 9)
    assert len(set(cells)) == 50
    assert all(0 <= x < 9 and 0 <= y < 9 for x, y in cells)


def test_chart_text_is_escaped_and_odd_letters_are_no_trouble():
    one = Interval(0.5, 0.4, 0.6, 10, 0)
    svg = plots.by_category("hit rate@1", [HOSTILE, "鞋", "\N{SHOPPING BAGS}"], None, [one, one, one])
    assert "<script" not in svg
    assert "鞋" in svg


def test_facts_take_what_labelling_tells_and_miss_nothing_else():
    spec = LabelsSpec(rule=RelevanceRule(), pairs={}, clicks=None)

    def read(**clicks):
        return facts.read_click_facts(spec.model_copy(update={"clicks": clicks}))

    assert facts.read_click_facts(spec) is None
    found = read(
        clicks=7,
        propensities={"positions": [1, 2], "estimated": [1.0, 0.5], "true": [1.0, None], "mean_relative_error": 0.1},
        precision={
            "naive_ctr": 0.4,
            "mined": 0.9,
            "pairs": 3,
            "by_signal": {"a": {"precision": 0.8}, "b": {"precision": None}},
        },
        bots={"bots": 2},
        warnings=["few clicks"],
    )
    assert found.counts == [("clicks", 7), ("users classed as bots", 2)]
    assert list(found.precision.items()) == [("mined pairs (3)", 0.9), ("… by a", 0.8), ("clicks per view (3)", 0.4)]
    assert found.true[0] == 1.0
    assert np.isnan(found.true[1])
    alone = read(propensities={"positions": [1], "estimated": [1.0]})
    assert (alone.true, alone.precision, alone.error) == (None, {}, None)
    assert read(events=3).positions == []


def test_words():
    assert wording.count(1, "image") == "1 image"
    assert wording.count(1234, "query", "queries") == "1,234 queries"
    assert wording.short_path("s3://b/deep/er/cat.jpg?sig=1") == "er/cat.jpg"
    assert wording.bytes_of(1_500_000) == "1.5 MB"
    assert wording.bytes_of(12) == "12 bytes"
    assert wording.signed(-0.1) == "−0.100"
    assert wording.figure(float("nan")) == "–"
    assert wording.plain("a\nb" + "c" * 100) == "a\N{REPLACEMENT CHARACTER}b" + "c" * 56 + "…"
