"""Errors of the API: problem details without internal information."""

from __future__ import annotations

import datetime
import logging
import re
from http import HTTPStatus
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from closient.accounts.models import ApiKeyKind, ApiKeyRole, MemberRole
from closient.db.ids import format_id
from closient.http import problems
from closient.http.logs import RequestFormatter
from closient.http.problems import ERRORS
from closient.text import key_format
from tests.api_urls import SECRET
from tests.clients import API, client_of, key_of, problem, stats_path
from tests.factories import MembershipFactory, OrganizationFactory

TEST = "/dashboard/api/test"
uses_failing_urls = pytest.mark.urls("tests.api_urls")


def client_without_exceptions(**headers: str) -> Client:
    """Return a client that returns the response to a crash instead of raising."""
    return Client(raise_request_exception=False, headers=headers)


@uses_failing_urls
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "error_code"),
    [
        ("crash", "internal_error"),
        ("unrenderable", "internal_error"),
        ("away", "unavailable"),
        ("locked", "unavailable"),
        ("bad-sql", "internal_error"),
        ("plain-crash", "internal_error"),
        ("plain-away", "unavailable"),
        ("suspicious", "bad_request"),
        ("denied", "forbidden"),
        ("nothing", "not_found"),
    ],
)
def test_failure_is_a_problem_without_internal_details(name: str, error_code: str) -> None:
    response = client_without_exceptions().get(f"{TEST}/{name}")
    kind = ERRORS[error_code]
    assert response.status_code == kind.status
    expected = {
        "type": f"/docs/errors/{error_code}",
        "title": HTTPStatus(kind.status).phrase,
        "status": kind.status,
        "detail": kind.detail,
        "error_code": error_code,
        "retryable": error_code == "unavailable",
    }
    if name in {"away", "locked", "plain-away"}:
        expected["retry_after"] = 1
        assert response.headers["Retry-After"] == "1"
    assert problem(response) == expected
    assert response.headers["Cache-Control"] == "no-store"
    for leak in (SECRET, "secret", "Traceback", "RuntimeError", ".py", "object at"):
        assert leak not in response.content.decode()


@uses_failing_urls
@pytest.mark.parametrize(
    ("path", "status"),
    [("/page-crash", 500), ("/page-away", 503), ("/page-suspicious", 400), ("/page-denied", 403)],
)
def test_failure_of_a_page_is_an_html_page(path: str, status: int) -> None:
    response = client_without_exceptions().get(path)
    assert response.status_code == status
    assert response.headers["Content-Type"].startswith("text/html")
    assert response.headers["X-Request-ID"]
    assert SECRET not in response.content.decode()


@uses_failing_urls
def test_crash_is_logged_once_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    response = client_without_exceptions(**{"X-Request-ID": "find-me"}).get(f"{TEST}/crash")
    (record,) = caplog.records
    assert record.name == "closient.http"
    line = RequestFormatter("[%(request_id)s] %(message)s").format(record)
    assert line.startswith("[find-me] The API crashed.")
    assert f"RuntimeError: {SECRET}" in line
    assert response.json()["request_id"] == "find-me"


@pytest.mark.parametrize(
    "path",
    [
        "/dashboard/api/",
        "/dashboard/api/v1",
        "/dashboard/api/v1/",
        "/dashboard/api/v1/nothing",
        "/dashboard/api/v2/stats/x",
        "/dashboard/api/v1/stats/x/",
        "/dashboard/api/v1/%0A",
        "/dashboard/api/v1/%FF",
        "/account/api/v1/whoami/nothing",
    ],
)
@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("method", ["get", "post", "delete"])
def test_unknown_path_is_a_problem(path: str, debug: bool, method: str, settings: Settings) -> None:
    settings.DEBUG = debug
    client = Client(enforce_csrf_checks=True)
    response = getattr(client, method)(path)
    assert response.status_code == 404
    assert problem(response) == {
        "type": "/docs/errors/not_found",
        "title": "Not Found",
        "status": 404,
        "detail": "Not found, or not visible to you.",
        "error_code": "not_found",
        "retryable": False,
    }


def test_problem_has_instance_and_timestamp() -> None:
    before = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=1)
    body = Client().get(f"{API}/n%C3%B6thing%20here?secret=1").json()
    assert body["instance"] == f"{API}/n%C3%B6thing%20here"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", body["timestamp"])
    happened = datetime.datetime.fromisoformat(body["timestamp"])
    assert before <= happened <= datetime.datetime.now(datetime.UTC)


