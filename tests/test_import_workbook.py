"""Workbooks: the cells as they are shown, the sheet with the products, damage and bombs."""

from __future__ import annotations

import datetime
import gzip
import resource
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from closient.accounts.models import Organization
from dashboard.imports import UnreadableFile
from dashboard.imports.formats import workbook
from tests.importing import EAN, EAN_14, UPC, cells, numbers, product, run, stored, table, write
from tests.shared_data import OPEN_FOOD_FACTS, needs_shared_data
from tests.workbooks import Rows, write_encrypted_xlsx, write_xls, write_xlsb

TOO_LARGE = "The workbook is too large to be opened. Save the sheet as CSV, or split it."
DAMAGED = "The workbook is damaged, or no workbook: open it in a spreadsheet and save it again."


def write_workbook(path: Path, **sheets: Iterable[Sequence[Any]]) -> Path:
    """Write an XLSX file with these sheets."""
    book = openpyxl.Workbook(write_only=True)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def write_parts(path: Path, sheet: Iterable[str]) -> Path:
    """Write an XLSX file whose only sheet has this XML."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    related = "http://schemas.openxmlformats.org/package/2006/relationships"
    relation = (
        f'<Relationships xmlns="{related}"><Relationship Id="r1" Type="{kind}/%s" Target="%s"/>'
        "</Relationships>"
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("_rels/.rels", relation % ("officeDocument", "xl/workbook.xml"))
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{main}" xmlns:r="{kind}"><sheets>'
            '<sheet name="S" sheetId="1" r:id="r1"/></sheets></workbook>',
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels", relation % ("worksheet", "worksheets/sheet1.xml")
        )
        with archive.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as file:
            file.write(f'<worksheet xmlns="{main}"><sheetData>'.encode())
            for block in sheet:
                file.write(block.encode())
            file.write(b"</sheetData></worksheet>")
    return path


def write_ods(
    path: Path, rows: Sequence[Sequence[str]], *, repeated: int = 1, is_encrypted: bool = False
) -> Path:
    """Write an ODS file; its last row is repeated. An encrypted one has contents of any bytes."""
    office = "urn:oasis:names:tc:opendocument:xmlns"
    lines = []
    for row in rows:
        times = repeated if row is rows[-1] else 1
        inner = "".join(
            f'<table:table-cell office:value-type="string"><text:p>{cell}</text:p>'
            "</table:table-cell>"
            for cell in row
        )
        lines.append(
            f'<table:table-row table:number-rows-repeated="{times}">{inner}</table:table-row>'
        )
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    encrypted = (
        '<manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml">'
        '<manifest:encryption-data manifest:checksum="x"/></manifest:file-entry>'
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", kind)
        archive.writestr(
            "META-INF/manifest.xml",
            f'<manifest:manifest xmlns:manifest="{office}:manifest:1.0"><manifest:file-entry '
            f'manifest:full-path="/" manifest:media-type="{kind}"/>'
            + encrypted * is_encrypted
            + "</manifest:manifest>",
        )
        if is_encrypted:
            archive.writestr("content.xml", bytes(range(256)))
            return path
        archive.writestr(
            "content.xml",
            f'<office:document-content xmlns:office="{office}:office:1.0" '
            f'xmlns:table="{office}:table:1.0" xmlns:text="{office}:text:1.0"><office:body>'
            f'<office:spreadsheet><table:table table:name="S">{"".join(lines)}</table:table>'
            "</office:spreadsheet></office:body></office:document-content>",
            zipfile.ZIP_DEFLATED,
        )
    return path


def refusal(path: Path) -> str:
    """Return why a file is refused."""
    with pytest.raises(UnreadableFile) as refused:
        list(table(path).rows())
    return str(refused.value)


def test_cells_are_read_as_a_spreadsheet_holds_them(tmp_path: Path) -> None:
    rows = [
        ["gtin", "name", "net content"],
        [4006381333931, "Müsli\nzwei", 1.5],
        [EAN, 0.0000001, 12],
        [True, datetime.date(2026, 1, 2), datetime.datetime(2026, 1, 2, 3, 4)],
        [datetime.time(3, 4), "#N/A", None],
    ]
    # The ending of the name does not matter: uploaded files are stored without one.
    opened = table(write_workbook(tmp_path / "upload", S=rows))
    assert list(opened.rows()) == [
        (2, ["4006381333931", "Müsli\nzwei", "1.5"]),
        (3, [EAN, "0.0000001", "12"]),
        (4, ["TRUE", "2026-01-02", "2026-01-02T03:04:00"]),
        (5, ["03:04:00", "", ""]),
    ]
    assert (opened.delimiter, opened.encoding, list(opened.notices)) == (None, "utf-8-sig", [])


@pytest.mark.parametrize("write_old", [write_xls, write_xlsb])
def test_older_and_binary_workbooks_are_read(
    tmp_path: Path, write_old: Callable[[Path, Rows], Path]
) -> None:
    rows: Rows = [
        ["gtin", "name", "net content"],
        [4006381333931, "Müsli 茶", 1.5],
        [f"0{UPC}", "x" * 300, 2],
    ]
    opened = table(write_old(tmp_path / "upload", rows))
    assert list(opened.titles) == ["gtin", "name", "net content"]
    assert list(opened.rows()) == [
        (2, [EAN, "Müsli 茶", "1.5"]),
        (3, [f"0{UPC}", "x" * 300, "2"]),
    ]


def test_sheet_with_a_header_is_read(tmp_path: Path) -> None:
    path = write_workbook(
        tmp_path / "products.xlsx",
        Help=[["Read this", "first"], ["and", "this"]],
        Products=[[], ["Our list"], [None, "GTIN", "Name"], [], [None, EAN, "x"], [None, UPC]],
        More=[["gtin"], [UPC]],
    )
    opened = table(path)
    assert (opened.header_line, opened.titles) == (3, ["", "GTIN", "Name"])
    assert list(opened.rows()) == [(5, ["", EAN, "x"]), (6, ["", UPC, ""])]
    assert opened.notices == ("Read the sheet 'Products'.", "Skipped 1 row above the header.")

    unknown = table(write_workbook(tmp_path / "b.xlsx", Empty=[], A=[["x", "y"], ["1", "2"]]))
    assert (unknown.titles, cells(unknown)) == (["x", "y"], [["1", "2"]])
    named = workbook.WorkbookFile(table(path).source, lambda names: False, sheet="More")
    assert (named.titles, cells(named)) == (["gtin"], [[UPC]])


@pytest.mark.parametrize("pack", ["gzip", "zip", None])
@pytest.mark.parametrize("kind", ["xlsx", "ods"])
def test_workbook_is_read_from_an_archive(tmp_path: Path, kind: str, pack: str | None) -> None:
    rows = [["gtin", "name"], [EAN, "Müsli"]]
    path = tmp_path / f"products.{kind}"
    if kind == "xlsx":
        write_workbook(path, S=rows)
    else:
        write_ods(path, rows)
    if pack == "gzip":
        (tmp_path / "a").write_bytes(gzip.compress(path.read_bytes()))
        path = tmp_path / "a"
    elif pack == "zip":
        with zipfile.ZipFile(tmp_path / "a", "w") as archive:
            archive.write(path, f"folder/{path.name}")
            archive.writestr("__MACOSX/._x", "x")
        path = tmp_path / "a"
    assert cells(table(path)) == [[EAN, "Müsli"]]


@pytest.mark.django_db
def test_rejected_rows_of_a_workbook_can_be_corrected(
    organization: Organization, tmp_path: Path
) -> None:
    path = write_workbook(
        tmp_path / "products.xlsx", S=[["List"], ["GTIN", "Name"], [EAN, "a"], [123, "ü\nb"]]
    )
    assert numbers(run(path, organization, skip_bad_rows=True)) == (2, 1, 0, 0, 1)
    rejects = tmp_path / "products.rejects.csv"
    text = rejects.read_bytes().decode()
    assert text == (
        '\ufeffGTIN,Name,_line,_reason\r\n123,"ü\nb",4,"gtin: A GTIN has 8, 12, 13 or 14 digits; '
        "this one has 3 (found '123'); name: contains the control character U+000A\"\r\n"
    )
    corrected = write(tmp_path, text.replace("123", UPC, 1).replace("\nb", ""), "corrected.csv")
    assert numbers(run(corrected, organization)) == (1, 1, 0, 0, 0)
    assert stored(organization)[1] == product(gtin=EAN_14, name="a")


@pytest.mark.slow
@pytest.mark.django_db
@needs_shared_data
def test_real_export_is_the_same_as_a_workbook(organization: Organization, tmp_path: Path) -> None:
    text = table(OPEN_FOOD_FACTS)
    rows = cells(text)
    path = write_workbook(tmp_path / "products.xlsx", S=[list(text.titles), *rows])
    opened = table(path)
    assert list(opened.titles) == list(text.titles)
    assert cells(opened) == rows
    rejects = tmp_path / "rejects.csv"
    first = run(OPEN_FOOD_FACTS, organization, skip_bad_rows=True, rejects=rejects)
    again = run(path, organization, skip_bad_rows=True, rejects=rejects)
    assert numbers(again) == (first.total, 0, 0, first.created, first.rejected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04\x14\0\x06\0" + bytes(100), "The ZIP archive is damaged or cut short."),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(2000), DAMAGED),
    ],
)
def test_damaged_workbook_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "products.xlsx"
    path.write_bytes(content)
    assert refusal(path) == message


@pytest.mark.parametrize("ending", ["", ".xlsx"])
@pytest.mark.parametrize("kind", ["xlsx", "xls", "ods"])
def test_workbook_with_a_password_is_refused(tmp_path: Path, kind: str, ending: str) -> None:
    # Uploaded files have no ending, and people rename files.
    path = tmp_path / f"upload{ending}"
    if kind == "xlsx":
        write_encrypted_xlsx(path)
    elif kind == "xls":
        write_xls(path, [["gtin"], [EAN]], is_encrypted=True)
    else:
        write_ods(path, [["gtin"], [EAN]], is_encrypted=True)
    assert refusal(path) == "The workbook is protected by a password: save it without."


def test_workbook_without_sheets_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
    assert refusal(path) == DAMAGED
    assert refusal(write_workbook(tmp_path / "b.xlsx", S=[])) == "The workbook has no cells."


def cell(place: str, text: str) -> str:
    return f'<c r="{place}" t="inlineStr"><is><t>{text}</t></is></c>'


@pytest.mark.parametrize("bomb", ["corner", "text", "blank", "repeated"])
def test_workbook_bomb_is_refused(
    tmp_path: Path, bomb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.xlsx"
    if bomb == "corner":
        row = f'<row r="1">{cell("A1", "gtin")}</row>'
        write_parts(path, [row, f'<row r="1048576">{cell("XFD1048576", "x")}</row>'])
    elif bomb == "text":
        text = ("x" * 1_000_000 for _ in range(20))
        write_parts(path, ['<row><c t="inlineStr"><is><t>', *text, "</t></is></c></row>"])
    elif bomb == "blank":
        monkeypatch.setattr(workbook, "MAX_UNPACKED_BYTES", 50_000_000)
        write_parts(path, (" " * 10_000_000 for _ in range(6)))
    else:
        write_ods(path, [["gtin"], ["x"] * 1000], repeated=1_000_000_000)
    assert path.stat().st_size < 5_000_000
    began = time.monotonic()
    # The library cannot tell a workbook with too many cells from a damaged one by its contents.
    messages = {"text": "A cell is longer than 131,072 characters.", "repeated": DAMAGED}
    assert refusal(path) == messages.get(bomb, TOO_LARGE)
    assert time.monotonic() - began < 60
    # Not in this process.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 1024 * 1024


# XML has no other control characters; the library that writes takes a text after = for a formula.
NASTY = st.text(st.sampled_from(list("ab ü茶,;\t|\"\\'=\n<&>_\U0001f600")), max_size=8).map(
    lambda text: text.lstrip("=")
)


@given(st.lists(st.tuples(NASTY, NASTY, NASTY), max_size=6))
@settings(max_examples=15, deadline=None)
def test_every_cell_is_read_back(rows: list[tuple[str, str, str]]) -> None:
    titles = ["gtin", "name", "description"]
    filled = [list(row) for row in rows if any(row)]
    with tempfile.TemporaryDirectory() as folder:
        path = write_workbook(Path(folder) / "products.xlsx", S=[titles, *filled])
        assert cells(table(path)) == filled
