"""Makes another configured database the default one of this thread, for a block.

Everything that uses the default database uses it then: the ORM, ``django.db.connection`` and
transactions. The blocks can be nested. A streamed response is read after its view and the
middleware have returned, so its generator must enter the block itself.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.transaction import TransactionManagementError

_thread = threading.local()


def own_default() -> Any:
    """Return the connection that is this thread's default one outside of all blocks."""
    return getattr(_thread, "default", None) or connections[DEFAULT_DB_ALIAS]


def change_database(alias: str) -> None:
    """Change the database of the innermost block until that block ends."""
    connections[DEFAULT_DB_ALIAS] = (
        own_default() if alias == DEFAULT_DB_ALIAS else connections[alias]
    )


@contextmanager
def using_database(alias: str) -> Iterator[None]:
    """Make the database of an alias the default one of this thread during the block.

    Raises ``TransactionManagementError`` inside a transaction of another database: its statements
    would silently go to a database that knows nothing of them.
    """
    before: Any = connections[DEFAULT_DB_ALIAS]
    is_outermost = not hasattr(_thread, "default")
    if is_outermost:
        _thread.default = before
    try:
        chosen = _thread.default if alias == DEFAULT_DB_ALIAS else connections[alias]
        if chosen is not before and before.in_atomic_block:
            raise TransactionManagementError(
                f"The database cannot change from {before.alias!r} to {alias!r} in a transaction."
            )
        connections[DEFAULT_DB_ALIAS] = chosen
        yield
    finally:
        connections[DEFAULT_DB_ALIAS] = before
        if is_outermost:
            del _thread.default
