"""The strict JSON parser: accepted and rejected bodies."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from closient.http.parsers import parse_json
from closient.http.problems import Problem
from tests.clients import problem

MEGABYTE = 1024 * 1024


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"{}", {}),
        (b' [1, -2, 0.5, 1e3, true, null, "\xc3\xa9"] ', [1, -2, 0.5, 1000.0, True, None, "é"]),
        (b'"\\ud83d\\ude00"', "😀"),
        (b'"\\\\u0000"', "\\u0000"),
        (b'"[[[[{{{{"', "[[[[{{{{"),
        (b'"\\"[[[["', '"[[[['),
        (b"9223372036854775807", 2**63 - 1),
        (b"[" * 32 + b"]" * 32, None),
        (b"[" + b"[]," * 1000 + b"1]", None),
    ],
)
def test_parser_accepts_json(body: bytes, value: Any) -> None:
    parsed = parse_json(body)
    assert value is None or parsed == value


HOSTILE = {
    "empty": b"",
    "blank": b"  ",
    "cut": b'{"a": ',
    "unclosed string": b'"abc',
    "many escaped quotes, unclosed": b'"' + b'\\"' * (MEGABYTE // 4),
    "trailing comma": b"[1,]",
    "two values": b"1 2",
    "single quotes": b"{'a': 1}",
    "NaN": b'{"a": NaN}',
    "Infinity": b"[Infinity]",
    "-Infinity": b"[-Infinity]",
    "float out of range": b'{"a": 1e999}',
    "negative float out of range": b"-1e999",
    "integer of 5000 digits": b"9" * 5000,
    "integer over 64 bits": b"9223372036854775808",
    "negative integer over 64 bits": b"-9223372036854775808",
    "lone high surrogate": b'"\\ud800"',
    "lone low surrogate": b'{"a": ["\\udc00"]}',
    "lone surrogate as a name": b'{"\\ud800": 1}',
    "escaped NUL": b'{"a": "x\\u0000"}',
    "NUL as a name": b'{"\\u0000": 1}',
    "raw NUL": b'"a\x00"',
    "raw newline": b'"a\n"',
    "byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "Latin-1": b'"\xe9"',
    "surrogate in UTF-8": b'"\xed\xa0\x80"',
    "33 levels": b"[" * 33 + b"]" * 33,
    "100,000 levels": b"[" * 100_000 + b"]" * 100_000,
    "100,000 levels of objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "100,000 levels, unclosed": b"[" * 100_000,
    "a name twice": b'{"a": 1, "a": 2}',
    "a name twice by escapes": b'{"a": 1, "\\u0061": 2}',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_parser_rejects_invalid_json(name: str) -> None:
    with pytest.raises(Problem) as caught:
        parse_json(HOSTILE[name])
    assert caught.value.kind.error_code == "bad_request"
    assert caught.value.detail.endswith(".")
    assert len(caught.value.detail) < 100


@pytest.mark.urls("tests.api_urls")
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_body_is_a_bad_request(name: str) -> None:
    response = Client().post(
        "/dashboard/api/test/echo", HOSTILE[name], content_type="application/json"
    )
    # REST framework handles an empty body without the parser.
    assert response.status_code == (200 if name == "empty" else 400)
    if name != "empty":
        assert problem(response)["error_code"] == "bad_request"


@pytest.mark.urls("tests.api_urls")
@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/xml",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonx",
        "json",
        "\xff",
        "application/json" * 100,
    ],
)
def test_other_media_types_are_unsupported(content_type: str) -> None:
    response = Client().post("/dashboard/api/test/echo", b"{}", content_type=content_type)
    assert response.status_code == 415
    assert problem(response)["error_code"] == "unsupported_media_type"


@pytest.mark.urls("tests.api_urls")
def test_media_type_with_parameters_is_accepted() -> None:
    response = Client().post(
        "/dashboard/api/test/echo", b'{"a": [1]}', content_type="application/json; charset=utf-8"
    )
    assert (response.status_code, response.json()) == (200, {"data": {"a": [1]}})
