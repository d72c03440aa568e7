"""Trust in headers of proxies, and allowed hosts."""

from __future__ import annotations

import ipaddress
import json
import logging
from http import HTTPStatus

import pytest
from django.test import Client, RequestFactory
from django.views.debug import technical_500_response
from pytest_django import Settings

from tests.servers import serving
from tests.wire import exchange

PROXY = "192.0.2.1"


@pytest.fixture
def behind_proxy(settings: Settings) -> None:
    """A service over HTTPS, behind one proxy."""
    settings.TRUSTED_PROXIES = [ipaddress.ip_network(f"{PROXY}/32")]
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    settings.SECURE_SSL_REDIRECT = True


@pytest.mark.usefixtures("behind_proxy")
def test_forwarded_https_is_accepted_from_trusted_proxies_only() -> None:
    for peer, secure in ((PROXY, True), ("192.0.2.2", False), ("", False)):
        client = Client(REMOTE_ADDR=peer, headers={"X-Forwarded-Proto": "https"})
        response = client.get("/account/login")
        assert response.status_code == (HTTPStatus.OK if secure else HTTPStatus.MOVED_PERMANENTLY)


@pytest.mark.usefixtures("behind_proxy")
def test_other_forwarded_headers_are_ignored() -> None:
    client = Client(headers={"Forwarded": "proto=https", "X-Forwarded-Ssl": "on"})
    response = client.get("/account/login")
    assert response.status_code == HTTPStatus.MOVED_PERMANENTLY


@pytest.mark.django_db(transaction=True)
def test_server_does_not_trust_loopback() -> None:
    with serving(HTTPS="1") as (port, _):
        for header in ("X-Forwarded-Proto: https", "X-Forwarded-Ssl: on", "SCRIPT_NAME: /x"):
            reply = exchange(
                port,
                f"GET /account/login HTTP/1.1\r\nHost: localhost\r\n{header}\r\n"
                "Connection: close\r\n\r\n".encode(),
            )
            assert reply.status == HTTPStatus.MOVED_PERMANENTLY
            assert reply.headers["location"] == "https://localhost/account/login"


@pytest.mark.parametrize("debug", [True, False])
def test_unknown_host_is_400_with_one_log_line(
    debug: bool, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.DEBUG = debug
    settings.ALLOWED_HOSTS = ["localhost"]
    caplog.set_level(logging.INFO)
    for path in ("/dashboard/api/v1/organizations", "/dashboard/", "/healthz", "/nowhere"):
        caplog.clear()
        response = Client(headers={"Host": "evil.example"}).get(path)
        assert response.status_code == HTTPStatus.BAD_REQUEST
        assert len(response.content) < 5_000
        assert b"evil.example" not in response.content
        assert b"SECRET_KEY" not in response.content
        if "/api/" in path:
            assert response.headers["Content-Type"] == "application/problem+json"
            assert json.loads(response.content)["error_code"] == "bad_request"
        else:
            assert "Bad request" in response.content.decode()
        assert [record.exc_info for record in caplog.records] == [None]
        assert "\n" not in caplog.text.strip()


def test_debug_page_contains_no_settings(rf: RequestFactory, settings: Settings) -> None:
    settings.DEBUG = True
    key = "csb_" + "s" * 10
    request = rf.get("/dashboard/", headers={"X-API-Key": key})
    response = technical_500_response(request, RuntimeError, RuntimeError("broken"), None)
    text = response.content.decode()
    assert "RuntimeError" in text
    assert key not in text
    assert "ALLOWED_HOSTS" not in text
    assert "IMPORT_LARGEST_FILE" not in text
