"""A fixed day for tests of dates."""

from __future__ import annotations

import datetime

# In the far future: compaction uses the database's clock, which tests cannot set.
NOON = datetime.datetime(2096, 11, 24, 12, tzinfo=datetime.UTC)
TODAY = NOON.date()


def days_ahead(days: int) -> datetime.date:
    return TODAY + datetime.timedelta(days=days)
