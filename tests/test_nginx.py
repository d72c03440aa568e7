"""nginx in front of the service, with the configuration that docker-compose.yml uses."""

from __future__ import annotations

import getpass
import grp
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from django.conf import settings
from django.test import Client

from closient.db.ids import format_id
from tests import programs
from tests.clients import NO_LIMIT, key_of, stats_path
from tests.factories import MembershipFactory, OrganizationFactory, ProductFactory
from tests.servers import ROOT, free_port, serving
from tests.test_serving_slow_clients import KINDS, Site, hold
from tests.wire import TIMEOUT_SECONDS, Reply, connect, exchange, parse, read_all

NGINX = programs.find("nginx")
CONFIGURATION = ROOT / "closient" / "nginx" / "nginx.conf"

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.slow,
    pytest.mark.skipif(NGINX is None, reason=programs.reason("nginx")),
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
    media = tmp_path / "media" / "products"
    media.mkdir(parents=True)
    port = free_port()
    with serving(
        TRUSTED_PROXIES="127.0.0.1/32",
        HTTPS="1",
        STATIC_ROOT=str(static_files),
        EXPORT_LIMIT_PER_MINUTE=str(NO_LIMIT),
    ) as (behind, _):
        text = CONFIGURATION.read_text()
        # Ports and folders of this machine instead of those of the containers.
        for found, here in (
            ("server web:8000;", f"server 127.0.0.1:{behind};"),
            ("listen 8080 ", f"listen 127.0.0.1:{port} "),
            ("/data/media/products/", f"{media}/"),
            ("/tmp/nginx", f"{tmp_path}/nginx"),  # noqa: S108
            ("include mime.types;", "include /etc/nginx/mime.types;"),
            ("error_log /dev/stderr", f"error_log {tmp_path}/error.log"),
        ):
            assert found in text
            text = text.replace(found, here)
        # Otherwise, as root, nginx reads the files with its own account.
        file = tmp_path / "nginx.conf"
        file.write_text(f"daemon off;\nuser {_account()};\n{text}")
        process = subprocess.Popen([str(NGINX), "-c", str(file)], stderr=subprocess.PIPE)
        try:
            _wait_for(port, process)
            export = f"/dashboard/{format_id(organization.pk)}/products/export"
            session = browser.cookies["sessionid"].value
            yield Front(
                port, behind, Site(port, key, stats_path(organization), session, export), media
            )
        finally:
            process.terminate()
            _, printed = process.communicate(timeout=TIMEOUT_SECONDS)
            assert b"[emerg]" not in printed


def _account() -> str:
    return f"{getpass.getuser()} {grp.getgrgid(os.getgid()).gr_name}"


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        try:
            connect(port).close()
        except OSError:
            continue
        return
    raise AssertionError("nginx does not listen")


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


def test_sixty_slow_clients_of_each_kind_delay_no_request(front: Front) -> None:
    hold(front.site, KINDS, 60, rounds=3)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_five_hundred_slow_clients_delay_no_request(front: Front, name: str) -> None:
    hold(front.site, [name], 500, rounds=30)


def test_unavailable_service_is_503(front: Front) -> None:
    file = front.media.parent.parent / "nginx.conf"
    text = file.read_text().replace(f"127.0.0.1:{front.behind}", f"127.0.0.1:{free_port()}")
    text = text.replace(
        f"listen 127.0.0.1:{front.port}", f"listen 127.0.0.1:{(port := free_port())}"
    )
    other = file.with_name("away.conf")
    other.write_text(text.replace("nginx.pid", "away.pid"))
    process = subprocess.Popen([str(NGINX), "-c", str(other)], stderr=subprocess.PIPE)
    try:
        _wait_for(port, process)
        reply = exchange(
            port,
            f"GET {front.site.stats} HTTP/1.1\r\nHost: localhost\r\n"
            "Connection: close\r\n\r\n".encode(),
        )
        assert (reply.status, reply.json["error_code"]) == (503, "unavailable")
        assert reply.headers["retry-after"] == "1"
    finally:
        process.terminate()
        process.communicate(timeout=TIMEOUT_SECONDS)


def megabytes(text: str, name: str) -> list[int]:
    return [int(size) for size in re.findall(rf"{name} (\d+)m;", text)]


@pytest.mark.django_db(transaction=False)
def test_nginx_and_service_have_the_same_limits() -> None:
    page, api, imports = megabytes(CONFIGURATION.read_text(), "client_max_body_size")
    megabyte = 1024 * 1024
    assert page * megabyte - settings.PAGE_LARGEST_BODY == megabyte
    assert api * megabyte == settings.API_LARGEST_UPLOAD
    assert imports * megabyte - settings.IMPORT_LARGEST_FILE == megabyte
