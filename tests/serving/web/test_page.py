"""The page in Chromium, against the real routes with scripted answers: what it sends, what it shows, what it survives."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from support.clients.page_browser import open_browser, open_page, until
from support.clients.page_shop import KEY, Asked, Shop, serving
from support.factories.basics import encode_picture, make_picture
from support.inputs.script_payloads import PAYLOADS, PLAIN_PAYLOADS

PICTURE = encode_picture(make_picture(77, size=(400, 300)))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Shop, str]]:
    shop = Shop()
    with serving(shop.app) as url:
        yield shop, url


@pytest.fixture
def shop(served: tuple[Shop, str]) -> Shop:
    served[0].new_script()
    return served[0]


@pytest.fixture
def url(served: tuple[Shop, str]) -> str:
    return served[1]


def choose(page: Page, data: bytes = PICTURE, *, name: str = "photo.jpg", kind: str = "image/jpeg") -> None:
    page.set_input_files("#file", files=[{"name": name, "mimeType": kind, "buffer": data}])


def tiles(page: Page) -> Any:
    return page.locator("button.tile")


def crop_of(asked: Asked) -> list[float]:
    return [float(part) for part in asked.parameters["crop"].split(",")]


def test_a_picture_is_searched_with_and_results_are_shown(browser: Browser, shop: Shop, url: str) -> None:
    with open_page(browser) as page:
        page.goto(url)
        expect(page.locator("#facts")).to_have_text("12,345 pictures of 1,234 items")
        choose(page)
        expect(tiles(page)).to_have_count(6)
        assert shop.script.asked[0].body == PICTURE  # small pictures travel as they are
        assert shop.script.asked[0].headers["content-type"] == "image/jpeg"
        assert shop.script.asked[0].parameters == {
            "k": "20",
            "explain": "true",
            "group_items": "true",
            "collapse_duplicates": "true",
        }
        expect(page.get_by_role("button", name="Result 3: Teapots, similarity 0.75, 2 more pictures")).to_be_visible()
        expect(page.locator("#count")).to_have_text("6 results")
        expect(page.locator("#status")).to_have_text("6 results, the closest first.")
        widths = page.eval_on_selector_all(".tile .bar b", "all => all.map(b => b.style.width)")
        assert widths == ["95%", "85%", "75%", "65%", "55%", "45%"]
        expect(page.locator("#provenance")).to_have_text("Release r-1234567890ab · arm champion · search q-0123456789")
        expect(page.locator("#answer-title")).to_be_focused()
        until(page, lambda: page.evaluate("[...document.querySelectorAll('.tile img')].every(i => i.naturalWidth > 0)"))


def test_who_asks_stays_the_same_pseudonym(browser: Browser, shop: Shop, url: str) -> None:
    with open_page(browser) as page:
        for _ in range(2):
            page.goto(url)
            choose(page)
            expect(tiles(page)).to_have_count(6)
    users = [asked.headers["x-visual-search-user"] for asked in shop.script.asked]
    assert len(users) == 2
    assert len(set(users)) == 1
    assert len(users[0]) == 34
    with open_page(browser) as page:
        page.goto(f"{url}/?image=img-1")
        expect(tiles(page)).to_have_count(6)
    assert shop.script.asked[-1].headers["x-visual-search-user"] != users[0]


def test_opening_a_result_sends_a_click_and_leaving_it_the_time_looked_at(
    browser: Browser, shop: Shop, url: str
) -> None:
    with open_page(browser) as page:
        page.clock.install()
        page.goto(url)
        choose(page)
        tiles(page).nth(1).click()
        expect(page.get_by_role("dialog", name="Teapots")).to_be_visible()
        expect(page.locator("#detail-place")).to_have_text("Result 2 of 6")
        expect(page.locator("#detail-list")).to_contain_text("item-1")
        expect(page.locator("#detail-why-list")).to_have_text("One of the nearest.")
        until(page, lambda: shop.script.events)
        assert shop.script.events == [{"token": "token-1", "type": "click", "visit": 0}]
        page.clock.run_for(2000)
        set_visibility(page, "hidden")  # another tab: what was looked at so far is reported, and time stands still
        page.clock.run_for(60_000)
        set_visibility(page, "visible")
        page.clock.run_for(1000)
        page.keyboard.press("ArrowRight")
        expect(page.locator("#detail-place")).to_have_text("Result 3 of 6")
        page.clock.run_for(500)
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(tiles(page).nth(2)).to_be_focused()
        until(page, lambda: len(shop.script.events) == 4)
    dwells = [event for event in shop.script.events if event["type"] == "dwell"]
    assert [(event["token"], event["visit"]) for event in dwells] == [("token-1", 0), ("token-1", 1), ("token-2", 0)]
    for event, least in zip(dwells, (2000, 3000, 500), strict=True):
        assert least <= event["dwell_ms"] < least + 30_000  # without the minute in another tab
    assert sum(event["type"] == "click" for event in shop.script.events) == 1  # stepping on is no click


def set_visibility(page: Page, state: str) -> None:
    page.evaluate(
        """(state) => {
            Object.defineProperty(document, "visibilityState", { configurable: true, get: () => state });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        state,
    )


