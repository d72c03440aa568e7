"""Optional reports to Sentry and OpenTelemetry: what real receivers get, and what they do not."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import pytest
from django.db import IntegrityError, ProgrammingError, connection, transaction
from django.test import Client
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from closient.accounts.models import MemberRole, User
from closient.db.ids import format_id
from closient.http.request_id import begin
from closient.telemetry.extras import EXTRAS
from closient.telemetry.sentry import clean, clean_text
from closient.text import key_format
from tests.clients import key_of, stats_path
from tests.environment import setting_names
from tests.factories import MembershipFactory, OrganizationFactory, ProductFactory, UserFactory
from tests.servers import ROOT, TIMEOUT_SECONDS, environment
from tests.test_serving_processes import Running, running
from tests.waiting import wait_until
from tests.wire import exchange

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PASSWORD = "a-password-that-is-sent-nowhere"
EMAIL = "ada@secret.example"
SEARCH = "searched-for-words"
DSN = "https://key@sentry.example/1"


class Received(NamedTuple):
    """A request to the receiver, with its body decompressed."""

    path: str
    headers: dict[str, str]
    body: bytes


@contextmanager
def receiver() -> Iterator[tuple[str, list[Received]]]:
    """An HTTP server that accepts all; yields its host and port, and what it has received."""
    received: list[Received] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers["Content-Encoding"] == "gzip":
                body = gzip.decompress(body)
            received.append(Received(self.path, dict(self.headers.items()), body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}", received
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def renamed(table: str) -> Iterator[None]:
    """Let statements that use a table fail during a block."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO elsewhere")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE elsewhere RENAME TO {table}")


def events(received: list[Received]) -> list[dict[str, Any]]:
    """The events of Sentry's envelopes."""
    found = []
    for each in received:
        lines = each.body.splitlines()
        assert json.loads(lines[1])["type"] == "event"
        found.append(json.loads(lines[2]))
    return found


def send(server: Running, first_line: str, *headers: str, body: str = "") -> int:
    head = "\r\n".join(
        (f"{first_line} HTTP/1.1", "Host: localhost", "Connection: close", *headers, "", body)
    )
    return exchange(server.port, head.encode()).status