def test_unknown_host_is_a_problem() -> None:
    response = Client(headers={"Host": "evil.example"}).get(f"{API}/nothing")
    assert response.status_code == 400
    assert problem(response)["error_code"] == "bad_request"


@pytest.mark.parametrize(
    "path",
    [
        f"{API}/stats/{'x' * 65_536}",
        f"{API}/stats/x?{'y' * 8200}",
        f"{API}/stats/x?{'a=1&' * 10_000}",
    ],
)
def test_long_url_is_rejected(path: str) -> None:
    response = Client().get(path)
    assert response.status_code == 414
    assert problem(response)["error_code"] == "uri_too_long"
    assert len(response.content) < 5000


@pytest.mark.django_db
def test_thousands_of_parameters_are_a_bad_request() -> None:
    organization = OrganizationFactory()
    response = client_of(organization).get(stats_path(organization) + "?" + "a&" * 3900)
    assert response.status_code == 400
    assert problem(response)["error_code"] == "bad_request"


@uses_failing_urls
@pytest.mark.parametrize(
    ("content_type", "allowed"),
    [("application/json", 1024 * 1024), ("multipart/form-data; boundary=x", 11 * 1024 * 1024)],
)
def test_body_over_the_limit_is_rejected(content_type: str, allowed: int) -> None:
    client = Client()
    for size, is_rejected in ((allowed, False), (allowed + 1, True)):
        response = client.post(f"{TEST}/echo", b" " * size, content_type=content_type)
        assert (response.status_code == 413) == is_rejected
    assert problem(response)["error_code"] == "payload_too_large"


@uses_failing_urls
@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        ("abc-123_X.y", True),
        ("a" * 64, True),
        ("a" * 65, False),
        ("", False),
        ("a b", False),
        ("a\n", False),
        ("é", False),
        ('"quoted"', False),
        ("<script>", False),
    ],
)
def test_request_id_of_the_client_is_used_if_it_is_safe(text: str, accepted: bool) -> None:
    for path in ("/healthz", f"{TEST}/nothing", "/nothing"):
        response = Client(headers={"X-Request-ID": text}).get(path)
        returned = response.headers["X-Request-ID"]
        assert (returned == text) == accepted
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", returned)


def test_request_ids_differ() -> None:
    client = Client()
    assert len({client.get("/healthz").headers["X-Request-ID"] for _ in range(100)}) == 100


@uses_failing_urls
def test_validation_error_has_a_pointer_for_every_invalid_value() -> None:
    response = Client().post(
        f"{TEST}/validate",
        {
            "name": "too long",
            "prices": [{"amount": "1.00"}, {"amount": "x"}],
            "tags": ["ab", "abcd"],
        },
        content_type="application/json",
    )
    assert response.status_code == 422
    errors = [(e["pointer"], e["code"]) for e in problem(response)["errors"]]
    assert errors == [
        ("#/name", "max_length"),
        ("#/prices/1/amount", "invalid"),
        ("#/tags/1", "max_length"),
    ]
    response = Client().post(
        f"{TEST}/validate", {"name": "bad", "prices": []}, content_type="application/json"
    )
    assert problem(response)["errors"] == [
        {"pointer": "#", "code": "whole", "detail": "Bad as a whole."}
    ]
    response = Client().post(f"{TEST}/validate", "[1]", content_type="application/json")
    assert [e["pointer"] for e in problem(response)["errors"]] == ["#"]


@uses_failing_urls
@pytest.mark.django_db
def test_checks_run_in_the_documented_order() -> None:
    mine, theirs = OrganizationFactory(), OrganizationFactory()

    def status(client: Client, organization: Any, body: str = "{", kind: str = "text/plain") -> int:
        path = f"{TEST}/write/{format_id(organization.id)}"
        return client.post(path, body, content_type=kind).status_code

    limited = client_of(mine, limit_per_minute=1)
    limited.get(stats_path(mine))
    reader, editor = client_of(mine), client_of(mine, role=ApiKeyRole.EDITOR)
    assert status(Client(), theirs) == 401
    assert status(limited, theirs) == 429
    assert status(reader, theirs) == 404
    assert status(reader, mine) == 403
    assert status(editor, mine) == 415
    assert status(editor, mine, kind="application/json") == 400
    assert status(editor, mine, "{}", kind="application/json") == 201


