"""Metrics of database connections, of readiness and of the replica, from real outages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import DatabaseError, connection, connections, transaction
from django.db.models.functions import Now
from prometheus_client import REGISTRY

from closient.accounts.models import Organization
from closient.db import observation
from tests.clusters import Tenant, clusters
from tests.factories import OrganizationFactory
from tests.scraping import scrape, value
from tests.servers import free_port, serving
from tests.sessions import query, sessions
from tests.waiting import wait_until

ERRORS = "closient_database_errors_total"
CONNECTS = "closient_database_connect_seconds_count"
CONNECTIONS = "closient_database_connections"
READY = "closient_ready"
LEFT_ALONE = "closient_replica_left_alone_seconds"


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0


@contextmanager
def counted(kind: str) -> Iterator[None]:
    """The block raises one error of the database, which is counted once, as this kind."""
    family = [sample for each in REGISTRY.collect() for sample in each.samples]
    before = {s.labels["kind"]: s.value for s in family if s.name == ERRORS}
    with pytest.raises(DatabaseError):
        yield
    family = [sample for each in REGISTRY.collect() for sample in each.samples]
    after = {s.labels["kind"]: s.value for s in family if s.name == ERRORS}
    assert after == before | {kind: before.get(kind, 0) + 1}


@pytest.mark.django_db(transaction=True)
def test_errors_are_counted_once_by_kind() -> None:
    organization = OrganizationFactory()
    with counted("constraint"):
        Organization.objects.create(pk=organization.pk, name="Twice")
    with counted("timeout"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 1")
        cursor.execute("SELECT pg_sleep(30)")
    with counted("other"), connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM no_such_table")
    rows = Organization.objects.filter(pk=organization.pk)
    with sessions(1) as (other,):
        other.begin()
        other.run(lambda: rows.update(name="Locked", created_at=Now()))
        with counted("lock"), transaction.atomic():
            rows.select_for_update(nowait=True).get()
        query("SELECT pg_terminate_backend(%s, 5000)", [other.pid])
        with counted("connection"):
            other.run(rows.get)


@pytest.mark.django_db(transaction=True)
def test_failed_attempts_to_connect_are_measured() -> None:
    refused = connections["default"].copy()
    refused.settings_dict = {**refused.settings_dict, "HOST": "127.0.0.1", "PORT": free_port()}
    before = count(CONNECTS)
    with counted("connection"):
        refused.ensure_connection()
    assert count(CONNECTS) == before + 1


@pytest.mark.django_db(transaction=True)
def test_connections_are_active_in_a_transaction_and_gone_when_closed() -> None:
    def open_ones() -> tuple[int, int]:
        return observation.connections("active"), observation.connections("idle")

    def break_connection() -> None:
        connection.connection.close()

    query("SELECT 1")
    active, idle = open_ones()
    with sessions(2) as (first, second):
        assert open_ones() == (active, idle + 2)
        first.begin()
        assert open_ones() == (active + 1, idle + 1)
        first.end()
        assert open_ones() == (active, idle + 2)
        second.run(connections.close_all)
        assert open_ones() == (active, idle + 1)
        # Django keeps a broken connection until its next use.
        first.run(break_connection)
        assert open_ones() == (active, idle)


@pytest.mark.slow
@pytest.mark.campaign
def test_web_processes_say_that_the_database_or_the_replica_is_gone() -> None:
    port = free_port()
    with clusters(2) as (primary, standby):
        primary.create()
        tenant = Tenant.create(primary.url)
        standby.create_standby_of(primary)
        settings = {"DATABASE_URL": primary.url, "DATABASE_REPLICA_URL": standby.url}
        metrics = {"METRICS_BIND": f"127.0.0.1:{port}", "WEB_CONCURRENCY": "2"}
        with serving(**settings, **metrics, HTTPS="0") as (web, _):
            items = f"{tenant.api}/trade-items/{tenant.organization}"

            def reads() -> None:
                assert tenant.request(web, items).status == 200

            def left_alone() -> float:
                reads()
                return value(scrape(port), LEFT_ALONE) or 0

            reads()
            wait_until(lambda: value(scrape(port), READY) == 1)
            wait_until(lambda: value(scrape(port), CONNECTIONS, state="idle"))
            assert left_alone() == 0
            standby.stop()
            wait_until(lambda: left_alone() > 2)
            standby.start()
            wait_until(lambda: left_alone() == 0)

            assert value(scrape(port), READY) == 1
            primary.stop()
            wait_until(lambda: value(scrape(port), READY) == 0)
            assert (value(scrape(port), ERRORS, kind="connection") or 0) > 0
            primary.start()
            wait_until(lambda: value(scrape(port), READY) == 1)
