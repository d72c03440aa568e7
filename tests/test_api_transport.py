"""How answers are sent, whatever they say: HEAD, and compression."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.test import Client, RequestFactory

from tests.clients import API, client_of, stats_path
from tests.factories import (
    MembershipFactory,
    OrganizationFactory,
    ProductFactory,
    UserFactory,
)


def sent(path: str, method: str = "HEAD", **headers: str) -> tuple[str, dict[str, str], bytes]:
    """Return what the application gives a web server: status, headers and body."""
    environ = RequestFactory().generic(method, path, headers=headers).environ
    answer: dict[str, Any] = {}

    def start_response(status: str, given: list[tuple[str, str]], *_: Any) -> None:
        answer.update(status=status, headers=dict(given))

    chunks = WSGIHandler()(environ, start_response)
    body = b"".join(chunks)
    chunks.close()  # type: ignore[attr-defined]
    return answer["status"], answer["headers"], body


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
def test_head_of_a_download_sends_nothing_of_it(client: Client) -> None:
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
