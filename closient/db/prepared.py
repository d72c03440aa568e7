"""Cursors for statements with a fixed text that every request runs."""

from __future__ import annotations

from typing import Any, cast

from django.db import connection


def prepared_cursor() -> Any:
    """Return a cursor of the default database whose statements the server prepares.

    Each statement is prepared once for each connection. Planning the ones it is for takes longer
    than running them.
    """
    return cast("Any", connection).prepared_cursor()
