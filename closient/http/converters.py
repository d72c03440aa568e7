"""The path converter of ids.

It accepts any segment and returns ``None`` for a malformed id: the view returns the 404 then, after
authentication and the rate limit.
"""

from __future__ import annotations

from uuid import UUID

from closient.db.ids import format_id, parse_id


class IdConverter:
    """``<id:name>``: a shortuuid or a canonical UUID; the view gets a UUID or ``None``."""

    regex = "[^/]+"

    def to_python(self, value: str) -> UUID | None:
        try:
            return parse_id(value)
        except ValueError:
            return None

    def to_url(self, value: UUID | str) -> str:
        return format_id(value) if isinstance(value, UUID) else value
