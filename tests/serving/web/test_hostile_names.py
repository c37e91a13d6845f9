"""A catalogue whose ids, items, categories and uris are scripts, and pictures whose EXIF and names are (promise 19).

Through the real processes and the real page: all of it comes back as the words that it is, in JSON, or not at all.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from playwright.sync_api import expect

from components.shared.files.layout import ITEMS_FILE, MANIFEST_FILE
from components.shared.release.manifest import GOLDEN_FILE, REFERENCE_FILE, read_manifest, seal_release
from support.clients.page_browser import open_browser, open_page
from support.inputs.script_payloads import PAYLOADS
from support.servers.serving_processes import make_local_release, pictures_of, serving

PREDICT = "/v1/models/visual-search:predict"
IDS = [f"{payload} {number}" for number, payload in enumerate(PAYLOADS)]  # two of them are equal


def make_hostile_release(root: Path) -> Path:
    """Make a release in which every image_id, item_id and category is a payload."""
    release = make_local_release(root, items=30, views=2)
    names = dict(zip(pq.read_table(release / ITEMS_FILE)["image_id"].to_pylist(), IDS, strict=True))
    for file in (ITEMS_FILE, GOLDEN_FILE, REFERENCE_FILE):
        table = pq.read_table(release / file)
        for place, field in enumerate(table.schema):
            values = table[field.name].to_pylist()
            if field.name == "image_id":
                values = [names[each] for each in values]
            elif field.name == "expected_image_ids":
                values = [[names[each] for each in row] for row in values]
            elif field.name == "item_id":
                values = [PAYLOADS[2 * int(each.rpartition("-")[2])] for each in values]
            elif field.name == "category":
                values = [PAYLOADS[row] for row in range(len(values))]
            else:
                continue
            table = table.set_column(place, field, pa.array(values, field.type))
        pq.write_table(table, release / file)
    manifest = read_manifest(release)
    (release / MANIFEST_FILE).unlink()
    seal_release(
        release, encoder=manifest.encoder, index=manifest.index, catalogue=manifest.catalogue, metrics=manifest.metrics,
        gate=manifest.gate,
    )  # fmt: skip
    return release


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The address of the service, and payload → picture."""
    folder = tmp_path_factory.mktemp("hostile")
    release = make_hostile_release(folder / "made")
    with serving(release, folder) as processes:
        yield processes.url, pictures_of(release)


@pytest.fixture(scope="module")
def http(site: tuple[str, dict[str, bytes]]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site[0], timeout=60) as client:
        yield client


def test_ids_come_back_as_they_are_in_json_only(http: httpx.Client, site: tuple[str, dict[str, bytes]]) -> None:
    everything = {"k": 200, "group_items": False, "collapse_duplicates": False, "exclude_self": False, "explain": True}
    first = next(iter(site[1].values()))
    answer = http.post(PREDICT, params=everything, content=first, headers={"content-type": "image/jpeg"})
    results = answer.json()["predictions"][0]["results"]
    shown = {result["image_id"] for result in results}
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert len(shown) > 40
    assert shown <= set(IDS)
    for result in results:
        assert result["thumbnail"] == f"/v1/images/{quote(result['image_id'], safe='')}/thumbnail"
        thumbnail = http.get(result["thumbnail"], params={"side": 64})
        assert (thumbnail.status_code, thumbnail.headers["content-type"]) == (200, "image/webp"), result["image_id"]
        similar = http.post(PREDICT, json={"instances": [{"image_id": result["image_id"]}], "parameters": {"k": 1}})
        assert similar.status_code == 200, result["image_id"]


@pytest.mark.parametrize("part", range(4))
def test_what_a_client_sends_is_never_sent_back(
    http: httpx.Client, site: tuple[str, dict[str, bytes]], part: int
) -> None:
    picture = Image.open(io.BytesIO(next(iter(site[1].values()))))
    for payload in PAYLOADS[part::4]:
        echo = f"echo-{payload}"  # no image has that id
        exif, buffer = Image.Exif(), io.BytesIO()
        for tag in (0x010E, 0x010F, 0x0131, 0x013B, 0x8298):  # description, maker, software, artist, copyright
            exif[tag] = echo
        picture.save(buffer, "JPEG", exif=exif, comment=echo.encode())
        header = quote(echo)[:300]
        answers = [
            http.post(
                PREDICT, content=buffer.getvalue(),
                headers={"content-type": "image/jpeg", "content-disposition": f"attachment; filename*=UTF-8''{header}"},
            ),
            http.post(PREDICT, json={"instances": [{"image_id": echo}]}),
            http.post(PREDICT, json={"instances": [{echo: 1}], "parameters": {echo: echo}}),
            http.post(PREDICT, json={"instances": [{"b64": echo}]}),
            http.post(PREDICT, params={echo: echo}, content=buffer.getvalue(), headers={"content-type": "image/jpeg"}),
            http.post(PREDICT, params={"floor": echo}, content=buffer.getvalue(), headers={"content-type": "image/jpeg"}),
            http.get(f"/v1/images/{quote(echo, safe='')}/thumbnail"),
            http.get(f"/{quote(echo, safe='')}"),
            http.post("/v1/events", json={"events": [{"token": echo, "type": echo}]}),
            http.get("/v1/release", headers={"x-request-id": header, "x-visual-search-user": header}),
        ]  # fmt: skip
        for answer in answers:
            assert answer.headers["content-type"] == "application/json"
            assert "echo-" not in answer.text, (payload, answer.text)
            assert "echo-" not in json.dumps(dict(answer.headers)), payload
            assert answer.status_code < 500


def test_the_page_shows_them_as_words(site: tuple[str, dict[str, bytes]]) -> None:
    url, pictures = site
    with open_browser() as browser, open_page(browser) as page:
        page.goto(url)
        page.set_input_files(
            "#file", files=[{"name": "<img src=x onerror=alert(1)>.jpg", "mimeType": "image/jpeg",
                             "buffer": next(iter(pictures.values()))}],
        )  # fmt: skip
        expect(page.locator("button.tile").nth(10)).to_be_visible()
        for place in range(11):
            page.locator("button.tile").nth(place).click()
            page.keyboard.press("Escape")
        assert page.evaluate("window.pwned") is None
        assert page.evaluate("document.querySelectorAll('iframe, object, form, base, #results script').length") == 0
