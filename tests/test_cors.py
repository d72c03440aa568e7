"""CORS: allowed origins, readable responses, and publishable keys."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from playwright.sync_api import Browser
from pytest_django import DjangoAssertNumQueries, Settings
from pytest_django.live_server_helper import LiveServer

from closient.accounts.models import ApiKeyKind, Organization
from closient.accounts.origins import InvalidOrigin, clean_origin, clean_origins
from closient.db.ids import format_id
from tests.clients import API, client_of, key_of, problem, queries_of, stats_path
from tests.factories import MembershipFactory, OrganizationFactory, ProductFactory
from tests.operations import OPERATIONS, call, sample_data, unknown_ids

SHOP = "https://shop.example.com"
ACCOUNT = "/account/api/v1"


def cors_headers(response: Any) -> dict[str, str]:
    """Return the CORS headers of a response."""
    return {
        name.title(): value
        for name, value in response.headers.items()
        if name.lower().startswith("access-control-")
    }


def allowing(*origins: str) -> Organization:
    organization: Organization = OrganizationFactory(allowed_origins=list(origins))
    return organization


def preflight(path: str, origin: str = SHOP, method: str = "GET") -> Any:
    """Send the preflight that a browser sends before a request with a key."""
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "x-api-key",
    }
    return Client().options(path, headers=headers)


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://Shop.Example.com", SHOP),
        (" https://shop.example.com/ ", SHOP),
        ("https://shop.example.com:443", SHOP),
        ("https://shop.example.com:8443", f"{SHOP}:8443"),
        ("https://b\u00fccher.example", "https://xn--bcher-kva.example"),
        ("https://my_shop.example.com", "https://my_shop.example.com"),
        ("https://192.0.2.1", "https://192.0.2.1"),
        ("https://[2001:DB8::0:1]:8443", "https://[2001:db8::1]:8443"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://app.localhost", "http://app.localhost"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("http://[::1]:5173", "http://[::1]:5173"),
    ],
)
def test_origin_is_normalized_as_browsers_send_it(text: str, origin: str) -> None:
    assert clean_origin(text) == origin
    assert clean_origin(origin) == origin


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "null",
        "shop.example.com",
        "//shop.example.com",
        "https://",
        "https://*.example.com",
        "https://shop.example.com/path",
        "https://shop.example.com?x",
        "https://shop.example.com#x",
        "https://shop.example.com?",
        "https://user@shop.example.com",
        "https://user:secret@shop.example.com",
        "https://shop.example.com:99999",
        "https://shop.example.com:x",
        "https://shop example.com",
        "https://-\u00fc-.example\u3002",
        "https://1.2.3.4.5",
        "https://[::1",
        "https://[1::2::3]",
        "http://shop.example.com",
        "http://192.0.2.1",
        "http://localhost.example.com",
        "ftp://shop.example.com",
        "file://shop",
        "javascript:alert(1)",
        "https://" + "a" * 64 + ".example.com",
    ],
)
def test_invalid_origin_is_rejected(text: str) -> None:
    with pytest.raises(InvalidOrigin):
        clean_origin(text)


def test_origins_are_deduplicated_and_limited() -> None:
    assert clean_origins([SHOP, f"{SHOP}/"]) == [SHOP]
    with pytest.raises(InvalidOrigin, match="at most 20"):
        clean_origins(f"https://shop{n}.example.com" for n in range(21))


@pytest.mark.django_db
def test_preflight_of_an_allowed_origin_needs_no_authentication() -> None:
    response = preflight(stats_path(allowing(SHOP)))
    assert (response.status_code, response.content) == (204, b"")
    assert cors_headers(response) == {
        "Access-Control-Allow-Origin": SHOP,
        "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
        "Access-Control-Allow-Headers": "x-api-key, content-type, if-none-match, if-match, "
        "idempotency-key",
        "Access-Control-Expose-Headers": "ETag, RateLimit-Policy, RateLimit-Limit, "
        "RateLimit-Remaining, RateLimit-Reset, Retry-After, X-Request-ID, Location, "
        "Idempotency-Replayed",
        "Access-Control-Max-Age": "600",
    }
    assert response.headers["Vary"] == "origin"
    assert "Content-Type" not in response.headers


@pytest.mark.django_db
def test_preflight_does_not_reveal_organizations_without_the_origin() -> None:
    known = preflight(stats_path(allowing("https://other.example.com")))
    unknown = preflight(f"{API}/stats/{unknown_ids()['organization_id']}")
    malformed = preflight(f"{API}/stats/x")
    elsewhere = preflight(f"{API}/nothing/of/it")
    for response in (known, unknown, malformed, elsewhere):
        assert response.status_code == 204
        headers = {k: v for k, v in response.headers.items() if k != "X-Request-ID"}
        assert headers == {k: v for k, v in known.headers.items() if k != "X-Request-ID"}
        assert cors_headers(response) == {}


@pytest.mark.django_db
def test_preflights_are_not_rate_limited_and_take_one_query(
    settings: Settings, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    settings.API_LIMIT_ADDRESS_PER_MINUTE = 3
    path = stats_path(allowing(SHOP))
    for _ in range(5):
        with django_assert_num_queries(1):
            assert preflight(path).status_code == 204
    assert [Client().get(path).status_code for _ in range(4)] == [401, 401, 401, 429]
    # A request that only looks like a preflight needs a key.
    assert Client().options(path, headers={"Origin": SHOP}).status_code == 429


@pytest.mark.django_db
def test_response_is_readable_only_from_the_allowed_origin() -> None:
    organization = allowing(SHOP)
    client = client_of(organization)
    response = client.get(stats_path(organization), headers={"Origin": SHOP})
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == SHOP
    assert "ETag" in response.headers["Access-Control-Expose-Headers"]
    assert {"origin", "X-API-Key"} <= set(response.headers["Vary"].split(", "))
    for origin in ("https://shop.example.com.evil.example", "http://shop.example.com", "null"):
        other = client.get(stats_path(organization), headers={"Origin": origin})
        assert (other.status_code, cors_headers(other)) == (200, {})
        assert "origin" in other.headers["Vary"].split(", ")
    # Not for another organization or without an organization either.
    assert cors_headers(client.get(f"{ACCOUNT}/whoami", headers={"Origin": SHOP})) == {}


@pytest.mark.django_db
def test_no_response_allows_credentials(settings: Settings) -> None:
    settings.CORS_ALLOWED_ORIGINS = [SHOP]
    member = MembershipFactory(role="owner", organization=allowing(SHOP))
    client = Client()
    client.force_login(member.user)
    path = stats_path(member.organization)
    for response in (client.get(path, headers={"Origin": SHOP}), preflight(path)):
        assert response.headers["Access-Control-Allow-Origin"] == SHOP
        assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize(
    ("setting", "origins"),
    [
        ({}, []),
        (
            {"CORS_ALLOWED_ORIGINS": "https://shop.example.com, HTTPS://B.example.com:443"},
            [SHOP, "https://b.example.com"],
        ),
    ],
)
def test_setting_lists_origins_and_is_empty_by_default(
    setting: dict[str, str], origins: list[str]
) -> None:
    response = subprocess.run(
        [
            sys.executable,
            "-c",
            "from closient import settings; print(settings.CORS_ALLOWED_ORIGINS)",
        ],
        env=os.environ | setting,
        capture_output=True,
        text=True,
        check=True,
    )
    assert response.stdout.strip() == str(origins)


@pytest.mark.django_db
def test_origin_of_the_setting_is_allowed_for_every_organization(settings: Settings) -> None:
    settings.CORS_ALLOWED_ORIGINS = [SHOP]
    organization = allowing()
    for path in (stats_path(organization), f"{ACCOUNT}/whoami"):
        assert preflight(path).headers["Access-Control-Allow-Origin"] == SHOP
        response = client_of(organization).get(path, headers={"Origin": SHOP})
        assert response.headers["Access-Control-Allow-Origin"] == SHOP
    assert cors_headers(preflight(stats_path(organization), "https://other.example.com")) == {}


@pytest.mark.django_db
def test_errors_are_readable_from_the_allowed_origin(settings: Settings) -> None:
    organization = allowing(SHOP)
    origin = {"Origin": SHOP}
    path = stats_path(organization)
    client = client_of(organization, role="editor", limit_per_minute=4)
    unauthorized = Client().get(path, headers=origin)
    unknown_parameter = client.get(f"{path}?x=1", headers=origin)
    offers = f"{API}/offers/{format_id(organization.id)}"
    missing = client.get(f"{offers}/{unknown_ids()['offer_id']}", headers=origin)
    rejected = client.put(f"{path}/rule", {}, "application/json", headers=origin)
    wrong = client.post(offers, {}, "application/json", headers=origin)
    limited = client.get(path, headers=origin)
    settings.API_LARGEST_BODY = 10
    large = client.post(offers, {"gtin": "x" * 20}, "application/json", headers=origin)
    responses = [unauthorized, unknown_parameter, missing, rejected, wrong, limited, large]
    assert [a.status_code for a in responses] == [401, 422, 404, 403, 422, 429, 413]
    for response in responses:
        assert response.headers["Access-Control-Allow-Origin"] == SHOP
        assert "Retry-After" in response.headers["Access-Control-Expose-Headers"]


@pytest.mark.django_db
def test_unavailable_error_is_readable_from_a_known_origin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    organization = allowing(SHOP)
    path = stats_path(organization)
    key = key_of(organization)
    assert preflight(path).headers["Access-Control-Allow-Origin"] == SHOP

    def away(*_: Any, **__: Any) -> Any:
        raise OperationalError("away")

    monkeypatch.setattr("django.db.backends.utils.CursorWrapper.execute", away)
    monkeypatch.setattr("django.db.backends.base.base.BaseDatabaseWrapper.cursor", away)
    response = Client().get(path, headers={"Origin": SHOP, "X-API-Key": key})
    other = Client().get(path, headers={"Origin": "https://other.example", "X-API-Key": key})
    assert (response.status_code, other.status_code) == (503, 503)
    assert response.headers["Access-Control-Allow-Origin"] == SHOP
    assert cors_headers(other) == {}


@pytest.mark.django_db
def test_origin_takes_no_additional_query() -> None:
    organization = allowing(SHOP)
    client = client_of(organization)
    client.get(stats_path(organization))
    _, plain = queries_of(client, stats_path(organization))
    _, crossing = queries_of(client, stats_path(organization), headers={"Origin": SHOP})
    assert len(crossing) == len(plain)


@pytest.mark.django_db
def test_document_is_readable_from_every_origin() -> None:
    response = Client().get(f"{API}/openapi.json", headers={"Origin": SHOP})
    assert response.headers["Access-Control-Allow-Origin"] == SHOP
    assert preflight(f"{API}/openapi.json").headers["Access-Control-Allow-Origin"] == SHOP


@pytest.mark.django_db
def test_pages_are_not_readable_from_other_origins(settings: Settings) -> None:
    settings.CORS_ALLOWED_ORIGINS = [SHOP]
    member = MembershipFactory(role="owner", organization=allowing(SHOP))
    client = Client()
    client.force_login(member.user)
    path = f"/dashboard/{format_id(member.organization.id)}/"
    assert cors_headers(client.get(path, headers={"Origin": SHOP})) == {}


NUMBERS = ("", "/forecast", "/history")


@pytest.mark.django_db
def test_publishable_key_reads_only_the_numbers_from_allowed_origins(
    settings: Settings,
) -> None:
    own = sample_data()
    organization = own.organization
    organization.allowed_origins = [SHOP]
    organization.save()
    client = client_of(organization, kind=ApiKeyKind.PUBLISHABLE, role="manager")
    settings.API_LIMIT_PUBLISHABLE_PER_MINUTE = 10_000
    opened = {f"GET {API}/stats/{{organization_id}}{path}" for path in NUMBERS}
    for name in OPERATIONS:
        allowed = call(client, name, own.ids, headers={"Origin": SHOP})
        if name in opened:
            assert allowed.status_code == 200
            assert allowed.headers["Access-Control-Allow-Origin"] == SHOP
        else:
            body = problem(allowed)
            assert (body["error_code"], body["status"]) == ("forbidden", 403)
            assert body["detail"] == (
                "A publishable key (cpk) only reads the stats, the forecast and the history of "
                "its organization, from a page on an allowed origin."
            )
    settings.CORS_ALLOWED_ORIGINS = ["https://everywhere.example.com"]
    for path in NUMBERS:
        address = stats_path(organization) + path
        everywhere = client.get(address, headers={"Origin": "https://everywhere.example.com"})
        assert everywhere.status_code == 200
        for headers, sentence in (
            ({}, "This request has no Origin header."),
            ({"Origin": "https://evil.example"}, "The origin of this request is not allowed."),
        ):
            rejected = problem(client.get(address, headers=headers))
            assert rejected["error_code"] == "forbidden"
            assert rejected["detail"].endswith(sentence)
    # Nothing of another organization, even if it allows the origin.
    stranger = stats_path(allowing(SHOP))
    rejected = client.get(stranger, headers={"Origin": SHOP})
    assert problem(rejected)["error_code"] == "not_found"


@pytest.mark.django_db
def test_changed_origins_apply_immediately() -> None:
    organization = allowing()
    manager = client_of(organization, role="manager")
    path = f"{ACCOUNT}/organizations/{format_id(organization.id)}/allowed-origins"
    first = manager.get(path)
    assert first.json() == {"origins": []}
    body = {"origins": ["https://Shop.Example.com/", "http://localhost:3000"]}
    set_ = manager.put(path, body, "application/json", headers={"If-Match": first.headers["ETag"]})
    assert (set_.status_code, set_.json()) == (200, {"origins": [SHOP, "http://localhost:3000"]})
    assert manager.get(path).json() == set_.json()
    stale = manager.put(path, body, "application/json", headers={"If-Match": first.headers["ETag"]})
    assert stale.status_code == 412
    assert preflight(stats_path(organization)).headers["Access-Control-Allow-Origin"] == SHOP
    for origins, code in (
        (["https://shop.example.com/path"], "origin"),
        (SHOP, "not_a_list"),
        ([f"https://shop{n}.example.com" for n in range(21)], "max_length"),
    ):
        rejected = manager.put(path, {"origins": origins}, "application/json")
        (error,) = problem(rejected)["errors"]
        assert (error["pointer"], error["code"]) == ("#/origins", code)
    manager.put(path, {"origins": []}, "application/json")
    assert cors_headers(preflight(stats_path(organization))) == {}


class _PageOfAShop(BaseHTTPRequestHandler):
    """A page on another host."""

    def do_GET(self) -> None:
        body = b"<!doctype html><title>Shop</title><link rel=icon href=data:,>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@contextlib.contextmanager
def shop_page() -> Iterator[str]:
    """Serve a page for a block that gets its origin."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _PageOfAShop)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


