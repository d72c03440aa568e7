"""The Django database backend of this package."""

from __future__ import annotations

from django.db.backends.postgresql import base

from closient.db.backend import ServiceConnection


class DatabaseWrapper(ServiceConnection, base.DatabaseWrapper):
    """A connection to PostgreSQL."""
