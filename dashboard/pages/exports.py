"""Lists as CSV to download: streamed, in flat memory, from one state of the database."""

from __future__ import annotations

import csv
import io
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.conf import settings
from django.http import HttpRequest, StreamingHttpResponse
from django.utils.http import content_disposition_header
from django.utils.text import slugify

from closient.accounts import ratelimit
from closient.accounts.models import User
from closient.accounts.permissions import Access
from closient.db.limits import long_statements
from closient.db.locks import lock_until_commit, try_lock_until_commit
from closient.db.transactions import snapshot
from closient.http.parameters import choice
from closient.http.problems import Problem
from closient.text.csv_safety import harmless
from dashboard.pages.base import require_room

logger = logging.getLogger("dashboard.exports")

# Excel takes the one that the computer's language has: a semicolon where decimals have a comma.
SEPARATORS = {"comma": ",", "semicolon": ";"}
SEPARATOR = choice(
    "separator", "What stands between cells.", words=list(SEPARATORS), example="semicolon"
)
# Exports of one user that run at the same time, and the wait that others are asked for.
MAX_AT_ONCE = 2
BUSY_RETRY_AFTER = 10
# Characters that are sent at once.
PIECE = 64 * 1024
# Without it Excel takes UTF-8 for something else.
_BYTE_ORDER_MARK = "\ufeff"


def csv_download(
    request: HttpRequest,
    name: str,
    header: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    separator: str | None,
) -> StreamingHttpResponse:
    """Return the answer that sends rows as a file called ``name``, with organization and date.

    The request is one to a page of the organization.

    ``rows`` may ask the database as they are read: all their queries see one state, and nothing
    can be written. Cells that a spreadsheet would take for formulas are made harmless; ``None`` is
    an empty cell. The file is UTF-8 as Excel recognizes it, with lines as RFC 4180 wants them;
    ``separator`` is one of ``SEPARATORS``, commas unless it is given.

    A user has a number of exports in a minute, and ``MAX_AT_ONCE`` that run at the same time, in
    all processes together. Raises the ``rate_limited`` problem for more.
    """
    user: Any = request.user
    access: Access = request.access  # type: ignore[attr-defined]
    organization = access.organization
    require_room(ratelimit.take_for_export(user.id), "Too many exports.")
    of = slugify(organization.name, allow_unicode=True) or "organization"
    file = f"{name}-{of}-{organization.today().isoformat()}.csv"
    if not _take_slot(user):
        detail = (
            f"{MAX_AT_ONCE} exports of yours are running: wait until one has finished. "
            f"Try again in {BUSY_RETRY_AFTER} seconds."
        )
        raise Problem("rate_limited", detail, retry_after=BUSY_RETRY_AFTER)
    return StreamingHttpResponse(
        _lines(user, header, rows, SEPARATORS[separator or "comma"]),
        content_type="text/csv; charset=utf-8",
        headers={
            "Content-Disposition": content_disposition_header(as_attachment=True, filename=file)
            or "attachment",
            # Proxies are not to wait until they have all of it.
            "X-Accel-Buffering": "no",
        },
    )


def _slots(user: User) -> list[str]:
    """Return the names of the locks that a user's running exports hold."""
    return [f"export {number} of {user.pk}" for number in range(MAX_AT_ONCE)]


def _take_slot(user: User) -> bool:
    """Take one of a user's slots until the transaction ends; return whether one was free.

    Outside of a transaction that is at once: then it only tells whether one is free.
    """
    return any(try_lock_until_commit(name) for name in _slots(user))


def _lines(
    user: User, header: Sequence[str], rows: Iterable[Sequence[Any]], delimiter: str
) -> Iterator[str]:
    """Yield the lines in pieces, from a transaction that holds one of the user's slots."""
    deadline = time.monotonic() + settings.EXPORT_TIMEOUT
    written = io.StringIO(newline="")
    writer = csv.writer(written, delimiter=delimiter)
    written.write(_BYTE_ORDER_MARK)
    writer.writerow(header)
    with snapshot(), long_statements():
        if not _take_slot(user):
            # Another export took the last slot after this one's status was sent.
            lock_until_commit(_slots(user)[0])
        for row in rows:
            writer.writerow([_cell(value) for value in row])
            if written.tell() >= PIECE:
                yield written.getvalue()
                written.seek(0)
                written.truncate()
                if time.monotonic() > deadline:
                    logger.warning("An export took more than %d s.", settings.EXPORT_TIMEOUT)
                    raise TimeoutError
    yield written.getvalue()


def _cell(value: Any) -> Any:
    return harmless(value) if isinstance(value, str) else value
