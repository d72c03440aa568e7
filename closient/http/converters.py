"""The path converter of ids.

It takes any segment and gives ``None`` for one that names nothing, so that the view answers:
a malformed id must pass authentication and the rate limit like every other before its 404.
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