FETCH_SCRIPT = """async ([address, headers]) => {
    try {
        const answer = await fetch(address, {headers})
        const named = {}
        for (const name of ["ETag", "RateLimit-Limit", "RateLimit-Remaining", "X-Request-ID"])
            named[name] = answer.headers.get(name)
        const text = await answer.text()
        return {status: answer.status, body: text && JSON.parse(text), headers: named}
    } catch (error) { return {error: error.name} }
}"""


@pytest.mark.django_db(transaction=True)
def test_page_on_an_allowed_origin_reads_the_numbers(
    chromium: Browser, live_server: LiveServer
) -> None:
    organization = OrganizationFactory()
    ProductFactory.create_batch(3, organization=organization)
    key = key_of(organization, kind=ApiKeyKind.PUBLISHABLE)
    stats = live_server.url + stats_path(organization)
    with shop_page() as origin, contextlib.closing(chromium.new_context()) as context:
        page = context.new_page()
        page.goto(origin)

        def read(address: str = stats, **headers: str) -> Any:
            return page.evaluate(FETCH_SCRIPT, [address, {"X-API-Key": key, **headers}])

        assert read() == {"error": "TypeError"}
        organization.allowed_origins = [origin]
        organization.save()
        response = read()
        assert (response["status"], response["body"]["total_products"]) == (200, 3)
        assert response["headers"]["RateLimit-Limit"] == "100"
        assert response["headers"]["X-Request-ID"]
        again = read(**{"If-None-Match": response["headers"]["ETag"]})
        assert (again["status"], again["body"]) == (304, "")
        assert again["headers"]["ETag"] == response["headers"]["ETag"]
        # Errors are readable as well: those of the key, and those of the request.
        wrong = page.evaluate(FETCH_SCRIPT, [stats, {"X-API-Key": "cpk_nothing"}])
        assert (wrong["status"], wrong["body"]["error_code"]) == (401, "unauthorized")
        forbidden = read(f"{live_server.url}{API}/offers/{format_id(organization.id)}")
        assert forbidden["body"]["detail"].startswith("A publishable key (cpk) only reads")
        organization.allowed_origins = ["http://127.0.0.1:1"]
        organization.save()
        # A page of another origin, for which the browser has no cached preflight.
        with shop_page() as other:
            page.goto(other)
            assert read() == {"error": "TypeError"}