def session_of(user: User) -> str:
    client = Client()
    client.force_login(user)
    return client.cookies["sessionid"].value


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_sentry_gets_errors_without_keys_cookies_passwords_and_queries() -> None:
    organization = OrganizationFactory()
    user = UserFactory(email=EMAIL)
    MembershipFactory(organization=organization, user=user, role=MemberRole.OWNER)
    cookie = session_of(user)
    key = key_of(organization, role="manager")
    items = f"/dashboard/api/v1/trade-items/{format_id(organization.pk)}"
    pages = f"/dashboard/{format_id(organization.pk)}/products"
    login = f"username={EMAIL}&password={PASSWORD}&csrfmiddlewaretoken={'t' * 32}"
    form = ("Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(login)}")
    with receiver() as (host, received):
        with running(SENTRY_DSN=f"http://public@{host}/1", SENTRY_RELEASE="v7") as server:
            assert send(server, f"GET {stats_path(organization)}", f"X-API-Key: {key}") == 200
            with renamed("catalog_product"):
                ids = ("X-Request-ID: mine", f"traceparent: 00-{TRACE}-{SPAN}-01")
                got = send(server, f"GET {items}?q={SEARCH}", f"X-API-Key: {key}", *ids)
                assert got == 500
                got = send(server, f"GET {pages}?q={SEARCH}", f"Cookie: sessionid={cookie}")
                assert got == 500
            with renamed("accounts_user"):
                csrf = f"Cookie: csrftoken={'t' * 32}; sessionid={cookie}"
                got = send(server, "POST /account/login", *form, csrf, body=login)
                assert got == 500
            wait_until(lambda: len(received) >= 3)
        found = events(received)
    assert {each.path for each in received} == {"/api/1/envelope/"}
    secrets = [key, cookie, PASSWORD, EMAIL, SEARCH, "t" * 32, "X-API-Key", "sessionid"]
    text = "\n".join(f"{each.headers} {each.body.decode()}" for each in received)
    assert [secret for secret in secrets if secret.lower() in text.lower()] == []
    api = next(each for each in found if each["tags"].get("request_id") == "mine")
    assert api["tags"]["trace_id"] == TRACE
    assert api["release"] == "v7"
    last = api["exception"]["values"][-1]
    assert last["type"] == "ProgrammingError"
    assert 'relation "catalog_product" does not exist' in last["value"]
    assert last["stacktrace"]["frames"]
    assert "vars" not in text


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_sentry_gets_failed_jobs_of_the_worker() -> None:
    with receiver() as (host, received), renamed("dashboard_snapshot"):
        ProductFactory()
        worker = subprocess.Popen(
            [sys.executable, "manage.py", "run_worker"],
            cwd=ROOT,
            env=environment(SENTRY_DSN=f"http://public@{host}/1"),
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until(lambda: received)
        finally:
            worker.terminate()
            assert worker.wait(TIMEOUT_SECONDS * 2) == 0
        messages = {each["logentry"]["formatted"] for each in events(received)}
    assert any(message.startswith("job=take_snapshots failed") for message in messages)


@pytest.mark.django_db(transaction=True)
def test_values_of_rows_are_removed_from_errors() -> None:
    UserFactory(email=EMAIL)
    with pytest.raises(IntegrityError) as caught, transaction.atomic():
        UserFactory(email=EMAIL)
    assert EMAIL in str(caught.value)
    text = clean_text(str(caught.value))
    assert "secret.example" not in text
    assert "unique constraint" in text
    # PostgreSQL quotes the statement, which has values in it.
    with pytest.raises(ProgrammingError) as failed, connection.cursor() as cursor:
        cursor.execute("SELECT a FROM accounts_user WHERE email = %s", [EMAIL])
    assert EMAIL[:12] in str(failed.value)
    assert clean_text(str(failed.value)) == 'column "a" does not exist\nLINE 1: [removed]'


def test_keys_logins_queries_and_addresses_are_removed_from_texts() -> None:
    key = key_format.new_text("csb")
    for text, cleaned in (
        (f"bad key {key}!", "bad key csb_[redacted]!"),
        (
            "connect to postgres://closient:pa55@db:5432/x",
            "connect to postgres://[removed]@db:5432/x",
        ),
        ("<WSGIRequest: GET '/a/b?q=words&page=2'>", "<WSGIRequest: GET '/a/b?[removed]'>"),
        (f"no user {EMAIL}, ", "no user [email], "),
        ("What? a = b", "What? a = b"),
    ):
        assert clean_text(text) == cleaned


def test_event_has_only_the_named_parts() -> None:
    # The current request's id, which tests before this one have set.
    request_id = begin("the-request")
    frame = {"function": "f", "lineno": 3, "vars": {"password": PASSWORD}}
    event = {
        "event_id": "1",
        "user": {"email": EMAIL},
        "request": {"headers": {"X-API-Key": "k"}, "cookies": "c"},
        "extra": {"request": "r"},
        "breadcrumbs": {"values": [{"message": PASSWORD}]},
        "contexts": {"trace": {"data": PASSWORD}},
        "logentry": {"message": "%s failed", "params": [EMAIL]},
        "exception": {"values": [{"type": "E", "value": "v", "stacktrace": {"frames": [frame]}}]},
    }
    assert clean(event) == {
        "event_id": "1",
        "logentry": {"formatted": "[email] failed"},
        "exception": {
            "values": [
                {
                    "type": "E",
                    "module": None,
                    "value": "v",
                    "stacktrace": {"frames": [{"function": "f", "lineno": 3}]},
                }
            ]
        },
        "tags": {"request_id": request_id},
    }


class Span(NamedTuple):
    """A span that a collector received."""

    id: str
    parent: str
    trace: str
    name: str
    attributes: dict[str, Any]


def spans(received: list[Received]) -> list[Span]:
    found = []
    for each in received:
        for resource in ExportTraceServiceRequest.FromString(each.body).resource_spans:
            (service,) = [a for a in resource.resource.attributes if a.key == "service.name"]
            assert service.value.string_value == "closient-dashboard"
            for span in (span for scope in resource.scope_spans for span in scope.spans):
                attributes = {
                    a.key: a.value.string_value or a.value.int_value for a in span.attributes
                }
                ids = (span.span_id.hex(), span.parent_span_id.hex(), span.trace_id.hex())
                found.append(Span(*ids, span.name, attributes))
    return found


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_collector_gets_requests_with_their_statements_and_no_values() -> None:
    organization = ProductFactory(name="A name that is sent nowhere").organization
    user = UserFactory(email=EMAIL)
    MembershipFactory(organization=organization, user=user, role=MemberRole.OWNER)
    cookie = session_of(user)
    key = key_of(organization, role="manager")
    path = stats_path(organization)
    export = f"/dashboard/{format_id(organization.pk)}/products/export?q={SEARCH}"
    trace = f"traceparent: 00-{TRACE}-{SPAN}-01"
    with receiver() as (host, received):
        settings = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{host}",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "LOG_FORMAT": "json",
        }
        with running(**settings) as server:
            assert send(server, f"GET {path}", f"X-API-Key: {key}", trace) == 200
            assert send(server, f"GET {export}", f"Cookie: sessionid={cookie}") == 200
            assert send(server, "GET /readyz") == 200

            def servers() -> list[Span]:
                return [each for each in spans(received) if each.name.startswith("GET ")]

            wait_until(lambda: len(servers()) == 2)
            server.stop()
        found = spans(received)
        stats, exported = sorted(servers(), key=lambda each: each.trace != TRACE)
    assert {each.path for each in received} == {"/v1/traces"}
    assert stats[1:] == (
        SPAN,
        TRACE,
        "GET stats",
        {
            "http.request.method": "GET",
            "http.response.status_code": 200,
            "http.route": "stats",
            "url.path": path,
            "closient.organization_id": format_id(organization.pk),
        },
    )
    assert exported.parent == ""
    for request, table in ((stats, "tally_tallyentry"), (exported, "catalog_product")):
        statements = [each for each in found if each.parent == request.id]
        assert all(each.trace == request.trace for each in statements)
        assert [each for each in statements if table in each.attributes["db.query.text"]]
    assert {each.parent for each in found} <= {SPAN, "", stats.id, exported.id}
    # The log names the service's own spans.
    lines = [json.loads(line) for line in server.log.decode().splitlines()]
    line = next(line for line in lines if line.get("route") == "stats")
    assert (line["trace_id"], line["span_id"]) == (TRACE, stats.id)
    values = [key, cookie, EMAIL, SEARCH, "sent nowhere", str(user.pk)]
    raw = b"".join(each.body for each in received)
    assert [text for text in values if text.encode() in raw] == []