def test_events_wait_until_the_server_takes_them(browser: Browser, shop: Shop, url: str) -> None:
    with open_page(browser, expected_errors=True) as page:
        page.goto(f"{url}/?image=img-1")
        refused = []

        def refuse(route: Any) -> None:
            refused.append(route.request.post_data_json)
            route.fulfill(
                status=503, headers={"Retry-After": "1"}, json={"error": {"code": "overloaded", "message": ""}}
            )

        page.route("**/v1/events", refuse)
        tiles(page).first.click()
        until(page, lambda: refused)
        page.unroute("**/v1/events")
        until(page, lambda: shop.script.events)
    assert shop.script.events[0] == refused[0]["events"][0]


def test_the_page_that_is_left_reports_before_it_goes(browser: Browser, shop: Shop, url: str) -> None:
    with open_page(browser) as page:
        page.goto(f"{url}/?image=img-1")
        tiles(page).first.click()
        page.wait_for_timeout(50)
        page.goto("about:blank")
        until(page, lambda: any(event["type"] == "dwell" for event in shop.script.events))
        page.goto(url)


def test_back_and_forward_bring_back_what_was_shown(browser: Browser, shop: Shop, url: str) -> None:
    with open_page(browser) as page:
        page.goto(url)
        page.locator(".samples a").nth(2).click()
        expect(tiles(page)).to_have_count(6)
        assert page.url == f"{url}/?image=img-2"
        assert json.loads(shop.script.asked[0].body)["instances"] == [{"image_id": "img-2"}]
        tiles(page).nth(4).click()
        page.get_by_role("link", name="Search by this picture").click()
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(page.locator("#query-image")).to_have_attribute("alt", "Picture img-4 of the catalogue")
        assert page.url == f"{url}/?image=img-4"
        page.go_back()
        expect(page.locator("#detail-place")).to_have_text("Result 5 of 6")
        page.keyboard.press("Escape")
        page.keyboard.press("Escape")  # once too often: that is no step back
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(page.locator("#query-image")).to_have_attribute("alt", "Picture img-2 of the catalogue")
        page.go_back()
        expect(page.get_by_role("heading", name="Find it by a picture")).to_be_visible()
        page.go_forward()
        expect(tiles(page)).to_have_count(6)
        assert len(shop.script.asked) == 2  # nothing was asked twice, so no impression is counted twice
        page.reload()
        expect(tiles(page)).to_have_count(6)
        choose(page)
        expect(page.locator("#query-image")).to_have_attribute("alt", "The picture you gave")
        page.reload()
        expect(page.locator("#start-notice")).to_contain_text("Give the picture again")


def test_a_part_is_drawn_with_the_mouse(browser: Browser, shop: Shop, url: str) -> None:
    with open_page(browser) as page:
        page.goto(url)
        choose(page)
        expect(tiles(page)).to_have_count(6)
        box = page.locator("#stage").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 0.25 * box["height"])
        page.mouse.down()
        page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.6 * box["height"], steps=4)
        page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 0.75 * box["height"], steps=4)
        page.mouse.up()
        until(page, lambda: len(shop.script.asked) == 2)
        assert crop_of(shop.script.asked[1]) == pytest.approx([0.25, 0.25, 0.5, 0.5], abs=0.01)
        assert shop.script.asked[1].body == PICTURE
        corner = page.locator("[data-corner=se]").bounding_box()
        assert corner is not None
        page.mouse.move(corner["x"] + corner["width"] / 2, corner["y"] + corner["height"] / 2)
        page.mouse.down()
        page.mouse.move(box["x"] + 3 * box["width"], box["y"] + 3 * box["height"], steps=5)  # far beyond the edge
        page.mouse.up()
        until(page, lambda: len(shop.script.asked) == 3)
        x, y, width, height = crop_of(shop.script.asked[2])
        assert [x, y, width, height] == pytest.approx([0.25, 0.25, 0.75, 0.75], abs=0.01)
        assert x + width <= 1
        assert y + height <= 1
        page.get_by_role("button", name="Whole picture").click()
        until(page, lambda: len(shop.script.asked) == 4)
        assert "crop" not in shop.script.asked[3].parameters
        page.mouse.move(box["x"] + 0.96 * box["width"], box["y"] + 0.96 * box["height"])
        page.mouse.down()
        page.mouse.move(box["x"] + 0.99 * box["width"], box["y"] + 0.99 * box["height"], steps=3)  # too small: it grows
        page.mouse.up()
        until(page, lambda: len(shop.script.asked) == 5)
        assert crop_of(shop.script.asked[4]) == pytest.approx([0.92, 0.92, 0.08, 0.08])


