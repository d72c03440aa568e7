"""CSV downloads of lists: streamed in constant memory from one snapshot of the database."""

from __future__ import annotations

import csv
import io
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.conf import settings
from django.db import connection
from django.http import HttpRequest, StreamingHttpResponse
from django.utils.http import content_disposition_header
from django.utils.text import slugify

from closient.accounts import ratelimit
from closient.accounts.models import User
from closient.accounts.permissions import Access
from closient.cells.routing import in_directory
from closient.db.limits import long_statements
from closient.db.locks import lock_until_commit, try_lock_until_commit
from closient.db.replicas import replica_read
from closient.db.routing import using_database
from closient.http.parameters import choice
from closient.http.problems import Problem
from closient.text.csv_safety import escape_cell
from dashboard.pages.base import enforce_limit

logger = logging.getLogger("dashboard.exports")

# Excel expects a semicolon in locales that write decimals with a comma.
SEPARATORS = {"comma": ",", "semicolon": ";"}
SEPARATOR = choice(
    "separator", "The separator between cells.", words=list(SEPARATORS), example="semicolon"
)
# Concurrent exports of one user, and the Retry-After of further ones.
MAX_CONCURRENT = 2
RETRY_AFTER_SECONDS = 10
# Characters sent in one piece.
CHUNK_CHARACTERS = 64 * 1024
# Excel recognizes UTF-8 only with it.
_BYTE_ORDER_MARK = "\ufeff"


def csv_download(
    request: HttpRequest,
    name: str,
    header: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    separator: str | None,
) -> StreamingHttpResponse:
    """Return a streaming CSV response; the file name is ``name`` with organization and date.

    ``request`` must come from an :func:`organization_page`. ``rows`` may query the database while
    they are read: all queries see one snapshot and cannot write. Cells that a spreadsheet would
    treat as formulas are escaped; ``None`` becomes an empty cell. The file is UTF-8 with a byte
    order mark and RFC 4180 line ends. ``separator`` is a key of ``SEPARATORS``; default: comma.

    Raises the ``rate_limited`` problem if the user exceeds the exports per minute, or
    ``MAX_CONCURRENT`` exports at the same time in all processes.
    """
    user: Any = request.user
    access: Access = request.access  # type: ignore[attr-defined]
    organization = access.organization
    with in_directory():
        enforce_limit(ratelimit.count_export(user.id), "Too many exports.")
    of = slugify(organization.name, allow_unicode=True) or "organization"
    file = f"{name}-{of}-{organization.today().isoformat()}.csv"
    if not _is_slot_free(user):
        detail = (
            f"You have {MAX_CONCURRENT} exports running: wait until one has finished. "
            f"Try again in {RETRY_AFTER_SECONDS} seconds."
        )
        raise Problem("rate_limited", detail, retry_after=RETRY_AFTER_SECONDS)
    return StreamingHttpResponse(
        _stream(user, header, rows, SEPARATORS[separator or "comma"], connection.alias),
        content_type="text/csv; charset=utf-8",
        headers={
            "Content-Disposition": content_disposition_header(as_attachment=True, filename=file)
            or "attachment",
            # Keeps nginx from buffering the whole file.
            "X-Accel-Buffering": "no",
        },
    )


def _slots(user: User) -> list[str]:
    """Return the names of the advisory locks of a user's exports."""
    return [f"export {number} of {user.pk}" for number in range(MAX_CONCURRENT)]


def _acquire_slot(user: User) -> bool:
    """Acquire one of a user's slots until the transaction ends; return whether one was free."""
    return any(try_lock_until_commit(name) for name in _slots(user))


def _is_slot_free(user: User) -> bool:
    """Check for a free slot on the server that the export will read."""
    with replica_read():
        return _acquire_slot(user)


def _stream(
    user: User, header: Sequence[str], rows: Iterable[Sequence[Any]], delimiter: str, alias: str
) -> Iterator[str]:
    """Yield the file in pieces, from a transaction that holds one of the user's export slots.

    It is read after the page has returned, so it uses the database of the page itself.
    """
    deadline = time.monotonic() + settings.EXPORT_TIMEOUT
    written = io.StringIO(newline="")
    writer = csv.writer(written, delimiter=delimiter)
    written.write(_BYTE_ORDER_MARK)
    writer.writerow(header)
    with using_database(alias), replica_read(), long_statements():
        if not _acquire_slot(user):
            # Another export acquired the last slot after this response had started.
            lock_until_commit(_slots(user)[0])
        for row in rows:
            writer.writerow([_cell(value) for value in row])
            if written.tell() >= CHUNK_CHARACTERS:
                yield written.getvalue()
                written.seek(0)
                written.truncate()
                if time.monotonic() > deadline:
                    logger.warning("An export took more than %d s.", settings.EXPORT_TIMEOUT)
                    raise TimeoutError
    yield written.getvalue()


def _cell(value: Any) -> Any:
    return escape_cell(value) if isinstance(value, str) else value
