"""Error messages for unknown names in requests, with suggestions."""

from __future__ import annotations

import difflib
from collections.abc import Collection

# Unknown names in one response; a body can contain a hundred thousand.
MAX_UNKNOWN = 10
# Longer names get no suggestion: comparing takes quadratic time.
MAX_COMPARED = 100


def unknown_name(name: str, known: Collection[str], *, kind: str) -> str:
    """Return the error message for an unknown name; ``kind`` is for example ``field``."""
    if not known:
        return f"This operation takes no {kind}s."
    close = difflib.get_close_matches(name, known, n=2) if len(name) <= MAX_COMPARED else []
    if close:
        return f"Unknown {kind}. Did you mean {' or '.join(close)}?"
    return f"Unknown {kind}. Use one of {', '.join(known)}."
