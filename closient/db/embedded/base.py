"""The Django database backend of this package."""

from __future__ import annotations

from closient.db.backend import ServiceConnection
from closient.embedded_postgres import base


class DatabaseWrapper(ServiceConnection, base.DatabaseWrapper):
    """A connection to the private server, which the first connection starts."""
