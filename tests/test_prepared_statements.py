"""Prepared statements: used for frequent queries, and not at all if they are turned off."""

from __future__ import annotations

import pytest
from django.db import connection
from pytest_django import Settings

from tests.clients import client_of, stats_path
from tests.factories import OrganizationFactory


def prepared_by_requests() -> list[str]:
    """Request the stats often on a new connection; return what the server has prepared for it."""
    organization = OrganizationFactory()
    client, path = client_of(organization), stats_path(organization)
    connection.close()
    for _ in range(8):
        assert client.get(path).status_code == 200
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements ORDER BY statement")
        return [statement for (statement,) in cursor]


@pytest.mark.django_db(transaction=True)
def test_key_and_numbers_are_prepared_once_for_each_connection() -> None:
    prepared = prepared_by_requests()
    assert len(prepared) == 2
    assert any("accounts_ratelimit" in statement for statement in prepared)
    assert any("tally_tallyentry" in statement for statement in prepared)


@pytest.mark.django_db(transaction=True)
def test_nothing_is_prepared_if_prepared_statements_are_off(settings: Settings) -> None:
    settings.DATABASE_PREPARED_STATEMENTS = False
    try:
        assert prepared_by_requests() == []
    finally:
        connection.close()
