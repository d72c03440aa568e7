"""Check whether a worker in this container is running: ``python -m closient.periodic.health``.

The exit status is 0 if a worker on this host has reported within the last minute. Loads no Django
apps, to be fast.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "closient.settings")

import psycopg
from django.db import Error, connection

from closient.periodic.reports import MAX_SILENCE_SECONDS, host_name


def main() -> int:
    """Print when the worker has last reported, and return the exit status."""
    host = host_name()
    try:
        connection.ensure_connection()
        # psycopg's own connection: Django's cursors warn while its apps are not loaded.
        row = connection.connection.execute(
            "SELECT extract(epoch FROM statement_timestamp() - max(seen_at)) "
            "FROM public.jobs_worker WHERE host = %s",
            [host],
        ).fetchone()
    except (Error, psycopg.Error) as error:
        print(f"{type(error).__name__}: {error}".strip())
        return 1
    (seconds,) = row
    if seconds is None:
        print(f"no worker on {host} has reported")
        return 1
    print(f"a worker on {host} reported {seconds:.0f} seconds ago")
    return 0 if seconds < MAX_SILENCE_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
