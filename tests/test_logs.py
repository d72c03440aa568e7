"""Log lines: JSON whatever clients send, the access log, and the trace of a request."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest

from closient.db.ids import format_id
from closient.http import trace_context
from closient.http.logs import JsonFormatter
from closient.text import key_format
from tests.clients import key_of, stats_path
from tests.factories import OrganizationFactory
from tests.test_serving_processes import running
from tests.wire import exchange

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def record(message: str, *args: object, **more: Any) -> logging.LogRecord:
    return logging.LogRecord("closient.test", logging.INFO, "", 0, message, args, more.get("error"))


def test_json_line_is_one_valid_line_for_any_message() -> None:
    key = key_format.new_text("csb")
    for text in (
        "two\nlines\r\n",
        "nul\0 and escape \x1b[31m",
        "a lone surrogate \ud800",
        '\u2028 é 🙂 "quoted" \\',
        f"a key {key}",
        "long " * 100_000,
    ):
        line = JsonFormatter().format(record("%s", text))
        assert "\n" not in line
        assert line.isascii()
        assert len(line) < 100_000
        assert key not in line
        found = json.loads(line)
        assert found["message"][:3] == text[:3]
        # Strict parsers take no lone surrogates.
        found["message"].encode()


def test_json_line_of_a_wrong_call_and_of_an_exception() -> None:
    assert "wrong" in json.loads(JsonFormatter().format(record("wrong %d", "x")))["message"]
    key = key_format.new_text("csu")
    try:
        int(f"{key}\nsecond line")
    except ValueError:
        line = JsonFormatter().format(record("failed", error=sys.exc_info()))
    assert key not in line
    assert json.loads(line)["exception"].endswith("csu_[redacted]\\nsecond line'")


@pytest.mark.parametrize(
    ("header", "is_valid"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", True),
        (f"00-{TRACE}-{SPAN}-01-more", False),
        (f"cc-{TRACE}-{SPAN}-01.more", False),
        (f"ff-{TRACE}-{SPAN}-01", False),
        (f"00-{'0' * 32}-{SPAN}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"00-{TRACE.upper()}-{SPAN}-01", False),
        (f"00-{TRACE}-{SPAN}-1", False),
        (f"00-{TRACE}-{SPAN}-01\n", False),
        (f"00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01", False),
        ("", False),
    ],
)
def test_traceparent_follows_the_rules_of_w3c(header: str, is_valid: bool) -> None:
    assert trace_context.parse(header) == ((TRACE, SPAN) if is_valid else None)


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_access_log_is_json_for_nasty_requests_and_contains_no_key() -> None:
    organization = OrganizationFactory()
    key = key_of(organization, role="manager")
    path = stats_path(organization)
    close = f"Host: localhost\r\nX-API-Key: {key}\r\nConnection: close\r\n"
    nasty = [
        f"GET /{key} HTTP/1.1",
        f"GET /dashboard/?key={key} HTTP/1.1",
        'GET /%0a{"level":"forged"}%0d%00%ed%a0%80%ff HTTP/1.1',
        "GET /%22%5c%e2%80%a8 HTTP/1.1",
        "GET /" + "a" * 5_000 + " HTTP/1.1",
        "BREW /healthz HTTP/1.1",
        "GET /admin/%7f HTTP/1.1",
        "GET no-path HTTP/1.1",
    ]
    with running(LOG_FORMAT="json") as server:
        for line in nasty:
            exchange(server.port, f"{line}\r\n{close}\r\n".encode())
        trace = f"traceparent: 00-{TRACE}-{SPAN}-01\r\nX-Request-ID: mine\r\n"
        reply = exchange(server.port, f"GET {path} HTTP/1.1\r\n{close}{trace}\r\n".encode())
        assert reply.status == 200
        server.stop()
    assert key.encode() not in server.log
    lines = [json.loads(line) for line in server.log.decode().splitlines()]
    assert {"gunicorn.error", "closient.access"} <= {line["logger"] for line in lines}
    assert "forged" not in {line["level"] for line in lines}
    requests = [line for line in lines if line["logger"] == "closient.access"]
    # The first one is that of the test's server, to see that it has started.
    assert len(requests) == len(nasty) + 2
    stats = requests[-1]
    assert stats.pop("milliseconds") > 0
    expected = {
        "method": "GET",
        "path": path,
        "route": "stats",
        "status": 200,
        "bytes": len(reply.body),
        "client": "127.0.0.1",
        "organization_id": format_id(organization.id),
        "key_prefix": organization.api_keys.get().prefix,
        "request_id": "mine",
        "trace_id": TRACE,
        "span_id": SPAN,
    }
    assert {name: stats.get(name) for name in expected} == expected
    assert [line["status"] for line in requests if line["method"] == "BREW"] == [403]
    assert all(len(line["path"]) <= 1000 for line in requests)


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_text_format_has_no_access_log_unless_it_is_on() -> None:
    for switch, count in (("0", 0), ("1", 1)):
        with running(ACCESS_LOG=switch) as server:
            server.stop()
        assert server.log.count(b"GET /healthz 200") == count
