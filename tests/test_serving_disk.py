"""A full disk, and large images: clear errors, and quickly."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.test import Client

from catalog.models import ImportRun, ProductImage
from tests.clients import NO_LIMIT, key_of
from tests.factories import MembershipFactory, OrganizationFactory, ProductFactory
from tests.pictures import png_of_one_color
from tests.servers import serving
from tests.wire import Reply, exchange

pytestmark = pytest.mark.django_db(transaction=True)

CSV = "gtin,name\r\n4006381333931,A\r\n"


class Browser:
    """An editor's browser, reduced to what a form needs."""

    def __init__(self, port: int) -> None:
        organization = OrganizationFactory()
        member = MembershipFactory(organization=organization, role="editor")
        client = Client()
        client.force_login(member.user)
        self.organization = organization
        self.session = client.cookies["sessionid"].value
        self.port = port
        self.path = f"/dashboard/{_public_id(organization)}/imports"

    def post(self, content: bytes, path: str = "") -> Reply:
        """Upload a file with the form of the import page."""
        token = "a" * 32
        body = (
            b'--b\r\nContent-Disposition: form-data; name="csrfmiddlewaretoken"\r\n\r\n'
            + token.encode()
            + b'\r\n--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
            + content
            + b"\r\n--b--\r\n"
        )
        head = (
            f"POST {path or self.path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            f"Cookie: sessionid={self.session}; csrftoken={token}\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return exchange(self.port, head.encode() + body)


def _public_id(organization: Any) -> str:
    from closient.db.ids import format_id  # noqa: PLC0415 - beside its only use

    return format_id(organization.pk)


@pytest.fixture
def server(transactional_db: None, tmp_path: Path) -> Iterator[tuple[int, psutil.Process]]:
    """The project under gunicorn, with separate folders."""
    with serving(DATA_FOLDER=str(tmp_path), MEDIA_ROOT=str(tmp_path / "media")) as (port, process):
        yield port, process.children()[0]


def set_largest_file(worker: psutil.Process, size: int) -> None:
    """Limit the file size of a process, like a full disk."""
    _, hard = worker.rlimit(psutil.RLIMIT_FSIZE)
    worker.rlimit(psutil.RLIMIT_FSIZE, (size, hard))


def test_full_disk_shows_a_message_and_loses_nothing(
    server: tuple[int, psutil.Process], tmp_path: Path
) -> None:
    port, worker = server
    browser = Browser(port)
    assert browser.post(CSV.encode()).status == 302
    set_largest_file(worker, 100_000)
    # In the server's temporary file, in Django's, and in the folder of imports.
    for size in (4_000_000, 900_000, 200_000):
        reply = browser.post(b"x" * size)
        assert reply.status == 503, size
        assert "The server has no space left" in reply.body.decode()
        assert reply.headers["retry-after"] == "60"
    set_largest_file(worker, resource.RLIM_INFINITY)
    assert browser.post(CSV.replace("A", "B").encode()).status == 302
    runs = ImportRun.objects.of(browser.organization)
    assert [run.status for run in runs] == ["waiting"] * 2
    kept = [path for path in (tmp_path / "imports").iterdir() if path.is_file()]
    assert sorted(path.name for path in kept) == sorted(run.file for run in runs)


def test_full_disk_is_a_problem_in_the_api(server: tuple[int, psutil.Process]) -> None:
    port, worker = server
    product = ProductFactory()
    key = key_of(product.organization, role="manager")
    path = (
        f"/dashboard/api/v1/products/{_public_id(product.organization)}"
        f"/trade-items/{product.gtin}/images"
    )
    set_largest_file(worker, 100_000)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-API-Key: {key}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 4000000\r\n\r\n"
    )
    reply = exchange(port, head.encode() + b"x" * 4_000_000)
    assert reply.status == 503
    assert reply.json["error_code"] == "unavailable"
    assert reply.json["retryable"]
    assert "no space left" in reply.json["detail"]


@pytest.mark.slow
def test_concurrent_large_images_do_not_delay_other_requests(
    server: tuple[int, psutil.Process],
) -> None:
    port, worker = server
    organizations = [OrganizationFactory() for _ in range(3)]
    content = png_of_one_color(5000, 5000)
    replies: list[Reply] = []

    def send(organization: Any) -> None:
        product = ProductFactory(organization=organization)
        limits = {"limit_per_minute": NO_LIMIT, "limit_per_day": NO_LIMIT}
        key = key_of(organization, role="manager", **limits)
        body = (
            b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
            + content
            + b"\r\n--b--\r\n"
        )
        requests.append(
            (
                f"POST /dashboard/api/v1/trade-items/{_public_id(organization)}/"
                f"{product.gtin}/images HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                f"X-API-Key: {key}\r\nContent-Type: multipart/form-data; boundary=b\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            ).encode()
            + body
        )

    requests: list[bytes] = []
    for organization in organizations * 4:
        send(organization)
    threads = [
        threading.Thread(target=lambda sent=sent: replies.append(exchange(port, sent)))
        for sent in requests
    ]
    for thread in threads:
        thread.start()
    largest = 0
    checks = 0
    longest = 0.0
    while any(thread.is_alive() for thread in threads):
        began = time.monotonic()
        reply = exchange(
            port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        assert reply.status == 200
        checks += 1
        longest = max(longest, time.monotonic() - began)
        largest = max(largest, worker.memory_info().rss)
    assert checks
    # Seconds: decoding all twelve takes much longer.
    assert longest < 2
    assert {reply.status for reply in replies} <= {201, 503}
    stored = sum(reply.status == 201 for reply in replies)
    assert stored >= 1
    assert ProductImage.objects.count() == stored
    assert all(reply.headers["retry-after"] for reply in replies if reply.status == 503)
    assert largest < 900_000_000
