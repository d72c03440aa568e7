"""UUID keys: time-ordered, so that inserts stay local in the indexes (RFC 9562, section 5.7)."""

from uuid import UUID

from uuid_utils import compat


def new_key() -> UUID:
    """Return a new version 7 UUID."""
    return compat.uuid7()