def test_a_part_is_chosen_with_the_keyboard(browser: Browser, shop: Shop, url: str) -> None:
    with open_page(browser) as page:
        page.goto(f"{url}/?image=img-3")
        expect(tiles(page)).to_have_count(6)
        page.get_by_role("button", name="Search by a part").press("Enter")
        expect(page.locator("#crop")).to_be_focused()
        for key in ("ArrowRight", "ArrowDown", "Shift+ArrowLeft"):
            page.keyboard.press(key)
        expect(page.locator("#status")).to_have_text(
            "Part: 58 % wide, 60 % high, 22 % from the left, 22 % from the top."
        )
        page.keyboard.press("Enter")
        until(page, lambda: len(shop.script.asked) == 2)
        assert crop_of(shop.script.asked[1]) == pytest.approx([0.22, 0.22, 0.58, 0.6])
        assert shop.script.asked[1].body == shop.pictures["img-3"]  # a part has no stored vector: the picture is sent
        assert "image=img-3&crop=0.22" in page.url
        expect(page.locator("#crop")).to_be_focused()


def test_a_part_is_tapped_on_a_phone(browser: Browser, shop: Shop, url: str) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with open_page(browser, **phone) as page:
        page.goto(url)
        expect(page.get_by_role("button", name="Take a photo")).to_be_visible()
        choose(page)
        expect(tiles(page)).to_have_count(6)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        box = page.locator("#stage").bounding_box()
        assert box is not None
        page.touchscreen.tap(box["x"] + 0.5 * box["width"], box["y"] + 0.9 * box["height"])
        until(page, lambda: len(shop.script.asked) == 2)
        assert crop_of(shop.script.asked[1]) == pytest.approx([0.275, 0.55, 0.45, 0.45], abs=0.01)


HAND_OVER = """([way, data, kind]) => {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], "a.jpg", { type: kind }));
    const event = way === "paste" ? new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true })
        : new DragEvent(way, { dataTransfer: transfer, bubbles: true, cancelable: true });
    document.body.dispatchEvent(event);
    return event.defaultPrevented;
}"""


def test_pictures_are_pasted_and_dropped(browser: Browser, shop: Shop, url: str) -> None:
    data = base64.b64encode(PICTURE).decode()
    with open_page(browser) as page:
        page.goto(url)
        assert page.evaluate(HAND_OVER, ["paste", data, "image/jpeg"])
        until(page, lambda: len(shop.script.asked) == 1)
        page.evaluate(HAND_OVER, ["dragenter", data, "image/jpeg"])
        expect(page.locator("#drop")).to_be_visible()
        assert page.evaluate(HAND_OVER, ["drop", data, "image/jpeg"])
        expect(page.locator("#drop")).to_be_hidden()
        until(page, lambda: len(shop.script.asked) == 2)
        assert [asked.body for asked in shop.script.asked] == [PICTURE, PICTURE]


def test_very_large_pictures_travel_smaller_and_upright(browser: Browser, shop: Shop, url: str) -> None:
    wide = Image.new("RGB", (5000, 1000), "white")
    wide.paste((200, 0, 0), (0, 0, 1000, 1000))  # red on the left as stored; on top when turned upright
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise
    stored = io.BytesIO()
    wide.save(stored, "JPEG", exif=exif)
    with open_page(browser) as page:
        page.goto(url)
        choose(page, stored.getvalue())
        until(page, lambda: shop.script.asked)
    sent = Image.open(io.BytesIO(shop.script.asked[0].body))
    assert (sent.format, sent.size) == ("JPEG", (410, 2048))
    assert sent.getexif().get(0x0112, 1) == 1
    top, bottom = sent.getpixel((200, 100)), sent.getpixel((200, 1900))
    assert top[0] > 150 and max(top[1:]) < 60  # noqa: PT018
    assert min(bottom) > 240


