"""Extensions of Django's PostgreSQL backend.

* All outages raise ``OperationalError``: a server that became read-only raises it like one that is
  down.
* Time limits in web processes (:mod:`closient.db.limits`), enforced by the server and the client.
* A health check without a round trip.
* Cursors whose statements the server prepares once for each connection.
* Migrations that change the expression of a generated column (:mod:`closient.db.schema`).
"""

from __future__ import annotations

import functools
import select
import threading
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

from closient.db import limits, observation
from closient.db.hang_detection import Watch
from closient.db.schema import SchemaEditor

if TYPE_CHECKING:
    from django.db.backends.postgresql.base import DatabaseWrapper
else:
    DatabaseWrapper = object

# A connection that was idle for longer is tested with a query before use: firewalls drop idle
# connections without notifying either end.
MAX_IDLE_SECONDS = 60.0
# Executions after which psycopg prepares a statement. The cursors here prepare at the first, but a
# connection without a threshold prepares nothing.
PREPARE_THRESHOLD = 5


_thread = threading.local()


def set_in_new_sessions(parameter: str, value: str) -> None:
    """Set a parameter in all sessions that this thread opens from now on."""
    _thread.parameters = {**getattr(_thread, "parameters", {}), parameter: value}


class Connection(psycopg.Connection[Any]):
    """A psycopg connection whose statements can have a time limit on the client."""

    watch: Watch | None = None
    seconds: float = 0.0

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """Run a generator that waits for the server, within the time limit if there is one."""
        if self.watch is not None:
            gen = self.watch.limited(gen, self.seconds, self)
        return super().wait(gen, *args, **kwargs)


class _Driver:
    """The psycopg module for Django's backend, with connections of the class above."""

    connect = Connection.connect

    def __getattr__(self, name: str) -> Any:
        return getattr(psycopg, name)


class PreparedCursor(psycopg.Cursor[Any]):
    """A cursor whose statements are prepared by the server, with parameters bound there.

    For statements with a fixed text that every request runs and that take longer to plan than to
    run.
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
    """Raises ``OperationalError`` if a statement fails because the server is read-only.

    After a failover the server is the old primary or a standby: the connection is useless and is
    closed at the end of the request.
    """

    wrapper: Any

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(exc_value, psycopg.Error):
            observation.failed(exc_value)
        if exc_value is not None and self._is_read_only(exc_value):
            self.wrapper.errors_occurred = True
            self.wrapper.close_at = time.monotonic()
            raise OperationalError(*exc_value.args).with_traceback(traceback) from exc_value
        super().__exit__(exc_type, exc_value, traceback)

    def _is_read_only(self, error: BaseException) -> bool:
        if isinstance(error, errors.ReadOnlySqlTransaction):
            # The same error is raised in a transaction that the service made read-only.
            return self._server_is_read_only()
        # A standby has no unlogged tables, such as the rate limits.
        return isinstance(error, errors.FeatureNotSupported) and self._server_is_read_only()

    def _server_is_read_only(self) -> bool:
        """Return the state that the server reports without a query (PostgreSQL 14 and newer)."""
        connection = self.wrapper.connection
        if connection is None or connection.closed:
            return False
        return b"on" in (
            connection.pgconn.parameter_status(b"in_hot_standby"),
            connection.pgconn.parameter_status(b"default_transaction_read_only"),
        )


class _Operations(DatabaseOperations):
    """Django's operations, which also return the last statement of a prepared cursor."""

    def last_executed_query(self, cursor: Any, sql: str, params: Any) -> str:
        if isinstance(cursor, PreparedCursor):
            composed: str = self.compose_sql(sql, params)
            return composed
        return super().last_executed_query(cursor, sql, params)


class ServiceConnection(DatabaseWrapper):
    """The base of both backends."""

    Database = _Driver()
    ops_class = _Operations
    SchemaEditorClass = SchemaEditor
    _watches: dict[str, Watch] = {}
    _used_at = 0.0
    # What closient.changes.causes has sent in the current transaction.
    announced_change: str | None = None

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
        with observation.connecting():
            connection = self._connect(conn_params, allowed)
        observation.opened(connection)
        return connection

    def _connect(self, conn_params: dict[str, Any], allowed: limits.SessionLimits | None) -> Any:
        if allowed is None:
            return super().get_new_connection(conn_params)
        watch = self._watches.setdefault(self.alias, Watch(self.alias, libpq_options(conn_params)))
        watch.check()
        try:
            connection: Connection = super().get_new_connection(conn_params)
        except errors.ConnectionTimeout:
            watch.report()
            raise
        connection.watch, connection.seconds = watch, allowed.statement + limits.GRACE_SECONDS
        return connection

    def init_connection_state(self) -> None:
        """Set the session's time zone, the limits of the process and the thread's parameters."""
        super().init_connection_state()
        allowed = limits.current()
        parameters = dict(getattr(_thread, "parameters", {}))
        if allowed is not None:
            parameters |= allowed.parameters
        if not parameters:
            return
        calls = ", ".join("set_config(%s, %s, false)" for _ in parameters)
        pairs = [word for pair in parameters.items() for word in pair]
        with self.cursor() as cursor:
            cursor.execute(f"SELECT {calls}", pairs)
        if not self.get_autocommit():
            self.commit()

    @contextmanager
    def time_limit(self, seconds: float) -> Iterator[None]:
        """Set the client's time limit for each statement in the block."""
        connection = self.connection
        before, connection.seconds = connection.seconds, seconds
        try:
            yield
        finally:
            connection.seconds = before

    # --- Using ---

    def close_if_health_check_failed(self: Any) -> None:
        """Close a connection that the server has ended.

        Django runs ``SELECT 1`` before each request. A server that stops closes its connections,
        which the socket shows without a query; only connections that were idle for long need one.
        """
        if self.connection is None or not self.health_check_enabled or self.health_check_done:
            return
        now = time.monotonic()
        if now - self._used_at < MAX_IDLE_SECONDS and _is_quiet(self.connection):
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
    """Return whether an idle connection is open and the server has sent nothing."""
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    return not poll.poll(0)


def libpq_options(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the connection options for libpq, without those of psycopg and Django."""
    ours = {"context", "cursor_factory", "prepare_threshold", "row_factory", "autocommit"}
    return {name: value for name, value in parameters.items() if name not in ours}
