"""The edge: what is taken, what is refused, and that no refusal repeats what came."""

from __future__ import annotations

import base64
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kserve import InferRequest
from kserve.errors import InvalidInput
from kserve.protocol.rest.v2_datamodels import InferenceRequest

from components.shared.errors import ParameterError
from serving.server.open_inference import keep_binary_tensors
from serving.server.refusals import BodyTooLargeError, MediaTypeError
from serving.transformer.edge.open_inference import response_of
from serving.transformer.edge.requests import Parameters, read_person, read_request

PICTURE = b"\xff\xd8\xff\x00picture\xff"
JPEG = {"content-type": "image/jpeg"}


def read(payload, headers=None, query="", *, max_instances=4, max_bytes=1000):
    return read_request(payload, headers or {}, query, max_instances=max_instances, max_bytes=max_bytes)


def b64(data: bytes = PICTURE) -> str:
    return base64.b64encode(data).decode()


def test_a_picture_as_body_takes_its_parameters_from_the_address():
    request = read(PICTURE, JPEG, "k=7&explain=true&floor=calibrated&group_items=false&crop=0.1,0.2,0.3,0.4")
    assert request.queries[0].picture == PICTURE
    assert request.queries[0].crop == (0.1, 0.2, 0.3, 0.4)
    parameters = request.parameters
    assert (parameters.k, parameters.explain, parameters.floor, parameters.group_items) == (
        7,
        True,
        "calibrated",
        False,
    )
    assert read(PICTURE, {"content-type": "image/webp; q=1"}).parameters == Parameters()


@pytest.mark.parametrize(
    "query",
    [
        "k=0", "k=201", "k=x", "k=1&k=2", "kk=3", "floor=2", "floor=nan", "floor=high", "crop=1,2", "crop=0,0,1,x",
        "crop=0.5,0.5,0.6,0.1", "crop=0,0,0,1", "crop=nan,0,1,1", "explain=perhaps", "k", "a" * 5000, "=1", "k=1e400",
        "exact=true", "exclude_image_ids=a",
    ],
)  # fmt: skip
def test_bad_parameters_are_refused_without_an_echo(query):
    with pytest.raises(ParameterError) as refused:
        read(PICTURE, JPEG, query)
    value = query.partition("=")[2]
    assert len(value) < 4 or value not in str(refused.value)
    assert len(str(refused.value)) < 400


def test_a_wrong_floor_is_told_in_one_sentence():
    with pytest.raises(ParameterError, match=r"^floor must be a number from -1 to 1, or 'calibrated'$"):
        read(PICTURE, JPEG, "floor=nan")


@pytest.mark.parametrize("kind", ["text/plain", "application/pdf", "video/mp4", "multipart/form-data"])
def test_other_media_types_are_refused(kind):
    with pytest.raises(MediaTypeError):
        read(PICTURE, {"content-type": kind})


@pytest.mark.parametrize(
    "kind", [None, "", "application/octet-stream", "application/x-www-form-urlencoded", "image/gif"]
)
def test_a_picture_without_a_useful_type_goes_to_the_decoder(kind):
    assert read(PICTURE, {} if kind is None else {"content-type": kind}).queries[0].picture == PICTURE


def test_json_with_pictures_and_ids():
    body = {
        "instances": [{"b64": b64(), "crop": [0, 0, 0.5, 0.5]}, {"image_id": "a/b c"}, {"b64": b64()}],
        "parameters": {"k": 3, "floor": -0.25},
    }
    request = read(body)
    assert [query.image_id for query in request.queries] == [None, "a/b c", None]
    assert [query.crop for query in request.queries] == [(0, 0, 0.5, 0.5), None, None]
    assert request.queries[2].picture == PICTURE
    assert (request.parameters.k, request.parameters.floor) == (3, -0.25)


@pytest.mark.parametrize(
    "body",
    [
        [], None, "x", 3, {}, {"instances": []}, {"instances": {}}, {"instances": [{}]}, {"instances": ["x"]},
        {"instances": [{"b64": "@@"}]}, {"instances": [{"b64": b64(), "image_id": "a"}]}, {"instances": [{"image_id": ""}]},
        {"instances": [{"image_id": "a", "crop": [0, 0, 1, 1]}]}, {"instances": [{"image_id": "a"}], "x": 1},
        {"instances": [{"image_id": "a", "<script>": 1}]}, {"instances": [{"image_id": "a"}], "parameters": {"k": 0}},
        {"instances": [{"image_id": "a"}], "parameters": [1]}, {"instances": [{"image_id": ["a"]}]},
        {"instances": [{"image_id": "x" * 600}]},
    ],
)  # fmt: skip
def test_bad_json_is_refused_without_an_echo(body):
    with pytest.raises(ParameterError) as refused:
        read(body)
    assert "script" not in str(refused.value)
    assert "xxxx" not in str(refused.value)


