"""The limits of a user: pages per minute, concurrent exports and their duration."""

from __future__ import annotations

import contextlib
import gc
import http.client
import threading
import time
from functools import partial

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from catalog.models import Product
from closient.accounts.models import Membership
from closient.db.ids import format_id
from tests.clients import browser_of
from tests.factories import MembershipFactory, ProductFactory
from tests.servers import serving
from tests.sessions import TIMEOUT_SECONDS, query, sessions
from tests.wire import connect

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def viewer() -> Membership:
    """A member who can only read."""
    member: Membership = MembershipFactory(role="viewer")
    return member


def export_path(member: Membership) -> str:
    return f"/dashboard/{format_id(member.organization_id)}/products/export"


def large_catalog(member: Membership, count: int = 2_000) -> None:
    batch = ProductFactory.build_batch(
        count, organization=member.organization, description="x" * 4_000
    )
    Product.objects.bulk_create(batch)


def hold(n: int, member: Membership) -> None:
    query("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [f"export {n} of {member.user_id}"])


def test_a_user_has_two_concurrent_exports(viewer: Membership) -> None:
    client, path = browser_of(viewer.user), export_path(viewer)
    colleague = MembershipFactory(organization=viewer.organization)
    with sessions(2) as others:
        others[0].run(lambda: hold(0, viewer))
        assert b"gtin" in b"".join(client.get(path).streaming_content)
        others[1].run(lambda: hold(1, viewer))
        response = client.get(path)
        assert response.status_code == 429
        assert response.headers["Retry-After"] == "10"
        text = response.content.decode()
        assert "You have 2 exports running: wait until one has finished." in text
        assert "Try again in 10 seconds." in text
        assert browser_of(colleague.user).get(path).status_code == 200
    response = client.get(path)
    assert response.status_code == 200
    assert b"gtin" in b"".join(response.streaming_content)


def test_an_aborted_export_releases_its_slot(viewer: Membership) -> None:
    ProductFactory.create_batch(30, organization=viewer.organization, description="x" * 5_000)
    client = browser_of(viewer.user)
    for _ in range(4):
        response = client.get(export_path(viewer))
        next(iter(response.streaming_content))
        response.close()
    assert query(LOCKS_HERE) == 0


def test_an_export_holds_its_slot_only_in_its_own_transaction(viewer: Membership) -> None:
    """A connection pooler in transaction mode would lose locks of the session."""
    ProductFactory.create_batch(30, organization=viewer.organization, description="x" * 5_000)
    with sessions(2) as (first, second):
        responses = [
            session.run(lambda: browser_of(viewer.user).get(export_path(viewer)))
            for session in (first, second)
        ]
        assert query(RUNNING_EXPORTS) == 0
        pieces = [iter(response.streaming_content) for response in responses]
        for session, piece in zip((first, second), pieces, strict=True):
            session.run(partial(next, piece))
        assert query(RUNNING_EXPORTS) == 2
        assert browser_of(viewer.user).get(export_path(viewer)).status_code == 429
        # One export finishes, and the client of the other disconnects.
        first.run(lambda: list(pieces[0]))
        second.run(responses[1].close)
        assert query(RUNNING_EXPORTS) == 0
    assert browser_of(viewer.user).get(export_path(viewer)).status_code == 200


def test_an_export_that_loses_the_last_slot_after_its_start_waits(viewer: Membership) -> None:
    ProductFactory(organization=viewer.organization)
    with sessions(3) as (first, second, late):
        response = late.run(lambda: browser_of(viewer.user).get(export_path(viewer)))
        first.run(lambda: hold(0, viewer))
        second.run(lambda: hold(1, viewer))
        content = late.start(lambda: b"".join(response.streaming_content))
        late.wait_until_blocked()
        first.run(lambda: query("SELECT pg_advisory_unlock_all()"))
        assert b"gtin" in content.result(TIMEOUT_SECONDS)


def test_an_unread_export_runs_no_query(viewer: Membership) -> None:
    """Garbage collection may happen during another statement of the same connection."""
    ProductFactory(organization=viewer.organization)
    client = browser_of(viewer.user)
    response = client.get(export_path(viewer))
    assert response.status_code == 200
    with CaptureQueriesContext(connection) as queries:
        del response
        gc.collect()
    assert queries.captured_queries == []
    assert query(LOCKS_HERE) == 0


def test_exports_per_user_are_limited(viewer: Membership, settings: Settings) -> None:
    settings.EXPORT_LIMIT_PER_MINUTE = 3
    client = browser_of(viewer.user)
    statuses = [client.get(export_path(viewer)).status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    response = client.get(export_path(viewer))
    seconds = int(response.headers["Retry-After"])
    assert 0 < seconds <= 60
    assert f"Too many exports. Try again in {seconds} seconds." in response.content.decode()
    assert (
        browser_of(MembershipFactory(organization=viewer.organization).user)
        .get(export_path(viewer))
        .status_code
        == 200
    )


def test_pages_per_user_are_limited(viewer: Membership, settings: Settings) -> None:
    settings.PAGE_LIMIT_PER_MINUTE = 3
    client, path = (
        browser_of(viewer.user),
        f"/dashboard/{format_id(viewer.organization_id)}/products",
    )
    statuses = [client.get(path).status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    response = client.get(path)
    assert 0 < int(response.headers["Retry-After"]) <= 60
    assert "Too many requests. Try again in " in response.content.decode()
    fragment = client.get(path, headers={"HX-Request": "true"})
    assert (fragment.status_code, "Too many requests." in fragment.headers["HX-Trigger"]) == (
        429,
        True,
    )


@pytest.mark.slow
def test_a_client_that_does_not_read_holds_no_transaction(viewer: Membership) -> None:
    large_catalog(viewer)
    cookie = browser_of(viewer.user).cookies["sessionid"].value
    running = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
    )
    with serving() as (port, _), contextlib.ExitStack() as opened:
        peers = [opened.enter_context(connect(port, receive_buffer=1024)) for _ in range(2)]
        for peer in peers:
            peer.sendall(
                f"GET {export_path(viewer)} HTTP/1.1\r\nHost: localhost\r\n"
                f"Cookie: sessionid={cookie}\r\n\r\n".encode()
            )
            # The export has started: the first bytes arrive.
            assert peer.recv(15) == b"HTTP/1.1 200 OK"
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while query(running) and time.monotonic() < deadline:
            pass
        assert query(running) == 0


@pytest.mark.slow
def test_an_export_ends_at_its_deadline(viewer: Membership) -> None:
    large_catalog(viewer, 200)
    cookie = browser_of(viewer.user).cookies["sessionid"].value
    with serving(EXPORT_TIMEOUT="0") as (port, _):
        client = http.client.HTTPConnection("localhost", port, timeout=TIMEOUT_SECONDS)
        client.request("GET", export_path(viewer), headers={"Cookie": f"sessionid={cookie}"})
        response = client.getresponse()
        assert response.status == 200
        # The download is aborted and does not look complete.
        with pytest.raises(http.client.IncompleteRead):
            response.read()
        client.close()


@pytest.mark.slow
@pytest.mark.campaign
def test_of_many_simultaneous_exports_two_run(viewer: Membership) -> None:
    large_catalog(viewer)
    cookie = browser_of(viewer.user).cookies["sessionid"].value
    statuses: list[int] = []

    def download(port: int) -> None:
        client = http.client.HTTPConnection("localhost", port, timeout=TIMEOUT_SECONDS)
        client.request("GET", export_path(viewer), headers={"Cookie": f"sessionid={cookie}"})
        response = client.getresponse()
        response.read()
        statuses.append(response.status)
        client.close()

    with serving(WEB_CONCURRENCY="2", EXPORT_LIMIT_PER_MINUTE="100") as (port, _):
        threads = [threading.Thread(target=download, args=(port,)) for _ in range(12)]
        for thread in threads:
            thread.start()
        most = 0
        while any(thread.is_alive() for thread in threads):
            most = max(most, query(RUNNING_EXPORTS))
        assert most <= 2
    assert set(statuses) <= {200, 429}
    assert statuses.count(200) >= 2


LOCKS_HERE = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
RUNNING_EXPORTS = """
    SELECT count(*) FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND pid <> pg_backend_pid()
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
