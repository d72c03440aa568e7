"""The responses of exports, the same for pages and the API."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

from django.db import connection
from django.http import FileResponse, StreamingHttpResponse
from django.utils.http import content_disposition_header
from django.utils.text import slugify

from closient.accounts.models import Organization
from closient.http.parameters import parameter_error
from closient.http.problems import Problem
from closient.text.csv_safety import keep_apostrophes
from dashboard.exports.formats import ExportFormat, csv_pieces, json_lines_pieces
from dashboard.exports.snapshots import (
    RETRY_AFTER_SECONDS,
    Deadline,
    Exporter,
    snapshot,
    streamed,
)
from dashboard.exports.tables import ExportTable
from dashboard.exports.workbook import MAX_CHARACTERS, CellTooLong, write_workbook

PIECE_BYTES = 64 * 1024


def list_response(
    exporter: Exporter,
    organization: Organization,
    table: ExportTable,
    values: Mapping[str, Any],
    export_format: ExportFormat,
) -> StreamingHttpResponse:
    """Return all rows of a list as a file.

    ``values`` are those of the list's parameters and of ``SEPARATOR``. CSV and JSON Lines are sent
    while they are read; a workbook is written to a temporary file first. Raises ``rate_limited``
    above the limits of exports, and ``validation_error`` if a text does not fit into a cell.
    """
    separator = values.get("separator")
    if separator is not None and export_format is not ExportFormat.CSV:
        detail = f"Only CSV has a separator; leave it out with format={export_format}."
        raise Problem("validation_error", errors=[parameter_error("separator", "not_csv", detail)])
    exporter.count()
    rows = table.list_of(organization, values)
    file_name = _file_name(table.name, organization, export_format.value)
    if export_format is ExportFormat.XLSX:
        return _of_file(_workbook(exporter, table, rows), file_name, export_format.media_type)
    exporter.check_slot()
    charset = f"{export_format.media_type}; charset=utf-8"

    def pieces() -> Iterable[bytes]:
        if export_format is ExportFormat.CSV:
            return csv_pieces(table.header, table.rows(rows), separator=separator)
        return json_lines_pieces(table.objects(rows))

    return _download(streamed(exporter, pieces, alias=connection.alias), file_name, charset)


def _workbook(exporter: Exporter, table: ExportTable, rows: Any) -> IO[bytes]:
    """Return a temporary file with the workbook of a list."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the response closes it
    try:
        with snapshot():
            exporter.acquire_slot()
            values = Deadline().watch(map(_cells, table.rows(rows)))
            write_workbook(file, table.title, table.header, values)
        file.seek(0)
    except BaseException as error:
        file.close()
        if isinstance(error, CellTooLong):
            raise _too_long(error) from None
        if isinstance(error, TimeoutError):
            detail = (
                "The workbook took too long to write: export fewer rows with filters, or "
                "use CSV or JSON Lines."
            )
            raise Problem("unavailable", detail, retry_after=RETRY_AFTER_SECONDS) from None
        raise
    return file


def _cells(row: Sequence[Any]) -> list[Any]:
    """Return a row whose texts come back unchanged from an import."""
    return [keep_apostrophes(value) if isinstance(value, str) else value for value in row]


def _too_long(error: CellTooLong) -> Problem:
    # The first column of each table is the GTIN.
    detail = (
        f"The {error.column} of {error.row[0]} has {error.length:,} characters, and a cell of a "
        f"workbook takes at most {MAX_CHARACTERS:,}: use CSV or JSON Lines."
    )
    return Problem("validation_error", errors=[parameter_error("format", "cell_too_long", detail)])


def archive_response(
    exporter: Exporter, organization: Organization, pieces: Iterable[bytes]
) -> StreamingHttpResponse:
    """Return the archive of an organization, whose ``pieces`` are read from one snapshot.

    Raises ``rate_limited`` above the limits of exports.
    """
    exporter.count()
    exporter.check_slot()
    body = streamed(exporter, lambda: pieces, alias=connection.alias)
    return _download(body, _file_name("archive", organization, "zip"), "application/zip")


def _file_name(name: str, organization: Organization, suffix: str) -> str:
    of = slugify(organization.name, allow_unicode=True) or "organization"
    return f"{name}-{of}-{organization.today().isoformat()}.{suffix}"


def _of_file(file: IO[bytes], file_name: str, content_type: str) -> FileResponse:
    """Return a response that sends a file and closes it."""
    response = FileResponse(file, content_type=content_type, headers=_headers(file_name))
    response.block_size = PIECE_BYTES
    return response


def _download(pieces: Iterator[bytes], file_name: str, content_type: str) -> StreamingHttpResponse:
    """Return a response that sends pieces as they come."""
    return StreamingHttpResponse(pieces, content_type=content_type, headers=_headers(file_name))


def _headers(file_name: str) -> dict[str, str]:
    disposition = content_disposition_header(as_attachment=True, filename=file_name)
    return {
        "Cache-Control": "private, no-store",
        "Content-Disposition": disposition or "attachment",
        # Keeps nginx from buffering the whole file.
        "X-Accel-Buffering": "no",
    }
