"""The host of a URL as a generated column, by which queues of URLs are read."""

from __future__ import annotations

from django.db.models import Func, Value
from django.db.models.functions import Coalesce, Left, Lower

# The host between scheme and path, without user info and port. It groups rows, so that one huge
# host cannot block a queue. Requests go to the canonical host (offers.url_checks.fetch.urls).
# No host is longer (RFC 1035, section 2.3.4), and an index cannot hold much longer texts.
_HOST = r"^[a-z][a-z0-9+.-]*://(?:[^/?#]*@)?(\[[^]/?#]*\]|[^:/?#]*)"


def host_of(column: str) -> Left:
    """Return the expression of the host of a column's URL, in lower case; empty without one."""
    return Left(
        Func(
            Coalesce(Func(Lower(column), Value(_HOST), function="substring"), Value("")),
            Value("."),
            function="rtrim",
        ),
        253,
    )