def test_too_many_and_too_large():
    with pytest.raises(BodyTooLargeError):
        read({"instances": [{"image_id": "a"}] * 5})
    with pytest.raises(BodyTooLargeError):
        read(b"x" * 1001, JPEG)
    with pytest.raises(BodyTooLargeError):
        read({"instances": [{"b64": b64(b"x" * 1001)}]})


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_any_json_is_read_or_refused(value):
    for body in (
        value,
        {"instances": value},
        {"instances": [value]},
        {"instances": [{"image_id": "a"}], "parameters": value},
    ):
        with contextlib.suppress(ParameterError, BodyTooLargeError):
            read(body)


def tensors(data, shape, datatype="BYTES", name="images", **more) -> InferRequest:
    body = {"inputs": [{"name": name, "shape": shape, "datatype": datatype, "data": data}], **more}
    return InferRequest.from_inference_request(InferenceRequest.model_validate(body), "visual-search")


def binary(pictures: list[bytes], shape=None, cut: int = 0) -> InferRequest:
    keep_binary_tensors()
    raw = b"".join(len(picture).to_bytes(4, "little") + picture for picture in pictures)
    raw = raw[: len(raw) - cut]
    head = {
        "inputs": [
            {
                "name": "images", "shape": shape or [len(pictures)], "datatype": "BYTES",
                "parameters": {"binary_data_size": len(raw)},
            }
        ],
        "parameters": {"k": 2},
    }  # fmt: skip
    text = json.dumps(head).encode()
    return InferRequest.from_bytes(text + raw, len(text), "visual-search")


def test_tensors_in_json_and_binary_are_the_same_queries():
    listed = read(tensors([b64(), b64(b"other")], [2, 1], parameters={"k": 2}))
    packed = read(binary([PICTURE, b"other"]))
    assert (
        [query.picture for query in listed.queries]
        == [query.picture for query in packed.queries]
        == [PICTURE, b"other"]
    )
    assert listed.parameters == packed.parameters == Parameters(k=2)
    assert listed.protocol == packed.protocol == "v2"


def test_bad_tensors_are_refused():
    for bad in (
        tensors([b64()], [2]),
        tensors([b64()], [1, 1, 1]),
        tensors([], [0]),
        tensors([1], [1]),
        tensors([1], [1], "UINT8"),
        tensors([b64()], [1], name="pictures"),
        tensors([b64()], [1], parameters={"kk": 1}),
        binary([PICTURE], cut=3),
        binary([PICTURE], shape=[2]),
        binary([PICTURE], cut=len(PICTURE) + 2),
    ):
        with pytest.raises(ParameterError):
            read(bad)
    keep_binary_tensors()
    for text in (b"[]", b"{}", b'{"inputs":[{}]}', b"\xff", b'{"inputs":3}'):
        with pytest.raises(InvalidInput):
            InferRequest.from_bytes(text, len(text), "visual-search")


def test_answers_as_tensors_are_padded_and_named():
    def result(name, score):
        return {"image_id": name, "item_id": f"item-{name}", "uri": f"u/{name}", "token": "t", "score": score}

    facts = {"release_id": "r-1", "space_id": "s-1", "generation": 2, "arm": "b", "no_good_match": False}
    answers = [
        {**facts, "query_id": "q-1", "results": [result("a", 0.9), result("ü", 0.5)]},
        {**facts, "query_id": "q-2", "no_good_match": True, "results": []},
    ]
    request = tensors([b64(), b64()], [2])
    made, _ = response_of(request, "visual-search", answers).to_rest()
    outputs = {output["name"]: output for output in made["outputs"]}
    assert outputs["image_id"]["data"] == ["a", "ü", "", ""]
    assert outputs["score"]["shape"] == [2, 2]
    assert outputs["score"]["data"] == pytest.approx([0.9, 0.5, -1, -1])
    assert made["parameters"]["query_id"] == "q-1,q-2"
    assert made["parameters"]["no_good_match"] == "false,true"
    chosen = tensors([b64(), b64()], [2], outputs=[{"name": "score"}])
    only, _ = response_of(chosen, "visual-search", answers).to_rest()
    assert [output["name"] for output in only["outputs"]] == ["score"]
    packed = tensors([b64(), b64()], [2], parameters={"binary_data_output": True})
    raw, size = response_of(packed, "visual-search", answers).to_rest()
    assert json.loads(raw[:size])["parameters"]["arm"] == "b"
    with pytest.raises(ParameterError):
        response_of(tensors([b64()], [1], outputs=[{"name": "<x>"}]), "visual-search", answers)


def test_who_asks():
    assert read_person({"x-visual-search-user": "abc_-9"}, "").user_id == "abc_-9"
    assert read_person({}, "").user_id != read_person({}, "").user_id
    assert read_person({"x-visual-search-user": "u", "x-land": "de"}, "X-Land").country == "DE"
    assert read_person({"x-visual-search-user": "u", "x-land": "Germany"}, "X-Land").country is None
    assert read_person({"x-visual-search-user": "u", "x-land": "de"}, "").country is None
    for bad in ("a b", "x" * 65, "<script>", "ü"):
        with pytest.raises(ParameterError):
            read_person({"x-visual-search-user": bad}, "")
