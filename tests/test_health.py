"""Health checks, and responses while the database is unavailable."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client

from closient.http import health
from tests.clients import client_of, problem, stats_path
from tests.factories import OrganizationFactory
from tests.waiting import wait_until


@pytest.fixture(autouse=True)
def _forget_last_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test start without the check of an earlier one."""
    monkeypatch.setattr(health.Probe, "latest", None)


def test_healthz_responds_without_a_query() -> None:
    response = Client().get("/healthz")
    assert (response.status_code, response.content) == (200, b"ok\n")
    assert "no-store" in response.headers["Cache-Control"]
    assert Client().head("/healthz").status_code == 200
    assert Client().post("/healthz").status_code == 405


@pytest.mark.django_db
def test_readyz_is_ok_when_the_database_responds() -> None:
    response = Client().get("/readyz")
    assert (response.status_code, response.content) == (200, b"ready\n")


@pytest.fixture
def silent_server() -> Iterator[socket.socket]:
    """A server that accepts connections and never responds."""
    with socket.create_server(("127.0.0.1", 0), backlog=32) as server:
        yield server


@pytest.fixture
def silent_port(silent_server: socket.socket) -> int:
    port: int = silent_server.getsockname()[1]
    return port


def count_connections(server: socket.socket) -> int:
    """Return how many clients have connected and wait for the server."""
    server.setblocking(False)
    count = 0
    while True:
        try:
            server.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


@pytest.fixture
def closed_port() -> int:
    """A port without a listener."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def move_database(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """Redirect every new database connection to a port."""
    for name, value in (("HOST", "127.0.0.1"), ("PORT", port)):
        monkeypatch.setitem(connections.settings["default"], name, value)


@pytest.mark.django_db
@pytest.mark.parametrize("kind", ["closed_port", "silent_port"])
def test_readyz_reports_an_unavailable_database(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    move_database(monkeypatch, request.getfixturevalue(kind))
    response = Client().get("/readyz")
    assert response.status_code == 503
    assert problem(response) == {
        "type": "/docs/errors/unavailable",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "The database does not respond.",
        "error_code": "unavailable",
        "retryable": True,
        "retry_after": 1,
    }


@pytest.mark.django_db
def test_concurrent_readyz_requests_share_one_check(
    silent_server: socket.socket, silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    move_database(monkeypatch, silent_port)
    with ThreadPoolExecutor(16) as threads:
        asked = [threads.submit(Client().get, "/readyz") for _ in range(16)]
        assert {each.result().status_code for each in asked} == {503}
    # The check still waits for the database.
    assert Client().get("/readyz").status_code == 503
    assert count_connections(silent_server) == 1


@pytest.mark.django_db
def test_readyz_keeps_success_and_failure_equally_long(
    closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def status() -> int:
        return Client().get("/readyz").status_code

    monkeypatch.setattr(health, "MAX_AGE_SECONDS", 3600.0)
    assert status() == 200
    with monkeypatch.context() as moved:
        move_database(moved, closed_port)
        assert status() == 200
        moved.setattr(health, "MAX_AGE_SECONDS", 0.1)
        wait_until(lambda: status() == 503)
    assert status() == 503
    monkeypatch.setattr(health, "MAX_AGE_SECONDS", 0.1)
    wait_until(lambda: status() == 200)


@pytest.mark.django_db(transaction=True)
def test_readyz_reports_missing_migrations() -> None:
    migrations = MigrationRecorder.Migration.objects
    last = migrations.latest("id")
    last.delete()
    try:
        response = Client().get("/readyz")
    finally:
        migrations.create(id=last.id, app=last.app, name=last.name, applied=last.applied)
    assert response.status_code == 503
    assert problem(response)["detail"] == "Migrations are missing."


@pytest.mark.django_db
def test_request_without_a_database_gets_retry_after(
    closed_port: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    organization = OrganizationFactory()
    client, path = client_of(organization), stats_path(organization)
    move_database(monkeypatch, closed_port)

    def request(client: Client) -> Any:
        try:
            return client.get(path)
        finally:
            connections.close_all()

    # A new thread has no connection yet.
    with ThreadPoolExecutor(max_workers=1) as thread:
        response = thread.submit(request, client).result()
        stranger = thread.submit(request, Client()).result()
    assert response.status_code == 503
    assert problem(response)["error_code"] == "unavailable"
    assert response.headers["Retry-After"] == "1"
    # Requests without a key are rejected as usual.
    assert stranger.status_code == 401


def test_default_icon_exists(client: Client) -> None:
    response = client.get("/favicon.ico", follow=True)
    assert response.redirect_chain == [("/static/closient/icon.svg", 302)]