def test_choices_go_with_the_search_and_are_kept(browser: Browser, shop: Shop, url: str) -> None:
    with open_page(browser) as page:
        page.goto(f"{url}/?image=img-1")
        until(page, lambda: len(shop.script.asked) == 1)  # a search that overtakes another may end it before it is sent
        page.get_by_label("Results").select_option("50")
        until(page, lambda: len(shop.script.asked) == 2)
        page.get_by_label("One picture of each item").uncheck()
        until(page, lambda: len(shop.script.asked) == 3)
        page.get_by_label("Only good matches").check()
        until(page, lambda: len(shop.script.asked) == 4)
        expect(tiles(page)).to_have_count(6)
        page.reload()
        until(page, lambda: len(shop.script.asked) == 5)
        asked = json.loads(shop.script.asked[-1].body)["parameters"]
        assert asked == {
            "k": 50,
            "explain": True,
            "group_items": False,
            "collapse_duplicates": True,
            "floor": "calibrated",
        }
        shop.script.release = {"floors": {}}
        page.reload()
        expect(page.get_by_label("Only good matches")).to_be_hidden()


def test_a_bad_picture_is_told_in_the_servers_words(browser: Browser, shop: Shop, url: str) -> None:
    shop.script.problems = [(422, "bad_image", "the picture ends too early; send it again", {})]
    with open_page(browser, expected_errors=True) as page:
        page.goto(url)
        choose(page, b"\xff\xd8\xff no picture")
        expect(page.locator("#notice")).to_contain_text("This picture cannot be used")
        expect(page.locator("#notice")).to_contain_text("The picture ends too early; send it again.")
        expect(page.locator("#query-unshown")).to_be_visible()
        expect(page.get_by_role("button", name="Search by a part")).to_be_disabled()
        assert shop.script.asked[0].body == b"\xff\xd8\xff no picture"
        choose(page)
        expect(tiles(page)).to_have_count(6)
        expect(page.locator("#notice")).to_be_empty()


def test_overload_is_waited_for(browser: Browser, shop: Shop, url: str) -> None:
    shop.script.problems = [(503, "overloaded", "busy", {"Retry-After": "2"})]
    with open_page(browser, expected_errors=True) as page:
        page.goto(url)
        choose(page)
        expect(page.locator("#notice")).to_contain_text(re.compile(r"Trying again in [12] seconds?\."))
        expect(tiles(page)).to_have_count(6)
        assert len(shop.script.asked) == 2
        expect(page.locator("#notice")).to_be_empty()


def test_a_broken_connection_is_told_and_mended(browser: Browser, shop: Shop, url: str) -> None:
    with open_page(browser, expected_errors=True) as page:
        page.goto(url)
        expect(page.locator("#facts")).not_to_be_empty()
        page.context.set_offline(True)
        choose(page)
        expect(page.locator("#notice")).to_contain_text("The server cannot be reached")
        page.context.set_offline(False)
        expect(tiles(page)).to_have_count(6)


def test_a_key_is_asked_for_and_goes_with_everything(browser: Browser, shop: Shop, url: str) -> None:
    shop.script.key = KEY
    with open_page(browser, expected_errors=True) as page:
        page.goto(url)
        page.get_by_label("Access key").fill("wrong")
        page.get_by_role("button", name="Go on").click()
        expect(page.get_by_label("Access key")).to_have_value("")
        page.get_by_label("Access key").fill(KEY)
        page.keyboard.press("Enter")
        expect(page.locator(".samples a")).to_have_count(6)
        until(
            page, lambda: page.evaluate("[...document.querySelectorAll('.samples img')].every(i => i.naturalWidth > 0)")
        )
        choose(page)
        expect(tiles(page)).to_have_count(6)
        tiles(page).first.click()
        until(page, lambda: shop.script.events)
        until(page, lambda: page.evaluate("document.getElementById('detail-image').naturalWidth > 0"))


