"""What all forms of the pages share."""

from __future__ import annotations

from typing import Any


class CountsErrors:
    """A Django form that knows in how many fields it was rejected."""

    fields: Any
    errors: Any

    @property
    def error_count(self) -> int:
        """The number of fields with errors."""
        return sum(name in self.fields for name in self.errors)
