"""Which database a block uses: the directory, a cell, or the cell of an organization.

Without ``CELLS`` there is one database, and nothing here queries it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import OrderedDict
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, InterfaceError, OperationalError, connection, connections

from closient.cells.models import Placement
from closient.db.replicas import REPLICA
from closient.db.routing import own_default, using_database

# The alias of the directory in a process whose default database is another cell.
DIRECTORY = "directory"
# How long a process relies on a placement without reading it again. No write depends on it: the
# cell that an organization has left refuses them.
CACHE_SECONDS = 5.0
MAX_CACHED = 100_000

_own_cell = DEFAULT_DB_ALIAS
_cache: OrderedDict[UUID, tuple[str, float]] = OrderedDict()
_cache_lock = threading.Lock()

Block = contextlib.AbstractContextManager[None]


def cells() -> list[str]:
    """Return the names of all cells, the default database first."""
    return [DEFAULT_DB_ALIAS, *settings.CELLS]


def own_cell() -> str:
    """Return the cell that is the default database of this process."""
    return _own_cell


def serve_cell(cell: str) -> None:
    """Make a cell the default database of this process, and its default one the directory.

    Call before the first connection.
    """
    global _own_cell  # noqa: PLW0603 - one process, one default database
    if cell == _own_cell:
        return
    connections.settings[DIRECTORY] = connections.settings[DEFAULT_DB_ALIAS]
    connections.settings[DEFAULT_DB_ALIAS] = connections.settings[cell]
    # It is a standby of the directory.
    connections.settings.pop(REPLICA, None)
    _own_cell = cell


def alias_of(cell: str) -> str:
    """Return the alias of a cell in this process."""
    if cell == _own_cell:
        return DEFAULT_DB_ALIAS
    return DIRECTORY if cell == DEFAULT_DB_ALIAS else cell


def in_cell(cell: str) -> Block:
    """Use a cell as the default database of this thread during a block."""
    return using_database(alias_of(cell))


def in_directory() -> Block:
    """Use the directory as the default database of this thread during a block.

    Not inside a transaction of another cell.
    """
    return in_cell(DEFAULT_DB_ALIAS) if settings.CELLS else contextlib.nullcontext()


def directory_connection() -> Any:
    """Return this thread's connection to the directory, also inside a block of another cell."""
    if not settings.CELLS:
        return connection
    alias = alias_of(DEFAULT_DB_ALIAS)
    return own_default() if alias == DEFAULT_DB_ALIAS else connections[alias]


def is_in_directory() -> bool:
    """Return whether the default database of this thread is the directory."""
    return not settings.CELLS or connection.alias == alias_of(DEFAULT_DB_ALIAS)


def in_cell_of(organization_id: UUID | None, *, is_fresh: bool = True) -> Block:
    """Use the cell of an organization during a block; see :func:`cell_of`."""
    if not settings.CELLS:
        return contextlib.nullcontext()
    return in_cell(cell_of(organization_id, is_fresh=is_fresh))


def cell_of(organization_id: UUID | None, *, is_fresh: bool = True) -> str:
    """Return the cell of an organization, the default one for an unknown organization.

    Unless ``is_fresh``, the placement may be a few seconds old, or older while the directory is
    unavailable. Raises the errors of an unavailable directory.
    """
    if not settings.CELLS or organization_id is None:
        return DEFAULT_DB_ALIAS
    cell, expires_at = _cache.get(organization_id, ("", 0.0))
    if cell and not is_fresh and time.monotonic() < expires_at:
        return cell
    try:
        with in_directory():
            placements = Placement.objects.filter(pk=organization_id)
            found = placements.values_list("cell", flat=True).first() or DEFAULT_DB_ALIAS
    except (OperationalError, InterfaceError):
        if not cell or is_fresh:
            raise
        found = cell
    with _cache_lock:
        _cache[organization_id] = found, time.monotonic() + CACHE_SECONDS
        _cache.move_to_end(organization_id)
        if len(_cache) > MAX_CACHED:
            _cache.popitem(last=False)
    return found


def forget_placements() -> None:
    """Forget the placements that this process has cached."""
    with _cache_lock:
        _cache.clear()
