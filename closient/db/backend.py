"""What the service's database backends add to Django's for PostgreSQL.

* Outages look alike: a server that has become read-only raises ``OperationalError``, as one that is
  away does.
* Time limits in web processes (:mod:`closient.db.limits`), held by the server and by the client.
* A health check without a round trip.
* Cursors whose statements the server prepares once for each connection.
* Migrations that change the expression of a generated column (:mod:`closient.db.schema`).
"""

from __future__ import annotations

import functools
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

import psycopg
from django.conf import settings
from django.db import OperationalError
from django.db.backends.postgresql.operations import DatabaseOperations
from django.db.utils import DatabaseErrorWrapper
from psycopg import errors

from closient.db import limits
from closient.db.schema import SchemaEditor
from closient.db.watch import Watch

if TYPE_CHECKING:
    from django.db.backends.postgresql.base import DatabaseWrapper
else:
    DatabaseWrapper = object

# Seconds after which an idle connection is asked whether it still works: firewalls forget
# connections without telling either end.
IDLE = 60.0
# Executions after which psycopg prepares a statement; cursors here prepare at once, and a
# connection without a threshold prepares nothing.
PREPARE_THRESHOLD = 5


class Connection(psycopg.Connection[Any]):
    """A psycopg connection whose statements can have a time limit of the client's own."""

    watch: Watch | None = None
    seconds: float = 0.0

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """Run a generator that waits for the server, within the limit if there is one."""
        if self.watch is not None:
            gen = self.watch.limited(gen, self.seconds, self)
        return super().wait(gen, *args, **kwargs)


class _Driver:
    """psycopg, as Django's backend uses it, with connections of the class above."""

    connect = Connection.connect

    def __getattr__(self, name: str) -> Any:
        return getattr(psycopg, name)


class PreparedCursor(psycopg.Cursor[Any]):
    """A cursor whose statements are prepared by the server, with parameters bound there.

    For statements with a fixed text that every request runs. Planning costs them more than running.
    """

    def execute(self, query: Any, params: Any = None, **kwargs: Any) -> Any:
        """Run a statement, prepared at its first execution on the connection."""
        try:
            return super().execute(query, params, prepare=True, **kwargs)
        except errors.FeatureNotSupported:
            # A migration has changed the type of a result ("cached plan must not change").
            if self.connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                raise
            return super().execute(query, params, prepare=False, **kwargs)


class _Errors(DatabaseErrorWrapper):
    """Raises ``OperationalError`` for what a server refuses because it is read-only.

    After a failover that is the old primary, or a standby: the connection is of no use any more
    and is closed at the end of the request.
    """

    wrapper: Any

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_value is not None and self._is_read_only(exc_value):
            self.wrapper.errors_occurred = True
            self.wrapper.close_at = time.monotonic()
            raise OperationalError(*exc_value.args).with_traceback(traceback) from exc_value
        super().__exit__(exc_type, exc_value, traceback)

    def _is_read_only(self, error: BaseException) -> bool:
        if isinstance(error, errors.ReadOnlySqlTransaction):
            # A transaction that the service itself has made read-only says so, too.
            return self._server_is_read_only()
        # A standby knows no unlogged tables, as the one of the rate limits.
        return isinstance(error, errors.FeatureNotSupported) and self._server_is_read_only()

    def _server_is_read_only(self) -> bool:
        """Return what the server reports by itself whenever it changes (PostgreSQL 14)."""
        connection = self.wrapper.connection
        if connection is None or connection.closed:
            return False
        return b"on" in (
            connection.pgconn.parameter_status(b"in_hot_standby"),
            connection.pgconn.parameter_status(b"default_transaction_read_only"),
        )


class _Operations(DatabaseOperations):
    """Django's, which also know the text of what a prepared cursor ran."""

    def last_executed_query(self, cursor: Any, sql: str, params: Any) -> str:
        if isinstance(cursor, PreparedCursor):
            composed: str = self.compose_sql(sql, params)
            return composed
        return super().last_executed_query(cursor, sql, params)


class ServiceConnection(DatabaseWrapper):
    """The part that both backends have in common."""

    Database = _Driver()
    ops_class = _Operations
    SchemaEditorClass = SchemaEditor
    _watches: dict[str, Watch] = {}
    _used_at = 0.0

    @functools.cached_property
    def wrap_database_errors(self) -> _Errors:
        """The context manager that turns psycopg's exceptions into Django's."""
        return _Errors(self)

    # --- Connecting ---

    def get_connection_params(self) -> dict[str, Any]:
        """Return psycopg's parameters."""
        parameters: dict[str, Any] = super().get_connection_params()
        if settings.DATABASE_PREPARED_STATEMENTS and parameters["prepare_threshold"] is None:
            parameters["prepare_threshold"] = PREPARE_THRESHOLD
        return parameters

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Return a new psycopg connection, within the limits of the process."""
        allowed = limits.current()
        if allowed is None:
            return super().get_new_connection(conn_params)
        watch = self._watches.setdefault(self.alias, Watch(_plain(conn_params)))
        watch.check()
        try:
            connection: Connection = super().get_new_connection(conn_params)
        except errors.ConnectionTimeout:
            watch.report()
            raise
        connection.watch, connection.seconds = watch, allowed.statement + limits.GRACE
        return connection

    def init_connection_state(self) -> None:
        """Set the session's time zone, and the limits of the process."""
        super().init_connection_state()
        allowed = limits.current()
        if allowed is None:
            return
        calls = ", ".join("set_config(%s, %s, false)" for _ in allowed.parameters)
        pairs = [word for pair in allowed.parameters.items() for word in pair]
        with self.cursor() as cursor:
            cursor.execute(f"SELECT {calls}", pairs)
        if not self.get_autocommit():
            self.commit()

    @contextmanager
    def time_limit(self, seconds: float) -> Iterator[None]:
        """Give each statement of the block so much time at the client's end."""
        connection = self.connection
        before, connection.seconds = connection.seconds, seconds
        try:
            yield
        finally:
            connection.seconds = before

    # --- Using ---

    def close_if_health_check_failed(self: Any) -> None:
        """Close a connection that the server has ended.

        Django would ask ``SELECT 1`` before each request. A server that stops ends its connections,
        which the socket tells without asking; only after a long pause the server is asked.
        """
        if self.connection is None or not self.health_check_enabled or self.health_check_done:
            return
        now = time.monotonic()
        if now - self._used_at < IDLE and _is_quiet(self.connection):
            self.health_check_done = True
        else:
            super().close_if_health_check_failed()
        self._used_at = now

    def prepared_cursor(self: Any) -> Any:
        """Return a cursor for statements that the server prepares; see :class:`PreparedCursor`."""
        if not settings.DATABASE_PREPARED_STATEMENTS:
            return self.cursor()
        self.close_if_health_check_failed()
        self.ensure_connection()
        with self.wrap_database_errors:
            return self._prepare_cursor(PreparedCursor(self.connection))


def _is_quiet(connection: psycopg.Connection[Any]) -> bool:
    """Return whether an idle connection is open and the server has said nothing unasked."""
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    return not poll.poll(0)


def _plain(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the connection options that only libpq understands."""
    ours = {"context", "cursor_factory", "prepare_threshold", "row_factory", "autocommit"}
    return {name: value for name, value in parameters.items() if name not in ours}