def test_an_arm_once_given_is_kept(browser: Browser, shop: Shop, url: str) -> None:
    shop.script.release = {"pin": {"X-Arm": "challenger-7", "Cookie": "no=header", "X-Bad": 3}}
    with open_page(browser) as page:
        page.goto(url)
        expect(page.locator("#facts")).not_to_be_empty()
        choose(page)
        expect(tiles(page)).to_have_count(6)
        until(page, lambda: any(headers.get("x-arm") == "challenger-7" for headers in shop.script.thumbnail_headers))
        shop.script.release = {"pin": {"X-Arm": "another"}}
        page.reload()
        choose(page)
        until(page, lambda: len(shop.script.asked) == 2)
    assert [asked.headers["x-arm"] for asked in shop.script.asked] == ["challenger-7", "challenger-7"]


def test_no_good_match_offers_the_nearest(browser: Browser, shop: Shop, url: str) -> None:
    shop.script.results, shop.script.changes = [], {"no_good_match": True}
    with open_page(browser) as page:
        page.goto(url)
        choose(page)
        expect(page.locator("#notice")).to_contain_text("No good match")
        shop.script.results, shop.script.changes = None, {}
        page.get_by_role("button", name="Show the closest anyway").click()
        expect(tiles(page)).to_have_count(6)
        assert "floor" not in shop.script.asked[-1].parameters
        shop.script.results = []
        choose(page)
        expect(page.locator("#notice")).to_contain_text("Nothing to show")


def test_where_a_picture_is_missing_the_rest_stands(browser: Browser, shop: Shop, url: str) -> None:
    shop.script.results = shop.default_results()
    shop.script.results[0] |= {"image_id": "gone", "thumbnail": "/v1/images/gone/thumbnail"}
    with open_page(browser, expected_errors=True) as page:
        page.goto(url)
        choose(page)
        expect(tiles(page).first).to_contain_text("No picture")
        tiles(page).first.click()
        expect(page.locator("#detail-unshown")).to_be_visible()


DETAIL = """(() => {
    const link = document.getElementById("detail-search");
    return [document.getElementById("detail-place").textContent, link.protocol + link.pathname];
})()"""
RISKY = "document.querySelectorAll('script, style, link, base, meta, iframe, object, form').length"
HANDLERS = "[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames()).filter(n => n.startsWith('on'))"


def test_no_script_comes_from_data(browser: Browser, shop: Shop, url: str) -> None:
    hostile = [
        {
            "position": n + 1,
            "image_id": payload,
            "item_id": payload,
            "uri": payload,
            "category": payload,
            "score": 0.5,
            "grouped": 1,
            "thumbnail": payload,
            "token": payload,
            "explain": [payload],
        }
        for n, payload in enumerate(PAYLOADS)
    ]
    shop.script.results = hostile
    shop.script.changes = {
        "explain": [{"rule": payload, "text": payload} for payload in PAYLOADS],
        "release_id": PAYLOADS[0],
        "arm": PAYLOADS[2],
        "query_id": PAYLOADS[3],
    }
    shop.script.problems = [(422, "bad_image", " ".join(PLAIN_PAYLOADS), {})]
    with open_page(browser, expected_errors=True) as page:
        watched: list[str] = []
        page.on("request", lambda request: watched.append(request.url))
        page.goto(url)
        before = page.evaluate(RISKY)
        assert len(PAYLOADS) == 60
        choose(page, name=f"{PAYLOADS[2]}.jpg".replace("/", ""))
        expect(page.locator("#notice")).to_contain_text("<script>window.pwned")
        choose(page)
        expect(tiles(page)).to_have_count(len(PAYLOADS))
        expect(tiles(page).first).to_contain_text("<script>")
        tiles(page).first.click()
        for n in range(len(PAYLOADS)):
            expected = [f"Result {n + 1} of {len(PAYLOADS)}", "http:/"]
            until(page, lambda expected=expected: page.evaluate(DETAIL) == expected)
            page.keyboard.press("ArrowRight")
        after = page.evaluate(RISKY)
        assert after == before
        assert page.evaluate(HANDLERS) == []
        assert page.evaluate("window.pwned") is None
        assert all(each.startswith((url, "blob:", "data:")) for each in watched), watched


def test_addresses_carry_no_script(browser: Browser, shop: Shop, url: str) -> None:
    with open_page(browser, expected_errors=True) as page:
        for payload in PAYLOADS[::6]:
            page.goto(f"{url}/?{urlencode({'image': payload, 'crop': payload})}")
            expect(tiles(page)).to_have_count(6)
            assert page.evaluate("window.pwned") is None
            assert json.loads(shop.script.asked[-1].body)["instances"] == [{"image_id": payload}]