# Runs manage.py without a package.
WITHOUT = """
import runpy, sys
sys.modules[sys.argv.pop(1)] = None
runpy.run_path("manage.py", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("setting", "value", "package"),
    [
        ("SENTRY_DSN", DSN, "sentry_sdk"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318", "opentelemetry"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318", "opentelemetry.exporter"),
    ],
)
def test_setting_without_its_package_is_refused(setting: str, value: str, package: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, package, "check"],
        cwd=ROOT,
        env=environment(**{setting: value}),
        capture_output=True,
        text=True,
        check=False,
    )
    extra, packages, _ = EXTRAS[setting]
    assert (done.returncode, done.stderr) == (
        1,
        f"Error in the settings: {setting} is set, and its packages are not installed: install "
        f"the extra {extra} (pip install {packages}), or remove the setting.\n",
    )


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("SENTRY_DSN", "sentry.example/1"),
        ("SENTRY_DSN", "https://sentry.example/1"),
        ("SENTRY_DSN", "https://key@sentry.example/project"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4318"),
    ],
)
def test_invalid_address_is_refused_and_not_repeated(setting: str, value: str) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env=environment(**{setting: value}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error in the settings: {setting} must ")
    assert value not in done.stderr


@pytest.mark.slow
def test_without_the_settings_nothing_of_the_packages_is_imported() -> None:
    code = (
        "import sys, closient.wsgi, closient.urls, dashboard.worker\n"
        "print(*sorted(n for n in sys.modules if n.startswith(('sentry_sdk', 'opentelemetry'))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == ""
    assert "sentry" not in (ROOT / "requirements.txt").read_text()
    assert "opentelemetry" not in (ROOT / "requirements.txt").read_text()
    assert set(EXTRAS) <= setting_names()
