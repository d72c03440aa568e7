"""Workbooks (XLSX), written in constant memory.

Texts are always written as strings, so no cell is a formula or a link, whatever it begins with;
nothing is escaped. Prices are numbers and dates are dates. GTINs and other numbers that only
identify something are strings in cells for text, so that a spreadsheet keeps their zeros.
"""

from __future__ import annotations

import contextlib
import datetime
import tempfile
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import IO, Any
from xml.sax.saxutils import escape

import xlsxwriter
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

# Of a sheet (Excel specifications and limits), the header included. Characters are UTF-16 units.
MAX_ROWS = 1_048_576
MAX_CHARACTERS = 32_767
# Before it, spreadsheets differ by a day, or have no dates at all.
FIRST_DATE = datetime.date(1900, 3, 1)

# In characters.
DEFAULT_WIDTH = 16
WIDTHS = {
    "name": 36,
    "product_name": 36,
    "description": 48,
    "brand": 20,
    "manufacturer": 24,
    "category": 24,
    "image_url": 36,
    "nutrients": 28,
    "metadata": 28,
    "retailer": 22,
    "store": 20,
    "sku": 18,
    "url": 44,
    "price": 12,
    "currency": 11,
    "url_detail": 40,
    "updated_at": 19,
    "url_failing_since": 19,
    "url_checked_at": 19,
    "certification": 20,
    "certification_label": 28,
    "certification_body": 28,
    "certificate_number": 22,
    "issuing_body": 28,
    "verification_url": 36,
}
# Columns whose cells are texts even if they contain digits only.
TEXT_COLUMNS = frozenset({"gtin", "gpc_brick_code", "sku", "certificate_number"})


class CellTooLong(ValueError):
    """A text does not fit into a cell; ``row`` is its row without the header."""

    def __init__(self, column: str, row: Sequence[Any], length: int) -> None:
        super().__init__(f"{column} has {length:,} characters.")
        self.column = column
        self.row = row
        self.length = length


def write_workbook(
    file: IO[bytes], title: str, header: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Write a workbook with the rows below a header; more rows than fit go into further sheets.

    Values are texts, integers, decimals, booleans, dates, times (written in UTC) and ``None``.
    The file is written when all rows have been read. Raises :class:`CellTooLong`.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = {"constant_memory": True, "tmpdir": folder, "use_zip64": True}
        workbook = xlsxwriter.Workbook(file, options)
        try:
            sheet = _Sheet(workbook, title, header)
            count = 1
            for row in rows:
                if sheet.is_full:
                    sheet.finish()
                    count += 1
                    sheet = _Sheet(workbook, f"{title} {count}", header)
                sheet.write(row)
            sheet.finish()
        except BaseException:
            # The temporary files of unfinished sheets are still open.
            for unfinished in workbook.worksheets():
                with contextlib.suppress(AttributeError):
                    unfinished.row_data_fh.close()
            workbook.fileclosed = True
            raise
        workbook.close()


class _Sheet:
    """A sheet that is being written from top to bottom."""

    def __init__(self, workbook: Any, title: str, header: Sequence[str]) -> None:
        self._sheet: Worksheet = workbook.add_worksheet(title)
        self._header = header
        self._formats = _Formats(workbook)
        self._rows = 1
        sheet, last = self._sheet, len(header) - 1
        for place, name in enumerate(header):
            of_text = self._formats.text if name in TEXT_COLUMNS else None
            sheet.set_column(place, place, WIDTHS.get(name, DEFAULT_WIDTH), of_text)
        sheet.freeze_panes(1, 0)
        sheet.ignore_errors({"number_stored_as_text": f"A1:XFD{MAX_ROWS}"})
        sheet.set_landscape()
        sheet.repeat_rows(0)
        for place, name in enumerate(header):
            sheet.write_string(0, place, name, self._formats.header)
        self._last_column = last
        self._writers = [self._writer(name) for name in header]

    @property
    def is_full(self) -> bool:
        return self._rows >= MAX_ROWS

    def write(self, row: Sequence[Any]) -> None:
        """Write the next row."""
        for place, value in enumerate(row):
            if value is not None and value != "":
                self._writers[place](place, value, row)
        self._rows += 1

    def finish(self) -> None:
        """Add the filter, whose range is known now."""
        self._sheet.autofilter(0, 0, self._rows - 1, self._last_column)

    def _writer(self, name: str) -> Callable[[int, Any, Sequence[Any]], None]:
        """Return the function that writes a value of a column."""
        sheet, formats = self._sheet, self._formats
        of_text = formats.text if name in TEXT_COLUMNS else None

        def write(place: int, value: Any, row: Sequence[Any]) -> None:
            if isinstance(value, str):
                length = _utf16_length(value)
                if length > MAX_CHARACTERS or sheet.write_string(
                    self._rows, place, _plain(value), of_text
                ):
                    raise CellTooLong(name, row, length)
            elif isinstance(value, bool):
                sheet.write_boolean(self._rows, place, value)
            elif isinstance(value, Decimal):
                sheet.write_number(self._rows, place, value, formats.decimal(value))
            elif isinstance(value, int):
                sheet.write_number(self._rows, place, value)
            elif isinstance(value, datetime.datetime):
                naive = value.astimezone(datetime.UTC).replace(tzinfo=None, microsecond=0)
                sheet.write_datetime(self._rows, place, naive, formats.time)
            elif value < FIRST_DATE:
                sheet.write_string(self._rows, place, value.isoformat())
            else:
                sheet.write_datetime(self._rows, place, value, formats.date)

        return write


class _Formats:
    """The cell formats of a workbook."""

    def __init__(self, workbook: Any) -> None:
        self._workbook = workbook
        self._by_code: dict[str, Format] = {}
        self.header = workbook.add_format({"bold": True, "bottom": 1, "bg_color": "#E6F2F0"})
        self.text = self._with_code("@")
        self.date = self._with_code("yyyy-mm-dd")
        self.time = self._with_code("yyyy-mm-dd hh:mm:ss")

    def decimal(self, value: Decimal) -> Format:
        """Return the format that shows as many decimals as a value has."""
        exponent = value.as_tuple().exponent
        places = -exponent if isinstance(exponent, int) and exponent < 0 else 0
        return self._with_code(f"0.{'0' * places}" if places else "0")

    def _with_code(self, code: str) -> Format:
        if code not in self._by_code:
            self._by_code[code] = self._workbook.add_format({"num_format": code})
        return self._by_code[code]


def _utf16_length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def _plain(text: str) -> str:
    """Return a text as XlsxWriter writes it unchanged.

    It would take a text that begins and ends like the markup of a formatted one as such markup, so
    this one is put into real markup.
    """
    if text.startswith("<r>") and text.endswith("</r>"):
        return f'<r><t xml:space="preserve">{escape(text)}</t></r>'
    return text
