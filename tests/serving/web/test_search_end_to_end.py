"""The page in Chromium on the real encoder and transformer: what is seen, and what of it stands in the event store."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sklearn
from PIL import Image, ImageOps
from playwright.sync_api import Browser, Page, expect

from components.shared.files.tables import EVENTS, read_table
from components.shared.release.manifest import read_manifest
from serving.events.export import export_events
from support.clients.page_browser import open_browser, open_page, until
from support.servers.serving_processes import hidden_ids, make_local_release, pictures_of, serving

PHOTOGRAPH = Path(sklearn.__file__).parent / "datasets" / "images" / "flower.jpg"  # comes with scikit-learn
ARM = "challenger"


class Site:
    """The two processes on a small release, and a reader of their events."""

    def __init__(self, url: str, release: Path, folder: Path) -> None:
        self.url = url
        self.release = release
        self.release_id = read_manifest(release).release_id
        self._folder = folder

    def events(self) -> list[dict[str, Any]]:
        """Export what is stored, as labelling reads it."""
        target = self._folder / "exported"
        export_events(f"sqlite:///{self._folder / 'events.db'}", str(target))
        return [row for path in sorted(target.glob("*.parquet")) for row in read_table(path, EVENTS).to_pylist()]

    def events_of(self, page: Page, kind: str, *, least: int = 1) -> list[dict[str, Any]]:
        """Wait until the search that the page shows has `least` events of a kind."""
        query = page.evaluate("document.getElementById('provenance').textContent.split('search ')[1]")
        for _ in range(100):
            found = [row for row in self.events() if row["type"] == kind and row["query_id"].startswith(query)]
            if len(found) >= least:
                return found
            page.wait_for_timeout(100)
        raise AssertionError(f"fewer than {least} {kind} events came of {query}")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    release = make_local_release(folder / "made", items=16, views=2)
    with serving(release, folder, arm=ARM) as processes:
        yield Site(processes.url, release, folder)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


def choose(page: Page, data: bytes, *, name: str = "photo.jpg", kind: str = "image/jpeg") -> None:
    page.set_input_files("#file", files=[{"name": name, "mimeType": kind, "buffer": data}])


def shown(page: Page) -> int:
    until(page, lambda: page.evaluate("document.querySelectorAll('button.tile, #notice .notice').length > 0"))
    return page.locator("button.tile").count()


def test_a_photograph_is_searched_with_a_result_is_opened_and_both_are_on_record(browser: Browser, site: Site) -> None:
    with open_page(browser) as page:
        page.goto(site.url)
        page.get_by_label("Results").evaluate("(select) => (select.value = '10')")
        choose(page, PHOTOGRAPH.read_bytes())
        assert shown(page) == 10
        until(
            page,
            lambda: page.evaluate(
                "[...document.querySelectorAll('.tile img')].every(i => i.complete && i.naturalWidth > 0)"
            ),
        )
        user = page.evaluate("localStorage.getItem('visual-search-user')")
        expect(page.locator("#provenance")).to_contain_text(f"arm {ARM}")

        impressions = site.events_of(page, "impression", least=10)
        assert sorted(row["position"] for row in impressions) == list(range(1, 11))
        assert {row["release_id"] for row in impressions} == {site.release_id}
        assert {row["arm"] for row in impressions} == {ARM}
        assert {row["user_id"] for row in impressions} == {user}
        assert not {row["returned_image_id"] for row in impressions} & hidden_ids(site.release)

        page.locator("button.tile").nth(3).click()
        expect(page.locator("#detail-place")).to_have_text("Result 4 of 10")
        until(page, lambda: page.evaluate("document.getElementById('detail-image').naturalWidth > 0"))
        opened = page.locator("#detail-list dd").nth(1).text_content()
        page.wait_for_timeout(300)
        page.keyboard.press("Escape")
        (click,) = site.events_of(page, "click")
        (dwell,) = site.events_of(page, "dwell")
        (impression,) = [row for row in impressions if row["position"] == 4]
        assert impression["returned_image_id"] == opened
        for event in (click, dwell):
            same = ("query_id", "user_id", "query_image_id", "returned_image_id", "position", "release_id", "arm")
            assert {name: event[name] for name in same} == {name: impression[name] for name in same}
        assert 300 <= dwell["dwell_ms"] < 60_000


def test_a_picture_of_the_catalogue_finds_its_own_item_by_sample_link_and_upload(browser: Browser, site: Site) -> None:
    pictures = pictures_of(site.release)
    image_id = next(name for name in sorted(pictures) if name not in hidden_ids(site.release))
    other_view = f"{image_id.partition('-')[0]}-1"
    with open_page(browser) as page:
        page.goto(site.url)
        page.locator(".samples a").first.click()
        assert shown(page) > 5
        page.goto(f"{site.url}/?image={image_id}")
        assert shown(page) > 5
        impressions = site.events_of(page, "impression", least=5)
        assert {row["query_image_id"] for row in impressions} == {image_id}
        assert image_id not in {row["returned_image_id"] for row in impressions}  # its own picture is left out
        choose(page, pictures[other_view])
        until(page, lambda: page.evaluate("document.getElementById('query-image').alt === 'The picture you gave'"))
        assert shown(page) > 5
        page.locator("button.tile").first.click()
        expect(page.locator("#detail-list dd").first).to_have_text(f"item-{image_id.partition('-')[0]}")
        page.get_by_role("link", name="Search by this picture").click()
        assert shown(page) > 5
        page.go_back()
        expect(page.locator("#detail-place")).to_contain_text("Result 1 of")


def test_a_part_of_an_uploaded_and_of_a_catalogue_picture(browser: Browser, site: Site) -> None:
    with open_page(browser) as page:
        for start in ("upload", "link"):
            if start == "upload":
                page.goto(site.url)
                choose(page, PHOTOGRAPH.read_bytes())
            else:
                page.goto(f"{site.url}/?image=001-0")
            shown(page)
            before = page.locator("#provenance").text_content()
            page.get_by_role("button", name="Search by a part").click()
            page.get_by_role("button", name="Search", exact=True).click()
            expect(page.locator("#provenance")).not_to_have_text(before or "")
            assert shown(page) > 5


def test_what_the_decoder_refuses_is_told(browser: Browser, site: Site) -> None:
    with open_page(browser, expected_errors=True) as page:
        page.goto(site.url)
        choose(page, PHOTOGRAPH.read_bytes()[:20_000])
        expect(page.locator("#notice")).to_contain_text("This picture cannot be used")
        expect(page.locator("#notice p")).to_have_text(re.compile(r"^[A-Z].*JPEG.*\.$"))  # the decoder's own sentence
        choose(page, b"GIF89a no", name="a.gif", kind="image/gif")
        expect(page.locator("#notice strong")).to_contain_text("This picture cannot be used")
        page.goto(f"{site.url}/?image=never-was")
        expect(page.locator("#notice")).to_contain_text("This picture is not in the catalogue")
        choose(page, PHOTOGRAPH.read_bytes())
        assert shown(page) > 5


def test_hidden_images_have_no_thumbnail_and_no_search(browser: Browser, site: Site) -> None:
    hidden = sorted(hidden_ids(site.release))
    assert hidden
    with open_page(browser, expected_errors=True) as page:
        page.goto(site.url)
        answers = page.evaluate(
            """(ids) => Promise.all(ids.map(async (id) => {
                const answer = await fetch(`/v1/images/${id}/thumbnail`);
                return [answer.status, (await answer.json()).error];
            }))""",
            [*hidden, "never-was"],
        )
        assert [status for status, _ in answers] == [404] * (len(hidden) + 1)
        assert all(error == answers[-1][1] for _, error in answers)
        page.goto(f"{site.url}/?image={hidden[0]}")
        expect(page.locator("#notice")).to_contain_text("This picture is not in the catalogue")


def test_a_turned_and_a_very_large_picture_find_what_the_plain_one_finds(browser: Browser, site: Site) -> None:
    plain = Image.open(PHOTOGRAPH).convert("RGB")
    large = plain.resize((plain.width * 8, plain.height * 8))
    turned = large.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    files = []
    for picture, more in ((plain, {}), (turned, {"exif": exif})):
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=92, **more)
        files.append(buffer.getvalue())
    assert ImageOps.exif_transpose(Image.open(io.BytesIO(files[1]))).size == large.size
    found = []
    with open_page(browser) as page:
        for file in files:
            page.goto(site.url)
            choose(page, file)
            assert shown(page) > 5
            page.locator("button.tile").first.click()
            found.append(page.locator("#detail-list dd").nth(1).text_content())
    assert found[0] == found[1]


def test_every_answer_of_the_page_carries_the_policy_once(browser: Browser, site: Site) -> None:
    with open_page(browser) as page:
        answers: list[Any] = []
        page.on("response", lambda answer: answers.append(answer))
        page.goto(site.url)
        page.wait_for_load_state("networkidle")
        documents = [answer for answer in answers if answer.url == f"{site.url}/" or "/static/" in answer.url]
        assert len(documents) > 10
        for answer in documents:
            headers = answer.headers_array()
            for name in ("content-security-policy", "x-content-type-options", "referrer-policy"):
                assert len([each for each in headers if each["name"].lower() == name]) == 1, (answer.url, name)
            assert "default-src 'none'; script-src 'self'" in answer.headers["content-security-policy"]
