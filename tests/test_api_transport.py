"""Transport of responses: HEAD and compression."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.test import Client, RequestFactory

from closient.db.ids import format_id
from closient.http.compression import accepts_gzip
from tests.clients import API, client_of, problem, stats_path
from tests.factories import (
    MembershipFactory,
    OrganizationFactory,
    ProductFactory,
    UserFactory,
)


def sent(path: str, method: str = "HEAD", **headers: str) -> tuple[str, dict[str, str], bytes]:
    """Return status, headers and body that the WSGI application returns."""
    environ = RequestFactory().generic(method, path, headers=headers).environ
    response: dict[str, Any] = {}

    def start_response(status: str, given: list[tuple[str, str]], *_: Any) -> None:
        response.update(status=status, headers=dict(given))

    chunks = WSGIHandler()(environ, start_response)
    body = b"".join(chunks)
    chunks.close()  # type: ignore[attr-defined]
    return response["status"], response["headers"], body


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["{stats}", f"{API}/openapi.json", f"{API}/nothing", "/healthz"])
def test_head_has_the_headers_of_get_and_no_body(path: str) -> None:
    organization = OrganizationFactory()
    client = client_of(organization)
    path = path.format(stats=stats_path(organization))
    key = client.defaults["HTTP_X_API_KEY"]
    status, headers, body = sent(path, "GET", **{"X-API-Key": key})
    head_status, head_headers, head_body = sent(path, **{"X-API-Key": key})
    assert (head_status, head_body) == (status, b"")
    assert len(body) == int(head_headers["Content-Length"])
    differing = {"RateLimit-Remaining", "RateLimit-Reset", "X-Request-ID", "Content-Length"}
    assert set(head_headers) - differing == set(headers) - differing
    for name in set(headers) - differing:
        assert head_headers[name] == headers[name]


@pytest.mark.django_db(transaction=True)
def test_head_of_a_download_has_no_body(client: Client) -> None:
    product = ProductFactory()
    user = UserFactory()
    MembershipFactory(user=user, organization=product.organization, role="owner")
    client.force_login(user)
    path = f"/dashboard/{product.organization.id}/products/export"
    cookie = "; ".join(f"{name}={value.value}" for name, value in client.cookies.items())
    status, _, body = sent(path, "GET", Cookie=cookie)
    assert (status, product.gtin.encode() in body) == ("200 OK", True)
    status, headers, body = sent(path, Cookie=cookie)
    assert (status, headers["Content-Type"], body) == ("200 OK", "text/csv; charset=utf-8", b"")


GZIP = {"Accept-Encoding": "gzip, deflate, br"}


@pytest.mark.django_db
def test_json_of_a_kilobyte_is_compressed_if_accepted() -> None:
    organization = OrganizationFactory()
    ProductFactory.create_batch(10, organization=organization)
    client = client_of(organization)
    path = f"{API}/trade-items/{format_id(organization.id)}"
    plain = client.get(path)
    coded = client.get(path, headers=GZIP)
    assert "Content-Encoding" not in plain.headers
    assert coded.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(coded.content) == plain.content
    assert len(coded.content) < len(plain.content) / 3
    assert int(coded.headers["Content-Length"]) == len(coded.content)
    for response in (plain, coded):
        assert "Accept-Encoding" in response.headers["Vary"].split(", ")
    # The same body in two encodings has two strong ETags; both are accepted afterwards.
    assert coded.headers["ETag"] == plain.headers["ETag"][:-1] + '-gzip"'
    for etag in (plain.headers["ETag"], coded.headers["ETag"]):
        again = client.get(path, headers={**GZIP, "If-None-Match": etag})
        assert (again.status_code, again.headers["ETag"]) == (304, etag)
        assert "Accept-Encoding" in again.headers["Vary"].split(", ")


@pytest.mark.django_db
def test_short_json_pages_and_downloads_are_not_compressed(client: Client) -> None:
    product = ProductFactory()
    organization = product.organization
    stats = client_of(organization).get(stats_path(organization), headers=GZIP)
    assert "Content-Encoding" not in stats.headers
    assert "Accept-Encoding" in stats.headers["Vary"].split(", ")
    user = UserFactory()
    MembershipFactory(user=user, organization=organization, role="owner")
    client.force_login(user)
    for path in ("", "products", "products/export", "keys"):
        page = client.get(f"/dashboard/{format_id(organization.id)}/{path}", headers=GZIP)
        assert page.status_code == 200
        assert "Content-Encoding" not in page.headers


@pytest.mark.django_db
def test_writes_accept_the_etag_of_a_compressed_response() -> None:
    product = ProductFactory(description="Oat drink. " * 200)
    organization = product.organization
    client = client_of(organization, role="editor")
    path = f"{API}/trade-items/{format_id(organization.id)}/{product.gtin}"
    etag = client.get(path, headers=GZIP).headers["ETag"]
    assert etag.endswith('-gzip"')
    headers = {"If-Match": etag}
    assert client.patch(path, {"name": "x"}, "application/json", headers=headers).status_code == 200
    assert client.patch(path, {"name": "y"}, "application/json", headers=headers).status_code == 412


@pytest.mark.django_db
def test_long_problems_and_the_document_are_compressed() -> None:
    organization = OrganizationFactory()
    client = client_of(organization, role="editor")
    body = {f"unknown_{number}": 1 for number in range(20)}
    path = f"{API}/offers/{format_id(organization.id)}"
    plain = client.post(path, body, "application/json")
    coded = client.post(path, body, "application/json", headers=GZIP)
    assert coded.headers["Content-Type"] == "application/problem+json"
    details = json.loads(gzip.decompress(coded.content))
    assert details["errors"] == problem(plain)["errors"]
    for _ in range(2):
        document = Client().get(f"{API}/openapi.json", headers=GZIP)
        assert json.loads(gzip.decompress(document.content))["openapi"].startswith("3.1")


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("", False),
        ("gzip", True),
        ("GZIP", True),
        ("x-gzip", True),
        ("deflate, gzip;q=0.5, br", True),
        ("gzip; q=1.0", True),
        ("gzip;q=0", False),
        ("gzip;q=0.000, *", False),
        ("*", True),
        ("*;q=0", False),
        ("identity", False),
        ("gzipped", False),
        ("gzip;q=x", False),
    ],
)
def test_accept_encoding_is_parsed(header: str, accepted: bool) -> None:
    assert accepts_gzip(header) == accepted