@uses_failing_urls
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("member", "writes", "manages"),
    [
        (MemberRole.OWNER, 201, 201),
        (MemberRole.MANAGER, 201, 201),
        (MemberRole.EDITOR, 201, 403),
        (MemberRole.BILLING, 403, 403),
        (MemberRole.VIEWER, 403, 403),
    ],
)
def test_members_can_write_what_their_role_allows(
    member: MemberRole, writes: int, manages: int
) -> None:
    membership = MembershipFactory(role=member)
    if member != MemberRole.OWNER:
        MembershipFactory(organization=membership.organization, role=MemberRole.OWNER)
    session = Client()
    session.force_login(membership.user)
    user_key = client_of(membership.user, role=ApiKeyRole.MANAGER)
    for client in (session, user_key):
        for name, expected in (("write", writes), ("manage", manages)):
            path = f"{TEST}/{name}/{format_id(membership.organization.id)}"
            assert client.post(path, "{}", content_type="application/json").status_code == expected
            assert client.get(path).status_code == 200


@uses_failing_urls
@pytest.mark.django_db
def test_publishable_key_cannot_write() -> None:
    organization = OrganizationFactory()
    client = client_of(organization, kind=ApiKeyKind.PUBLISHABLE, role=ApiKeyRole.MANAGER)
    path = f"{TEST}/write/{format_id(organization.id)}"
    assert client.post(path, "{}", content_type="application/json").status_code == 403


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["post", "put", "patch", "delete", "trace", "generic"])
def test_unsupported_method_is_rejected_with_any_body(method: str) -> None:
    organization = OrganizationFactory()
    client = client_of(organization)
    path = stats_path(organization)
    if method == "generic":
        response = client.generic("BREW", path, b'{"total_products": 5}')
    elif method == "trace":
        response = client.trace(path)
    else:
        response = getattr(client, method)(
            path, b'{"total_products": 5}', content_type="application/json"
        )
    assert response.status_code == 405
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS"
    assert problem(response)["error_code"] == "method_not_allowed"
    assert client.get(path).json()["total_products"] == 0


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("*/*", 200),
        ("application/json", 200),
        ("text/html, application/*;q=0.5", 200),
        ("text/html", 406),
        ("application/xml", 406),
        ("nonsense", 406),
        ("," * 1000, 406),
    ],
)
def test_response_is_json_or_not_acceptable(accept: str, status: int) -> None:
    organization = OrganizationFactory()
    response = client_of(organization).get(stats_path(organization), headers={"Accept": accept})
    assert response.status_code == status
    if status == 406:
        assert problem(response)["error_code"] == "not_acceptable"


@uses_failing_urls
@pytest.mark.django_db
def test_log_contains_no_api_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    organization = OrganizationFactory()
    good, unknown = key_of(organization), key_format.new_text("csu")
    malformed = good[:-1]
    client = client_without_exceptions()
    for text in (good, unknown, malformed):
        headers = {"X-API-Key": text}
        client.get(stats_path(organization), headers=headers)
        client.get(f"{TEST}/crash?key={text}", headers=headers)
        client.get(f"{TEST}/plain-crash?key={text}", headers=headers)
        client.get(f"{API}/stats/{text}", headers=headers)
        client.get(f"{API}/{text}", headers=headers)
        client.get(f"/{text}?key={text}", headers=headers)
        logging.getLogger("any").warning("Key %s was used.", text)
    assert len(caplog.records) > 6
    formatter = RequestFormatter("%(asctime)s %(name)s [%(request_id)s] %(message)s")
    log = "\n".join(formatter.format(record) for record in caplog.records)
    assert "Key csb_[redacted] was used." in log
    for text in (good, unknown, malformed):
        assert text not in log
        assert key_format.body_of(text) not in log


def test_settings_format_every_log_line(settings: Settings) -> None:
    handlers = settings.LOGGING["handlers"]
    assert {handler["formatter"] for handler in handlers.values()} == {"line"}
    assert settings.LOGGING["formatters"]["line"]["()"] == "closient.http.logs.RequestFormatter"
    for name in ("django", "django.server"):
        assert logging.getLogger(name).handlers == []
        assert logging.getLogger(name).propagate


def test_error_codes_are_the_documented_ones() -> None:
    assert {code: kind.status for code, kind in ERRORS.items()} == {
        "bad_request": 400,
        "unauthorized": 401,
        "forbidden": 403,
        "not_found": 404,
        "method_not_allowed": 405,
        "not_acceptable": 406,
        "conflict": 409,
        "precondition_failed": 412,
        "payload_too_large": 413,
        "uri_too_long": 414,
        "unsupported_media_type": 415,
        "validation_error": 422,
        "rate_limited": 429,
        "internal_error": 500,
        "not_implemented": 501,
        "unavailable": 503,
    }
    assert {code for code, kind in ERRORS.items() if kind.is_retryable} == {
        "rate_limited",
        "unavailable",
    }
    assert problems.MEDIA_TYPE == "application/problem+json"
