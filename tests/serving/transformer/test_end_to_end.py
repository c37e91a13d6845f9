"""The two real processes end to end: what is answered is what an offline search says, and nothing private is ever seen."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from components.shared.files.tables import EVENTS, QUERY_SAMPLES, read_table
from components.shared.release.manifest import read_manifest
from serving.client import ConnectionFailedError, RefusedError, SearchClient
from serving.events.export import export_events
from support.factories.basics import encode_picture
from support.inputs.offline_search import Offline
from support.servers.serving_processes import hidden_ids, make_local_release, pictures_of, serving

PREDICT = "/v1/models/visual-search:predict"
INFER = "/v2/models/visual-search/infer"


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    return make_local_release(tmp_path_factory.mktemp("release"), items=25, views=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("service")


@pytest.fixture(scope="module")
def service(release, folder):
    with serving(release, folder, arm="blue", samples=str(folder / "samples"), recall_share="1") as processes:
        yield processes


@pytest.fixture(scope="module")
def http(service):
    with httpx.Client(base_url=service.url, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def pictures(release) -> dict[str, bytes]:
    return pictures_of(release)


def ids(answer) -> list[str]:
    return [result.image_id for result in answer.results]


def test_every_answer_is_the_offline_search_id_by_id(release, service, pictures):
    """200 queries: all pictures of the catalogue, and as many that are not in it."""
    offline, asked = Offline(release), 0
    with SearchClient(service.url) as client:
        for data in pictures.values():
            for query in (data, encode_picture(np.array(Image.open(io.BytesIO(data)))[::-1], "PNG")):
                answer = client.search(query, k=12, group_items=False, collapse_duplicates=False)
                expected = offline.search(query, 12)
                assert ids(answer) == [name for name, _ in expected]
                np.testing.assert_allclose([r.score for r in answer.results], [s for _, s in expected], atol=1e-4)
                assert [r.position for r in answer.results] == list(range(1, 13))
                asked += 1
    assert asked == 200


def test_an_answer_says_where_it_comes_from(release, http, pictures):
    manifest = read_manifest(release)
    answer = http.post(
        PREDICT, params={"k": 3, "explain": "true"}, content=pictures["000-0"], headers={"content-type": "image/jpeg"}
    )
    assert answer.status_code == 200
    (prediction,) = answer.json()["predictions"]
    assert prediction["release_id"] == manifest.release_id == answer.headers["x-visual-search-release"]
    assert prediction["space_id"] == manifest.space_id
    assert prediction["arm"] == "blue" == answer.headers["x-visual-search-arm"]
    assert prediction["generation"] == 0
    assert prediction["query_image_id"] is None
    assert prediction["explain"]
    assert len({r["item_id"] for r in prediction["results"]}) == 3
    assert http.get("/v1/release").json()["release_id"] == manifest.release_id


def test_more_like_this_needs_no_encoder_call_and_leaves_itself_out(service, pictures):
    with SearchClient(service.url) as client:
        by_id = client.similar("002-1", k=8, group_items=False, collapse_duplicates=False)
        by_picture = client.search(pictures["002-1"], k=8, group_items=False, collapse_duplicates=False)
        assert ids(by_id) == ids(by_picture)
        assert by_id.query_image_id == "002-1"
        assert "002-1" not in ids(by_id)
        itself = client.similar("002-1", k=1, exclude_self=False)
        assert ids(itself) == ["002-1"]
        assert itself.results[0].score == pytest.approx(1, abs=1e-3)


def test_monitoring_can_ask_the_golden_pictures_of_the_real_service(release, service):
    from components.shared.release.manifest import open_catalogue
    from monitoring.diagnosis.golden import golden_scores
    from monitoring.diagnosis.parameters import DiagnosisParameters

    opened = open_catalogue(release)
    found = golden_scores(release, opened.manifest, opened.index, opened.items, service.url, DiagnosisParameters())
    assert (found.state, found.failed) == ("ok", False), found.sentence
    away = golden_scores(
        release, opened.manifest, opened.index, opened.items, "http://127.0.0.1:9", DiagnosisParameters()
    )
    assert (away.state, away.failed) == ("unknown", True)


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON", "text/json", "", None])
def test_json_is_taken_from_every_client(http, kind):
    body = b'\xef\xbb\xbf{"instances": [{"image_id": "002-1"}], "parameters": {"k": 3}}'
    headers = {} if kind is None else {"content-type": kind}
    for content in (body, body.removeprefix(b"\xef\xbb\xbf")):
        answer = http.post(PREDICT, content=content, headers=headers)
        assert answer.status_code == 200, (kind, answer.text)
        assert len(answer.json()["predictions"][0]["results"]) == 3


def test_a_picture_needs_no_type(http, pictures):
    for kind in ("application/octet-stream", "application/x-www-form-urlencoded", None):
        answer = http.post(PREDICT, content=pictures["000-0"], headers={} if kind is None else {"content-type": kind})
        assert answer.status_code == 200, (kind, answer.text)
    refused = http.post(PREDICT, content=b"hello", headers={"content-type": "text/plain"})
    assert refused.status_code == 415
    assert "image/jpeg" in refused.text
    assert "application/json" in refused.text


def test_protocols_agree(http, pictures):
    names = ("000-0", "001-2", "004-3")
    raw = [pictures[name] for name in names]
    encoded = [base64.b64encode(data).decode() for data in raw]
    one = [
        http.post(PREDICT, params={"k": 5}, content=data, headers={"content-type": "image/jpeg"}).json()["predictions"][
            0
        ]
        for data in raw
    ]
    listed = http.post(PREDICT, json={"instances": [{"b64": text} for text in encoded], "parameters": {"k": 5}}).json()
    tensor = {"name": "images", "shape": [3], "datatype": "BYTES"}
    v2 = http.post(INFER, json={"inputs": [{**tensor, "data": encoded}], "parameters": {"k": 5}})
    assert v2.status_code == 200, v2.text
    packed = b"".join(len(data).to_bytes(4, "little") + data for data in raw)
    head = json.dumps(
        {"inputs": [{**tensor, "parameters": {"binary_data_size": len(packed)}}], "parameters": {"k": 5}}
    ).encode()
    binary = http.post(
        INFER,
        content=head + packed,
        headers={"inference-header-content-length": str(len(head)), "content-type": "application/octet-stream"},
    )
    assert binary.status_code == 200, binary.text
    expected = [[result["image_id"] for result in answer["results"]] for answer in one]
    assert [[r["image_id"] for r in answer["results"]] for answer in listed["predictions"]] == expected
    for answer in (v2.json(), binary.json()):
        outputs = {output["name"]: output for output in answer["outputs"]}
        assert np.array(outputs["image_id"]["data"]).reshape(3, 5).tolist() == expected
        assert outputs["score"]["shape"] == [3, 5]
        assert answer["parameters"]["release_id"] == one[0]["release_id"]
        assert len(answer["parameters"]["query_id"].split(",")) == 3


def test_a_crop_finds_the_part(service, pictures):
    """Two pictures side by side: each half finds its own."""
    left, right = (np.array(Image.open(io.BytesIO(pictures[name]))) for name in ("000-0", "006-0"))
    both = encode_picture(np.hstack([left, right]), "PNG")
    with SearchClient(service.url) as client:
        for crop, name in (((0, 0, 0.5, 1), "000-0"), ((0.5, 0, 0.5, 1), "006-0")):
            assert client.search(both, k=1, crop=crop).results[0].image_id == name


def encodings(pixels: np.ndarray) -> list[bytes]:
    """24 ways to store one picture."""
    image, found = Image.fromarray(pixels), []

    def save(picture: Image.Image, kind: str, **options) -> None:
        buffer = io.BytesIO()
        picture.save(buffer, kind, **options)
        found.append(buffer.getvalue())

    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's transpositions, by EXIF orientation
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = image if orientation == 1 else image.transpose(undo[orientation])
        save(stored, "JPEG", quality=95, exif=exif)
    save(image, "JPEG", quality=95, progressive=True)
    save(image, "JPEG", quality=95, subsampling=0)
    save(image, "JPEG", quality=70)
    save(image, "JPEG", quality=95, optimize=True)
    save(image.convert("CMYK"), "JPEG", quality=95)
    save(image, "PNG")
    save(image, "PNG", compress_level=0)
    save(image.convert("RGBA"), "PNG")
    save(image.convert("P", palette=Image.Palette.ADAPTIVE, colors=256), "PNG")
    translucent = image.convert("RGBA")
    translucent.putalpha(254)
    save(translucent, "PNG")
    save(image, "WEBP", quality=95)
    save(image, "WEBP", lossless=True)
    save(image.convert("RGBA"), "WEBP", quality=95)
    save(image, "WEBP", save_all=True, append_images=[Image.new("RGB", image.size)], quality=95)
    found.append(_png16(pixels))
    save(image, "PNG", interlace=1)
    return found


def _png16(pixels: np.ndarray) -> bytes:
    import cv2

    done, encoded = cv2.imencode(".png", (pixels[:, :, ::-1].astype(np.uint16) << 8) | 0x80)
    assert done
    return encoded.tobytes()


def test_the_same_picture_gives_the_same_first_result_however_it_is_stored(service, pictures):
    with SearchClient(service.url) as client:
        for name in ("000-1", "004-2", "007-0"):
            ways = encodings(np.array(Image.open(io.BytesIO(pictures[name]))))
            assert len(ways) == 24
            first = [client.search(data, k=1).results[0].image_id for data in ways]
            assert first == [name] * 24


def test_nothing_private_anywhere(release, service, http, pictures):
    hidden = hidden_ids(release)
    visible = set(pictures) - hidden
    assert len(hidden) > 8
    with SearchClient(service.url) as client:
        for name in sorted(hidden):
            answer = client.search(pictures[name], k=200, group_items=False, collapse_duplicates=False, explain=True)
            assert set(ids(answer)) == visible, "as many as there are, and none that is hidden"
            assert not any(secret in json.dumps(answer.explain) for secret in hidden)
        unknown = _refusal(lambda: client.similar("nobody"))
        for name in sorted(hidden):
            assert _refusal(lambda name=name: client.similar(name)) == unknown
        grouped = client.search(pictures["000-0"], k=200)
        assert sum(1 + result.grouped for result in grouped.results) <= len(visible)
    nothing = http.get("/v1/images/nobody/thumbnail")
    for name in sorted(hidden):
        found = http.get(f"/v1/images/{name}/thumbnail")
        assert (found.status_code, found.json()["error"]) == (404, nothing.json()["error"])
    shown = {sample["image_id"] for sample in http.get("/v1/samples", params={"n": 60}).json()["samples"]}
    assert shown
    assert not shown & hidden
    too_few = http.get("/v1/samples", params={"n": 0})
    assert (too_few.status_code, too_few.json()["error"]["code"]) == (400, "bad_request")
    assert too_few.json()["error"]["message"] == "n: it should be greater than or equal to 1"
    facts = http.get("/v1/release").json()
    assert facts["images"] == len(visible)
    assert facts["items"] == len({name.split("-")[0] for name in visible})
    assert not any(name in http.get("/metrics").text for name in hidden)


def _refusal(call) -> tuple:
    with pytest.raises(RefusedError) as refused:
        call()
    return refused.value.status, refused.value.code, refused.value.reason, str(refused.value)


def test_thumbnails_are_made_anew(http, pictures):
    found = http.get("/v1/images/000-0/thumbnail", params={"side": 64})
    assert found.status_code == 200
    assert found.headers["content-type"] == "image/webp"
    assert found.content != pictures["000-0"]
    with Image.open(io.BytesIO(found.content)) as image:
        assert max(image.size) <= 128
    again = http.get(
        "/v1/images/000-0/thumbnail", params={"side": 64}, headers={"if-none-match": found.headers["etag"]}
    )
    assert again.status_code == 304


ERRORS = [
    ({"content": b"hello", "headers": {"content-type": "image/jpeg"}}, 422, "bad_image", "not_an_image"),
    ({"content": b"\xff\xd8\xff\xe0", "headers": {"content-type": "image/jpeg"}}, 422, "bad_image", None),
    ({"content": b"hello", "headers": {"content-type": "text/plain"}}, 415, "unsupported_media_type", None),
    ({"content": b"{", "headers": {"content-type": "application/json"}}, 400, "bad_request", None),
    ({"json": [1]}, 400, "bad_request", None),
    ({"json": {"instances": [{"b64": "x"}]}}, 400, "bad_request", None),
    ({"json": {"instances": [{"image_id": "nobody"}]}}, 404, "not_found", None),
    ({"json": {"instances": [{"image_id": "000-0"}], "parameters": {"k": 10**9}}}, 400, "bad_request", None),
    ({"json": {"instances": [{"image_id": "000-0"}] * 65}}, 413, "too_large", None),
]


@pytest.mark.parametrize(("request_", "status", "code", "reason"), ERRORS)
def test_errors_are_typed_and_tell_nothing_internal(http, request_, status, code, reason):
    answer = http.post(PREDICT, **request_)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == code
    if reason is not None:
        assert error["reason"] == reason
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert not any(
        word in answer.text for word in ("Traceback", "site-packages", "Error:", "/work", "/tmp", "pydantic")
    )


def test_a_crash_of_a_decoder_is_survived_with_its_place_taken(release, service, http, pictures):
    transformer = psutil.Process(service.children["transformer"].pid)
    decoders = [child for child in transformer.children() if "decoder_process" in " ".join(child.cmdline())]
    assert len(decoders) >= 2
    for victim in decoders:
        victim.kill()
    shown = min(set(pictures) - hidden_ids(release))
    until = time.monotonic() + 60
    for ask in (  # queries and thumbnails have processes of their own
        lambda: http.post(PREDICT, content=pictures["000-0"], headers={"content-type": "image/jpeg"}),
        lambda: http.get(f"/v1/images/{shown}/thumbnail", params={"side": 512}),
    ):
        while (status := ask().status_code) == 503 and time.monotonic() < until:
            pass
        assert status == 200


def test_clicks_are_kept_with_their_impressions(service, folder, pictures):
    with SearchClient(service.url, user_id="somebody") as client:
        answer = client.search(pictures["004-0"], k=5)
        client.click(answer.results[2])
        client.click(answer.results[2])
        client.dwell(answer.results[2], 1234)
    rows, deadline = [], time.monotonic() + 20
    while len(rows) < 7 and time.monotonic() < deadline:  # impressions are written with others, a moment later
        export_events(f"sqlite:///{folder / 'events.db'}", str(folder / "export"))
        stored = (read_table(path, EVENTS).to_pylist() for path in (folder / "export").glob("*.parquet"))
        rows = [row for table in stored for row in table if row["query_id"] == answer.query_id]
    assert sorted(row["type"] for row in rows) == ["click", "dwell"] + ["impression"] * 5
    (click,) = (row for row in rows if row["type"] == "click")
    assert (click["position"], click["returned_image_id"]) == (3, answer.results[2].image_id)
    assert (click["arm"], click["release_id"], click["user_id"]) == ("blue", answer.release_id, "somebody")


def test_metrics_have_stages_and_recall(http, pictures):
    text, until = "", time.monotonic() + 60
    while "visual_search_online_index_recall_at_10{" not in text and time.monotonic() < until:
        http.post(PREDICT, content=pictures["000-0"], headers={"content-type": "image/jpeg"})
        text = http.get("/metrics").text  # recall is measured beside the answers
    for stage in ("decode", "encode", "search", "answer"):
        assert f'stage="{stage}"' in text
    assert "visual_search_online_index_recall_at_10{" in text
    assert "visual_search_encoder_ready 1.0" in text


def test_what_answers_queries_loads_no_framework():
    code = (
        "import sys\n"
        "import serving.transformer.app, serving.transformer.__main__, serving.transformer.encoding.decoder_process\n"
        "print(','.join(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = set(printed.strip().splitlines()[-1].split(","))
    assert not loaded & {"torch", "torchvision", "kfp", "mlflow", "evidently", "sklearn", "matplotlib", "duckdb"}


def test_stopping_flushes_the_sample_and_ends_everything(release, tmp_path, pictures, monkeypatch):
    """Also: the whole of it under `python -O`."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # compiled for -O once, not by each process
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path / "compiled"))
    with serving(release, tmp_path, python_options=("-O",), samples=str(tmp_path / "samples")) as processes:
        with SearchClient(processes.url) as client:
            answers = [client.search(pictures[name], k=5) for name in ("000-0", "004-1")]
            assert _refusal(lambda: client.search(b"x"))[:2] == (422, "bad_image")
        family = [
            member
            for child in processes.children.values()
            for member in psutil.Process(child.pid).children(recursive=True)
        ]
    assert [child.returncode for child in processes.children.values()] == [0, 0]
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive
    (file,) = (tmp_path / "samples").iterdir()
    kept = {row["query_id"]: row for row in read_table(file, QUERY_SAMPLES).to_pylist()}
    assert set(kept) == {answer.query_id for answer in answers}
    row = kept[answers[0].query_id]
    assert (row["width"], row["height"], row["format"]) == (96, 80, "jpeg")
    assert np.linalg.norm(row["embedding"]) == pytest.approx(1, abs=1e-3)
    with pytest.raises(ConnectionFailedError), SearchClient(processes.url) as client:
        client.release()
