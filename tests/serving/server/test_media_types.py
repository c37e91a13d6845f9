"""Bodies as clients of many languages send them."""

import pytest

from serving.server.media_types import charset_of, is_json, may_be_picture

OBJECT, PICTURE = b' \r\n{"instances": []}', b"\xff\xd8\xff\xe0"


@pytest.mark.parametrize("kind", [
    "application/json", "application/json; charset=utf-8", "Application/JSON", "application/json;charset=UTF-8 ", "text/json",
    "application/vnd.api+json", "application/octet-stream", "application/x-www-form-urlencoded", "", None,
])  # fmt: skip
def test_an_object_is_json_whatever_the_client_calls_it(kind):
    headers = {} if kind is None else {"content-type": kind}
    assert is_json(headers, OBJECT)
    assert is_json(headers, b"\xef\xbb\xbf" + OBJECT)


@pytest.mark.parametrize("kind", ["image/jpeg", "IMAGE/PNG; q=1", "image/*", "application/octet-stream", "", None])
def test_a_picture_may_be_untyped(kind):
    headers = {} if kind is None else {"content-type": kind}
    assert may_be_picture(headers)
    assert not is_json(headers, PICTURE)


@pytest.mark.parametrize("kind", ["text/html", "multipart/form-data; boundary=x", "application/pdf", "imagejpeg"])
def test_other_types_are_neither(kind):
    assert not may_be_picture({"content-type": kind})
    assert not is_json({"content-type": kind}, OBJECT)


def test_charset_is_read_as_rfc_9110_writes_it():
    assert charset_of({"content-type": 'application/json; a=b; Charset="UTF-16"'}) == "utf-16"
    assert charset_of({"content-type": "application/json"}) == charset_of({}) == ""
