"""manage.py migrate beside long transactions: it never stops writers for long."""

from __future__ import annotations

import io

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from tests.migrating import migrate_to, migrate_to_latest
from tests.sessions import TIMEOUT_SECONDS, query, sessions

pytestmark = pytest.mark.django_db(transaction=True)

# The newest migration that changes a table.
BEFORE = ("dashboard", "0001_snapshots")
COLUMN = (
    "SELECT count(*) FROM information_schema.columns "
    "WHERE table_name = 'dashboard_snapshot' AND column_name = 'is_demo'"
)


@pytest.fixture(autouse=True)
def _migrated_back():
    migrate_to(BEFORE)
    yield
    migrate_to_latest()


def read_snapshots() -> None:
    """Lock the table of snapshots as every reader does."""
    query("SELECT count(*) FROM dashboard_snapshot")


def lock_list_of_migrations() -> None:
    """Let migrations wait when they record that they were applied."""
    with connection.cursor() as cursor:
        cursor.execute("LOCK TABLE django_migrations IN SHARE MODE")


def migrate(*options: str) -> str:
    output = io.StringIO()
    call_command("migrate", "dashboard", *options, stdout=output, stderr=output)
    return output.getvalue()


def test_migration_gives_up_while_a_transaction_is_open_and_names_it() -> None:
    with sessions(1) as (reader,):
        reader.begin()
        reader.run(read_snapshots)
        with pytest.raises(CommandError) as caught:
            migrate("--lock-timeout=0.1", "--give-up-after=0")
        reader.end()
    assert "A lock was not free for 0.1 seconds." in str(caught.value)
    assert f"process {reader.pid} (" in str(caught.value)
    assert query(COLUMN) == 0
    assert query("SHOW lock_timeout") == "0"


def test_migration_succeeds_after_the_transaction_and_writers_do_not_queue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("closient.db.management.commands.migrate.PAUSE_SECONDS", 0.2)
    with sessions(3) as (reader, migrator, other):
        reader.begin()
        reader.run(read_snapshots)
        migrating = migrator.start(lambda: migrate("--lock-timeout=0.5"))
        migrator.wait_until_blocked()
        # It queues behind the migration, until that gives up.
        other.start(read_snapshots).result(timeout=TIMEOUT_SECONDS)
        assert query(COLUMN) == 0
        reader.end()
        output = migrating.result(timeout=TIMEOUT_SECONDS)
    assert "Trying again in 0.2 seconds." in output
    assert query(COLUMN) == 1


def test_migration_that_has_a_deadlock_with_a_reader_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("closient.db.management.commands.migrate.PAUSE_SECONDS", 0.2)
    with sessions(2) as (reader, migrator):
        reader.begin()
        reader.run(lock_list_of_migrations)
        # It has changed the table, and waits to record that.
        migrating = migrator.start(lambda: migrate("--lock-timeout=20"))
        migrator.wait_until_blocked()
        # The first one to wait has the error, after a second (deadlock_timeout).
        reader.run(read_snapshots)
        reader.end()
        output = migrating.result(timeout=TIMEOUT_SECONDS)
    assert "The migration and a writer waited for each other's locks." in output
    assert query(COLUMN) == 1


def test_without_limit_a_reader_queues_behind_the_migration() -> None:
    """What the limit prevents."""
    with sessions(3) as (reader, migrator, other):
        reader.begin()
        reader.run(read_snapshots)
        migrating = migrator.start(lambda: migrate("--lock-timeout=0"))
        migrator.wait_until_blocked()
        waiting = other.start(read_snapshots)
        other.wait_until_blocked()
        assert not waiting.done()
        reader.end()
        migrating.result(timeout=TIMEOUT_SECONDS)
        waiting.result(timeout=TIMEOUT_SECONDS)
    assert query(COLUMN) == 1


@pytest.mark.parametrize("seconds", ["-1", "nan", "soon"])
def test_invalid_limit_is_rejected(seconds: str) -> None:
    with pytest.raises(CommandError, match="lock-timeout"):
        migrate(f"--lock-timeout={seconds}")
