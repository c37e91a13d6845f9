"""Chromium for the tests of the page: Debian's, headless, watched for console errors and breaches of the CSP."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

_WAIT_MILLISECONDS = 30_000  # of what is expected, where a machine is busy
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
WATCH = """
window.breaches = [];
document.addEventListener("securitypolicyviolation", (e) => window.breaches.push(`${e.violatedDirective} ${e.blockedURI}`));
"""


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start Chromium; skip the test where there is none."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine; install Debian's package 'chromium', or name one in CHROMIUM")
    expect.set_options(timeout=_WAIT_MILLISECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=120_000)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_page(browser: Browser, *, expected_errors: bool = False, **context: Any) -> Iterator[Page]:
    """Open a page; on leaving, there was no error on the console and no breach of the policy.

    Args:
        browser: which to open it in.
        expected_errors: the server answers with an error in this test, which the browser writes to the console.
        context: further arguments of the browser's context.
    """
    opened = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"} | context)
    page = opened.new_page()
    page.set_default_timeout(_WAIT_MILLISECONDS)
    heard: list[str] = []
    page.on("pageerror", lambda error: heard.append(f"{error}"))
    page.on("dialog", lambda dialog: heard.append(f"a script opened a dialog: {dialog.message}"))
    page.on("console", lambda message: heard.append(message.text) if message.type in {"error", "warning"} else None)
    page.add_init_script(WATCH)
    try:
        yield page
        breaches = page.evaluate("window.breaches")
        if breaches:
            raise AssertionError(f"the page broke its policy: {breaches}")
    finally:
        opened.close()
    heard = [line for line in heard if not (expected_errors and "Failed to load resource" in line)]
    if heard:
        raise AssertionError(f"the page wrote to the console: {heard}")


def until(page: Page, holds: Callable[[], object], *, seconds: float = 20) -> None:
    """Wait until something holds. Playwright's own `wait_for_function` evaluates text in the page, which its policy forbids."""
    for _ in range(int(seconds / 0.025)):
        if holds():
            return
        page.wait_for_timeout(25)
    raise AssertionError("it did not come to hold")
