"""The path converter of GTINs."""

from __future__ import annotations

from catalog.gtin import InvalidGtin, normalize_gtin


class GtinConverter:
    """``<gtin:name>``: the view gets a GTIN-14, or ``None`` for a segment that is no GTIN.

    Like ids, a segment that names nothing is left to the view (see ``closient.http.converters``).
    """

    regex = "[^/]+"

    def to_python(self, value: str) -> str | None:
        try:
            return normalize_gtin(value)
        except InvalidGtin:
            return None

    def to_url(self, value: str) -> str:
        return value
