"""Blocks that make another database the default one of a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from django.db import close_old_connections, connection, connections, transaction
from django.db.transaction import TransactionManagementError
from django.http import StreamingHttpResponse

from closient.accounts.models import Organization
from closient.db.replicas import reads_on_replica, replica_read
from closient.db.routing import using_database

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


def session() -> int:
    """Return the process of the server behind the default connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def session_of_the_orm() -> int:
    """Return the same as an ORM query sees it."""
    rows = Organization.objects.extra(select={"pid": "pg_backend_pid()"})
    return int(rows.values_list("pid", flat=True)[0])


@pytest.fixture(scope="module", autouse=True)
def _second_database(django_db_setup: None) -> Iterator[None]:
    """Configure a second database: another session of the same one."""
    connections.settings["other"] = dict(connections["default"].settings_dict)
    yield
    del connections["other"]
    del connections.settings["other"]


@pytest.fixture
def other(organization: Organization) -> Iterator[str]:
    yield "other"
    connections["other"].close()


def test_orm_and_raw_statements_use_the_database_of_the_block(other: str) -> None:
    before = session()
    with using_database(other):
        inside = session()
        assert inside != before
        assert session_of_the_orm() == inside
        with transaction.atomic():
            assert session() == inside
            assert connections["other"].in_atomic_block
    assert (session(), session_of_the_orm()) == (before, before)


def test_blocks_nest_and_end_with_exceptions(other: str) -> None:
    before = session()
    with using_database(other):
        inside = session()
        with using_database("default"):
            assert session() == before
            with using_database(other):
                assert session() == inside
        assert session() == inside
        with pytest.raises(ZeroDivisionError), using_database("default"):
            _ = 1 / 0
        assert session() == inside
    assert session() == before
    with pytest.raises(ZeroDivisionError), using_database(other):
        _ = 1 / 0
    assert session() == before


def test_another_thread_keeps_its_default(other: str) -> None:
    found = []

    def look() -> None:
        found.append(connection.alias)

    with using_database(other):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        assert connection.alias == other
    assert found == ["default"]


def test_a_transaction_of_another_database_is_refused(other: str) -> None:
    with transaction.atomic(), using_database("default"):
        session()
    with (
        transaction.atomic(),
        pytest.raises(TransactionManagementError, match="cannot change from 'default' to 'other'"),
        using_database(other),
    ):
        pass
    assert connection.alias == "default"


def test_a_streamed_response_uses_the_database_that_its_generator_enters(other: str) -> None:
    def rows() -> Iterator[str]:
        with using_database(other), transaction.atomic():
            for _ in range(3):
                yield f"{session()} "

    before = session()
    response = StreamingHttpResponse(rows())
    assert session() == before
    read = b"".join(response).decode().split()
    assert len(read) == 3
    assert set(read).isdisjoint({str(before)})
    assert session() == before
    abandoned = StreamingHttpResponse(rows())
    next(iter(abandoned))
    abandoned.close()
    assert session() == before
    assert not connections["other"].in_atomic_block


def test_connections_of_both_databases_end_at_their_age(other: str) -> None:
    connections["other"].settings_dict["CONN_MAX_AGE"] = 0
    with using_database(other):
        connection.close()
        session()
    close_old_connections()
    assert connections["other"].connection is None
    assert connection.alias == "default"


def test_without_a_replica_reads_use_the_primary(organization: Organization) -> None:
    @reads_on_replica
    def read() -> tuple[str, int]:
        return connection.alias, Organization.objects.count()

    assert read() == ("default", 1)
    with replica_read():
        assert connection.alias == "default"
        assert connection.in_atomic_block
        with connection.cursor() as cursor:
            cursor.execute("SHOW transaction_read_only")
            assert cursor.fetchone() == ("on",)
