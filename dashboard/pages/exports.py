"""Lists as CSV to download: streamed, in flat memory, from one state of the database."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.http import StreamingHttpResponse
from django.utils.http import content_disposition_header
from django.utils.text import slugify

from catalog.formulas import harmless
from closient.accounts.models import Organization
from closient.api.parameters import choice
from closient.api.transactions import snapshot
from closient.db.limits import long_statements

# Excel takes the one that the computer's language has: a semicolon where decimals have a comma.
SEPARATORS = {"comma": ",", "semicolon": ";"}
SEPARATOR = choice(
    "separator", "What stands between cells.", words=list(SEPARATORS), example="semicolon"
)
# So many characters are sent at once.
PIECE = 64 * 1024
# Without it Excel takes UTF-8 for something else.
_BYTE_ORDER_MARK = "\ufeff"


def csv_download(
    organization: Organization,
    name: str,
    header: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    separator: str | None,
) -> StreamingHttpResponse:
    """Return the answer that sends rows as a file called ``name``, with organization and date.

    ``rows`` may ask the database as they are read: all their queries see one state, and nothing
    can be written. Cells that a spreadsheet would take for formulas are made harmless; ``None`` is
    an empty cell. The file is UTF-8 as Excel recognizes it, with lines as RFC 4180 wants them;
    ``separator`` is one of ``SEPARATORS``, commas unless it is given.
    """
    of = slugify(organization.name, allow_unicode=True) or "organization"
    file = f"{name}-{of}-{organization.today().isoformat()}.csv"
    return StreamingHttpResponse(
        _lines(header, rows, SEPARATORS[separator or "comma"]),
        content_type="text/csv; charset=utf-8",
        headers={
            "Content-Disposition": content_disposition_header(as_attachment=True, filename=file)
            or "attachment",
            # Proxies are not to wait until they have all of it.
            "X-Accel-Buffering": "no",
        },
    )


def _lines(header: Sequence[str], rows: Iterable[Sequence[Any]], delimiter: str) -> Iterator[str]:
    written = io.StringIO(newline="")
    writer = csv.writer(written, delimiter=delimiter)
    written.write(_BYTE_ORDER_MARK)
    writer.writerow(header)
    with snapshot(), long_statements():
        for row in rows:
            writer.writerow([_cell(value) for value in row])
            if written.tell() >= PIECE:
                yield written.getvalue()
                written.seek(0)
                written.truncate()
    yield written.getvalue()


def _cell(value: Any) -> Any:
    return harmless(value) if isinstance(value, str) else value
