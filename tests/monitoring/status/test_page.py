"""The status page: says what is the matter and what to do, escapes what comes from outside, needs nothing else."""

from __future__ import annotations

import datetime
import re
from pathlib import Path

import pytest

from monitoring.findings import CAUSES, REMEDIES
from monitoring.remedies.advice import ADVICE, CAUSE_TITLES
from monitoring.remedies.ledger import Entry
from monitoring.status.page import empty_page, write_page
from monitoring.status.pictures import StatusTile
from monitoring.status.record import OnlineRow, Record, RecordStore
from support.clients.page_browser import open_browser, open_page
from support.factories.monitoring_factory import AT, make_concern, make_record, make_report

PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
PAYLOADS = [
    "<script>window.hit=1</script>",
    '"><img src=x onerror="window.hit=1">',
    "'-window.hit=1-'",
    "{{ 7*7 }}{% for %}",
    "</code></style><style>*{display:none}",
    "javascript:window.hit=1",
    "\u202e\u0000<b>",
]


def write(folder: Path, record: Record, **more) -> str:
    store = RecordStore(folder / "champion")
    store.add(record)
    path = folder / "status.html"
    write_page(path, record, store.trend(), **({"tiles": {}} | more))
    return path.read_text()


def test_healthy(tmp_path: Path) -> None:
    html = write(tmp_path, make_record())
    assert "Search is healthy" in html
    assert "What it is, and what to do" not in html
    assert "1 of 4 figures not known" in html  # nobody judged: no reason for a grey page
    assert "60.0%" in html  # abandonment
    assert '<header class="hero ok">' in html


@pytest.mark.parametrize("remedy", REMEDIES)
@pytest.mark.parametrize("cause", CAUSES)
def test_every_diagnosis_says_what_to_do(tmp_path: Path, remedy: str, cause: str) -> None:
    html = write(tmp_path, make_record(make_report("alarm", remedy=remedy, cause=cause)))
    assert CAUSE_TITLES[cause] in html
    assert ADVICE[remedy].title in html
    assert '<header class="hero alarm">' in html
    assert 'href="#domain_classifier"' in html
    assert 'id="domain_classifier"' in html


def test_pictures_of_what_moved_and_of_the_judged_query(tmp_path: Path) -> None:
    tiles = {name: StatusTile(name, "shoes", PIXEL) for name in ("i-1", "q-1")} | {"i-2": StatusTile("i-2", "", None)}
    html = write(tmp_path, make_record(make_report("alarm", remedy="retrain")), tiles=tiles)
    assert html.count(PIXEL) == 1  # q-1 is no picture of the catalogue, unless it was judged
    assert 'class="gone"' in html
    html = write(tmp_path, make_record(make_report("alarm", remedy="retrain", cause="encoder_worse")), tiles=tiles)
    assert html.count(PIXEL) == 2


def test_remedies_that_were_started(tmp_path: Path) -> None:
    entry = Entry(
        entry_id="a-1", remedy="retrain", pipeline="training", why="new items", release_id="r-1", arm="champion",
        report_at=AT, started_at=AT, state="failed", reference="runs/1", detail="the gate refused",
    )  # fmt: skip
    html = write(tmp_path, make_record(), actions=[entry])
    assert "the gate refused" in html
    assert "Remedies that were started" in html


def test_nothing_known_and_no_events(tmp_path: Path) -> None:
    report = make_report(concerns=(), window=0, since=None, until=None)
    html = write(tmp_path, make_record(report, online={}, online_note="No store.", online_since=None))
    assert "Not enough data yet" in html
    assert "No store." in html
    assert "monitor run" in empty_page()


def test_payloads_do_nothing_in_a_browser(tmp_path: Path) -> None:
    everything = " ".join(PAYLOADS)
    report = make_report(
        "alarm", remedy="retrain", release_id=everything, space_id=everything, arm="champion",
        concerns=(make_concern(state="alarm", sentence=everything, effect_name=everything),),
    )  # fmt: skip
    (diagnosis,) = report.diagnoses
    moved = diagnosis.pictures[0].model_copy(update={"query_id": everything, "image_ids": tuple(PAYLOADS)})
    diagnosis = diagnosis.model_copy(update={"sentence": everything, "pictures": (moved,)})
    report = report.model_copy(update={"diagnoses": (diagnosis,)})
    rows = tuple(OnlineRow(label=payload, searches=1) for payload in PAYLOADS)
    entry = Entry(
        entry_id=everything, remedy="retrain", pipeline=everything, why=everything, release_id=everything, arm=everything,
        report_at=AT, started_at=AT, state="failed", reference=everything, detail=everything,
    )  # fmt: skip
    record = make_record(report, online={"arm": rows, "country": rows, "hour": rows, "position": rows})
    tiles = {payload: StatusTile(payload, payload, PIXEL) for payload in PAYLOADS}
    html = write(tmp_path, record, tiles=tiles, actions=[entry])
    assert "<script>window.hit" not in html
    assert html.count("<script") == 1
    assert html.count("49") == html.count("2049")  # {{ 7*7 }} stays text
    with open_browser() as browser, open_page(browser) as page:
        page.goto((tmp_path / "status.html").as_uri())
        assert page.evaluate("window.hit") is None
        assert page.locator("h1").is_visible()
        assert page.locator("img").count() >= 4
        assert page.evaluate("document.querySelectorAll('style').length") == 1


def test_page_needs_nothing_else_and_fits_phones_and_the_dark(tmp_path: Path) -> None:
    html = write(tmp_path, make_record(make_report("alarm", remedy="retrain", at=datetime.datetime.now(datetime.UTC))))
    assert not re.findall(r"(?:src|href)=[\"'](?!data:|#)", html)
    with open_browser() as browser:
        grounds = set()
        for scheme, width in (("light", 1280), ("dark", 390), ("light", 320)):
            with open_page(browser, viewport={"width": width, "height": 800}, color_scheme=scheme) as page:
                page.goto((tmp_path / "status.html").as_uri())
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                assert page.inner_text("#age") == "just now"
                assert page.locator("#stale").is_hidden()
                grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert len(grounds) == 2


def test_an_old_page_says_so(tmp_path: Path) -> None:
    old = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=3)
    write(tmp_path, make_record(make_report(at=old)))
    with open_browser() as browser, open_page(browser) as page:
        page.goto((tmp_path / "status.html").as_uri())
        assert page.inner_text("#age") == "3 days ago"
        assert page.locator("#stale").is_visible()
