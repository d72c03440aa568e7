"""nginx in front of the service, with the configuration that docker-compose.yml uses."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme
from django.conf import settings
from django.test import Client

from closient.db.ids import format_id
from closient.text import key_format
from tests import programs
from tests.clients import NO_LIMIT, key_of, stats_path
from tests.factories import MembershipFactory, OrganizationFactory, ProductFactory
from tests.nginx import CONFIGURATION, FOLDER, proxying
from tests.servers import free_port, serving
from tests.test_serving_requests import MALFORMED
from tests.test_serving_slow_clients import KINDS, SLOW_CLIENTS, Site, hold
from tests.wire import Reply, connect, exchange, parse, read_all

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.slow,
    pytest.mark.skipif(programs.find("nginx") is None, reason=programs.reason("nginx")),
]


class Front(NamedTuple):
    """nginx and the service behind it."""

    port: int
    behind: int
    site: Site
    media: Path

    def get(self, path: str, *headers: str) -> Reply:
        """Request a path with the key."""
        lines = "".join(f"{line}\r\n" for line in headers)
        return exchange(
            self.port,
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {self.site.key}\r\n{lines}"
            "Connection: close\r\n\r\n".encode(),
        )


@pytest.fixture
def front(transactional_db: None, tmp_path: Path, static_files: Path) -> Iterator[Front]:
    """The service with nginx in front."""
    organization = OrganizationFactory()
    ProductFactory.create_batch(400, organization=organization, description="x" * 4000)
    member = MembershipFactory(organization=organization)
    browser = Client()
    browser.force_login(member.user)
    limits = {"limit_per_minute": NO_LIMIT, "limit_per_day": NO_LIMIT}
    key = key_of(organization, role="manager", **limits)
    with (
        serving(
            TRUSTED_PROXIES="127.0.0.1/32",
            HTTPS="1",
            STATIC_ROOT=str(static_files),
            EXPORT_LIMIT_PER_MINUTE=str(NO_LIMIT),
        ) as (behind, _),
        proxying(tmp_path, behind) as proxy,
    ):
        export = f"/dashboard/{format_id(organization.pk)}/products/export"
        session = browser.cookies["sessionid"].value
        site = Site(proxy.port, key, stats_path(organization), session, export)
        yield Front(proxy.port, behind, site, proxy.media)


HTTPS = "X-Forwarded-Proto: https"


def test_requests_and_responses_are_proxied(front: Front) -> None:
    reply = front.get(front.site.stats, HTTPS)
    assert reply.status == 200
    assert reply.json["total_products"] == 400
    assert front.get("/healthz").body == b"ok\n"
    # Over plain HTTP the service redirects to HTTPS.
    plain = front.get(front.site.stats)
    assert (plain.status, plain.headers["location"][:8]) == (301, "https://")


def test_health_checks_of_the_process_are_not_reachable(front: Front) -> None:
    assert front.get("/readyz", HTTPS).status == 404
    assert front.get("/metrics", HTTPS).status == 404


def test_service_gets_the_client_address_and_no_forged_headers(front: Front) -> None:
    reply = front.get(
        front.site.stats, HTTPS, "X_Forwarded_For: 192.0.2.9", "SCRIPT_NAME: /x", "X-API_Key: csb_x"
    )
    assert reply.status == 200
    other = exchange(
        front.port,
        f"GET {front.site.stats} HTTP/1.1\r\nHost: localhost\r\n{HTTPS}\r\n"
        f"X_API_Key: {front.site.key}\r\nConnection: close\r\n\r\n".encode(),
    )
    assert other.status == 401


def test_malformed_requests_are_rejected_by_nginx_as_problems(front: Front) -> None:
    head = f"POST {front.site.stats} HTTP/1.1\r\nHost: localhost\r\n{HTTPS}\r\n"
    for name, sent in {
        "two lengths": f"{head}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "no host": f"GET {front.site.stats} HTTP/1.1\r\n\r\n",
        "repeated length": f"{head}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "no number": f"{head}Content-Length: x\r\n\r\n",
    }.items():
        reply = exchange(front.port, sent.encode())
        assert reply.status == 400, name
        assert reply.headers["content-type"] == "application/problem+json", name
        assert reply.json["error_code"] == "bad_request", name
        assert reply.json["request_id"] == reply.headers["x-request-id"], name
    too_large = exchange(front.port, f"{head}Content-Length: {20 * 1024**2}\r\n\r\n".encode())
    assert (too_large.status, too_large.json["error_code"]) == (413, "payload_too_large")
    long = exchange(front.port, f"GET /{'x' * 20_000} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert (long.status, long.json["error_code"]) == (414, "uri_too_long")


def status_of(received: bytes) -> int:
    """Return the status of the first response; one to HTTP/0.9 is only a body, the problem."""
    if received.startswith(b"HTTP/"):
        return parse(received).status
    return int(json.loads(received)["status"])


def test_malformed_requests_through_nginx_shift_no_response(front: Front) -> None:
    hidden = f"GET /healthz HTTP/1.1\r\nHost: localhost\r\n{HTTPS}\r\n\r\n".encode()
    for number, (name, sent) in enumerate(MALFORMED.items()):
        with connect(front.port) as peer:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                peer.sendall(sent + hidden + hidden)
            peer.shutdown(socket.SHUT_WR)
            received = read_all(peer)
        # Either nginx rejects it (without a response if it waits for more), or the service gets a
        # proper request from nginx.
        assert not received or status_of(received) in (301, 400, 401, 404, 405, 501, 505), (
            name,
            received,
        )
        # Others share the connections between nginx and the service: each gets its own response.
        for turn in range(3):
            own = f"own-{number}-{turn}"
            reply = front.get(front.site.stats, HTTPS, f"X-Request-ID: {own}")
            assert (reply.status, reply.headers["x-request-id"]) == (200, own), name


def test_rejections_by_nginx_repeat_nothing_of_the_request(front: Front) -> None:
    key = front.site.key
    for sent in (
        f"GET / HTTP/1.1\r\nHost: localhost\r\nX-API-Key {key}\r\n\r\n",
        f"{key} / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        f"GET {key} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: {key}\r\n\r\n",
        f"GET /{key}{'x' * 9000} HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ):
        with connect(front.port) as peer:
            peer.sendall(sent.encode())
            peer.shutdown(socket.SHUT_WR)
            received = read_all(peer)
        assert parse(received).status in (400, 414, 501), received
        assert key_format.body_of(key).encode() not in received


def test_nginx_serves_https_with_a_certificate(tmp_path: Path) -> None:
    certificates = tmp_path / "certificates"
    certificates.mkdir()
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(certificates / "privkey.pem")
    for part in issued.cert_chain_pems:
        part.write_to_path(certificates / "fullchain.pem", append=True)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    with (
        serving(TRUSTED_PROXIES="127.0.0.1/32", HTTPS="1") as (behind, _),
        proxying(tmp_path, behind) as proxy,
    ):
        request = b"GET /account/login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        with trust.wrap_socket(connect(proxy.https_port), server_hostname="localhost") as peer:
            assert peer.version() == "TLSv1.3"
            peer.sendall(request)
            reply = parse(read_all(peer))
        assert reply.status == 200
        assert "max-age" in reply.headers["strict-transport-security"]
        plain = exchange(proxy.port, request)
        assert plain.status == 301
        assert plain.headers["location"] == "https://localhost/account/login"


@pytest.mark.django_db(transaction=False)
def test_certificate_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "fullchain.pem").write_text("")
    done = subprocess.run(
        [FOLDER / "listen_https.sh", tmp_path, tmp_path / "https.conf"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert (
        f"{tmp_path}/privkey.pem is missing, or user {os.getuid()} may not read it." in done.stderr
    )
    assert not (tmp_path / "https.conf").exists()


def test_json_and_pages_are_compressed(front: Front) -> None:
    for path in (f"{front.site.stats.replace('stats', 'products')}", "/account/login"):
        reply = front.get(path, HTTPS, "Accept-Encoding: gzip")
        if reply.status == 200:
            assert reply.headers["content-encoding"] == "gzip", path
    page = front.get("/account/login", HTTPS, "Accept-Encoding: gzip")
    with connect(front.port) as peer:
        peer.sendall(f"GET /account/login HTTP/1.0\r\nHost: localhost\r\n{HTTPS}\r\n\r\n".encode())
        assert parse(read_all(peer)).status == 200
    assert page.headers["content-encoding"] == "gzip"


def test_images_are_served_from_the_volume(front: Front) -> None:
    (front.media / "a.png").write_bytes(b"\x89PNG")
    reply = front.get("/media/products/a.png")
    assert (reply.status, reply.body) == (200, b"\x89PNG")
    assert reply.headers["content-type"] == "image/png"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["content-security-policy"] == "default-src 'none'; sandbox"
    (front.media / "a.svg").write_text("<svg/>")
    assert front.get("/media/products/a.svg").headers["content-type"] == "application/octet-stream"
    assert front.get("/media/products/").status in (403, 404)
    assert front.get("/media/products/../../../etc/passwd").status in (400, 404)


def test_slow_clients_of_all_kinds_together_delay_no_request(front: Front) -> None:
    hold(front.site, KINDS, 60, rounds=3)


@pytest.mark.slow
def test_many_slow_clients_of_each_kind_delay_no_request(front: Front) -> None:
    for name in KINDS:
        hold(front.site, [name], SLOW_CLIENTS, rounds=5)


@pytest.mark.django_db(transaction=False)
def test_unavailable_service_is_503(tmp_path: Path) -> None:
    with proxying(tmp_path, free_port()) as proxy:
        reply = exchange(
            proxy.port,
            b"GET /dashboard/api/v1/stats/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        )
    assert (reply.status, reply.json["error_code"]) == (503, "unavailable")
    assert reply.headers["retry-after"] == "1"


def megabytes(text: str, name: str) -> list[int]:
    return [int(size) for size in re.findall(rf"{name} (\d+)m;", text)]


@pytest.mark.django_db(transaction=False)
def test_nginx_and_service_have_the_same_limits() -> None:
    page, api_imports, api, imports = megabytes(CONFIGURATION.read_text(), "client_max_body_size")
    megabyte = 1024 * 1024
    assert page * megabyte - settings.PAGE_LARGEST_BODY == megabyte
    assert api * megabyte == settings.API_LARGEST_UPLOAD
    assert api_imports == imports
    assert imports * megabyte - settings.IMPORT_LARGEST_FILE == megabyte
