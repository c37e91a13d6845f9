"""Contrast from the style sheet's own colours; names, order and focus as Chromium's accessibility tree has them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from serving.web.routes import STATIC
from support.clients.page_browser import open_browser, open_page
from support.clients.page_shop import Shop, serving
from support.factories.basics import encode_picture, make_picture

TEXT_PAIRS = [
    ("ink", "paper"),
    ("ink", "card"),
    ("ink", "well"),
    ("ink", "accent-wash"),
    ("ink", "wrong-wash"),
    ("muted", "paper"),
    ("muted", "card"),
    ("muted", "well"),
    ("accent", "paper"),
    ("accent", "card"),
    ("accent-ink", "accent"),
    ("wrong", "wrong-wash"),
]
SHAPE_PAIRS = [("edge", "card"), ("edge", "paper"), ("accent", "track"), ("accent", "card"), ("accent", "paper")]


def colours_of(css: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{6})\b", css))


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # the standard's own example of a near miss


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_can_be_read(scheme: str) -> None:
    light, dark = (STATIC / "style.css").read_text().split("@media (prefers-color-scheme: dark)", 1)
    colours = colours_of(light) | (colours_of(dark.split("}\n}", 1)[0]) if scheme == "dark" else {})
    poor = {
        pair: round(contrast(colours[pair[0]], colours[pair[1]]), 2)
        for pairs, least in ((TEXT_PAIRS, 4.5), (SHAPE_PAIRS, 3.0))
        for pair in pairs
        if contrast(colours[pair[0]], colours[pair[1]]) < least
    }
    assert poor == {}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(Shop().app) as url:
        yield url


def controls_of(page: Page) -> list[dict[str, Any]]:
    """Every control that the accessibility tree shows: role and name."""
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    session.detach()
    roles = {
        "button",
        "link",
        "checkbox",
        "combobox",
        "textbox",
        "application",
        "dialog",
        "image",
        "DisclosureTriangle",
    }
    return [
        {"role": node["role"]["value"], "name": node.get("name", {}).get("value", "")}
        for node in nodes
        if not node.get("ignored") and node.get("role", {}).get("value") in roles
    ]


def focus_order(page: Page, presses: int) -> list[str]:
    order = []
    for _ in range(presses):
        page.keyboard.press("Tab")
        order.append(
            page.evaluate(
                "document.activeElement.id || document.activeElement.className || document.activeElement.tagName"
            )
        )
    return order


@pytest.mark.parametrize("width", [1280, 390])
def test_controls_have_names_and_the_page_has_landmarks(browser: Browser, url: str, width: int) -> None:
    with open_page(browser, viewport={"width": width, "height": 844}) as page:
        page.goto(url)
        expect(page.locator(".samples a")).to_have_count(6)
        seen = controls_of(page)
        page.set_input_files(
            "#file", files=[{"name": "a.jpg", "mimeType": "image/jpeg", "buffer": encode_picture(make_picture(1))}]
        )
        expect(page.locator("button.tile")).to_have_count(6)
        page.get_by_role("button", name="Search by a part").click()
        seen += controls_of(page)
        for role in ("main", "banner", "contentinfo"):
            expect(page.get_by_role(role)).to_have_count(1)
        for name in ("Your picture", "Similar pictures"):
            expect(page.get_by_role("region", name=name)).to_be_visible()
        assert page.locator("h1:visible").count() == 1
        page.locator("button.tile").first.click()
        seen += controls_of(page)
    assert len(seen) > 40
    assert {"dialog", "application", "combobox", "checkbox"} <= {each["role"] for each in seen} or width == 390
    assert [each for each in seen if not each["name"].strip()] == []


# The body: the focus is in the browser's own bars.
INSIDE = (
    "document.activeElement === document.body || document.getElementById('detail').contains(document.activeElement)"
)


def test_the_focus_goes_in_reading_order_and_is_seen(browser: Browser, url: str) -> None:
    with open_page(browser) as page:
        page.goto(url)
        expect(page.locator(".samples a")).to_have_count(6)
        order = focus_order(page, 4)
        assert order == ["skip", "home", "primary", "more-samples"]
        page.goto(f"{url}/?image=img-1")
        expect(page.locator("button.tile")).to_have_count(6)
        expect(page.locator("#answer-title")).to_be_focused()
        assert focus_order(page, 2) == ["tile", "tile"]  # from the heading of the answer on to the answer
        outline = page.evaluate(
            "getComputedStyle(document.activeElement).outlineStyle + getComputedStyle(document.activeElement).outlineWidth"
        )
        assert outline == "solid3px"
        page.keyboard.press("Enter")
        inside = set()
        for _ in range(8):
            page.keyboard.press("Tab")
            inside.add(page.evaluate(INSIDE))
        assert inside == {True}  # the dialog keeps the focus


def test_targets_are_large_enough_for_a_finger(browser: Browser, url: str) -> None:
    with open_page(browser, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True) as page:
        page.goto(f"{url}/?image=img-1")
        expect(page.locator("button.tile")).to_have_count(6)
        sizes = page.eval_on_selector_all(
            "button, a.button, select, summary, .check",
            "all => all.filter(e => e.checkVisibility()).map(e => [e.id || e.textContent, e.offsetWidth, e.offsetHeight])",
        )
        assert len(sizes) > 8
        assert [size for size in sizes if size[1] < 40 or size[2] < 38] == []


def test_motion_stops_where_it_is_not_wanted(browser: Browser, url: str) -> None:
    with open_page(browser) as page:
        page.goto(f"{url}/?image=img-1")
        expect(page.locator("button.tile")).to_have_count(6)
        page.locator("button.tile").first.click()
        assert page.evaluate("document.getAnimations().length") == 0
        assert page.evaluate("getComputedStyle(document.getElementById('detail')).animationName") == "none"
