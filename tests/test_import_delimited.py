"""Delimited text as people and programs write it: headers, encodings, stray quotation marks."""

from __future__ import annotations

import csv
import io
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from closient.accounts.models import Organization
from dashboard.imports import UnreadableFile
from dashboard.imports.formats.delimited import NEVER_CLOSED
from dashboard.imports.rejects import BadRow
from dashboard.imports.text_file import READ_AS, UNKNOWN_ENCODING
from tests.importing import EAN, UPC, cells, numbers, product, run, stored, table, write

MEBIBYTE = 1024 * 1024
ROW = [EAN, "Müsli", "B"]


@pytest.mark.parametrize(
    ("above", "line", "notices"),
    [
        ("", 1, ()),
        ("\r\n\r\n", 3, ()),
        ("Product list 2026;;\r\n;;\r\n", 3, ("Skipped 1 row above the header.",)),
        ("Our list, with a comma\r\n\r\nof 2026\r\n", 4, ("Skipped 2 rows above the header.",)),
        ("sep=;\r\n", 2, ()),
        ('\r\n"sep=;"\r\nList\r\n', 4, ("Skipped 1 row above the header.",)),
        ("Supplier;Label;Brand\r\n", 2, ("Skipped 1 row above the header.",)),
    ],
)
def test_header_is_found_below_blank_lines_and_titles(
    tmp_path: Path, above: str, line: int, notices: tuple[str, ...]
) -> None:
    text = f"{above}gtin;name;brand\r\n{';'.join(ROW)}\r\n"
    opened = table(write(tmp_path, text))
    assert (opened.delimiter, opened.header_line) == (";", line)
    assert (list(opened.titles), tuple(opened.notices)) == (["gtin", "name", "brand"], notices)
    assert list(opened.rows()) == [(line + 1, ROW)]


def test_separator_line_wins_over_other_delimiters(tmp_path: Path) -> None:
    opened = table(write(tmp_path, f"sep=,\ngtin;x,name\n{EAN};1,a\n"))
    assert (opened.delimiter, list(opened.titles)) == (",", ["gtin;x", "name"])


def test_header_without_known_names_is_the_first_row_with_two_cells(tmp_path: Path) -> None:
    # The type of a number is no title, although it is the name of a column.
    text = f"Liste\n\nArtikel|Bezeichnung, lang|Art\n{EAN}|a, b|EAN\n{UPC}|c|UPC\n"
    opened = table(write(tmp_path, text))
    assert (opened.delimiter, opened.header_line) == ("|", 3)
    assert list(opened.titles) == ["Artikel", "Bezeichnung, lang", "Art"]


@pytest.mark.parametrize(
    ("content", "encoding", "notices"),
    [
        ("Crème brûlée".encode(), "utf-8", ()),
        (b"\xef\xbb\xbf\xef\xbb\xbf" + b"x", "utf-8-sig", ()),
        (
            "Crème brûlée 5 € „süß“".encode("cp1252"),
            "cp1252",
            (READ_AS.format(name="Windows-1252"),),
        ),
        (
            "Żółty ser dojrzewający – mąka 1 kg 5 °C".encode("cp1250"),
            "cp1250",
            (READ_AS.format(name="Windows-1250"),),
        ),
        (
            "Ayçiçek yağı peynir SÜT ŞİŞESİ".encode("cp1254"),
            "cp1254",
            (READ_AS.format(name="Windows-1254"),),
        ),
        (
            "Müsli Käse Größe „M“".encode("mac_roman"),
            "mac_roman",
            (READ_AS.format(name="Mac OS Roman"),),
        ),
        ("Молоко пастеризованное".encode("cp1251"), "utf-8", (UNKNOWN_ENCODING,)),
    ],
)
@pytest.mark.slow
def test_encoding_is_detected(
    tmp_path: Path, content: bytes, encoding: str, notices: tuple[str, ...]
) -> None:
    mark, text = (content[:6], b"x") if encoding == "utf-8-sig" else (b"", content)
    path = tmp_path / "products.csv"
    path.write_bytes(mark + b"gtin,name\n" + b"1,x\n" * 300_000 + b"2," + text + b"\n")
    opened = table(path)
    assert (opened.encoding, tuple(opened.notices)) == (encoding, notices)
    *_, (line, row) = opened.rows()
    assert line == 300_002
    assert row == ["2", text.decode(encoding, "surrogateescape")]
    assert list(opened.titles) == ["gtin", "name"]


@pytest.mark.django_db
def test_windows_file_is_imported_and_rejects_keep_its_bytes(
    organization: Organization, tmp_path: Path
) -> None:
    path = write(tmp_path, f"gtin,name\n{EAN},Müsli\n1,Crème\n", encoding="cp1252")
    result = run(path, organization, skip_bad_rows=True)
    assert numbers(result) == (2, 1, 0, 0, 1)
    assert [product["name"] for product in stored(organization)] == ["Müsli"]
    assert result.rejects is not None
    assert "1,Crème,3,".encode("cp1252") in result.rejects.read_bytes()


@pytest.mark.parametrize(
    ("line", "row"),
    [
        (f"{EAN},a,b", [EAN, "a", "b"]),
        (EAN, [EAN, "", ""]),
        (f"{EAN},a,b,,", [EAN, "a", "b"]),
        (f'{EAN},"a" x,b', [EAN, "a x", "b"]),
        (f'{EAN},5" nail,TV 55"', [EAN, '5" nail', 'TV 55"']),
        (f'{EAN},"Plate \\"blue\\" big","b"', [EAN, 'Plate "blue" big', "b"]),
        (f'{EAN},"say \\"hi, all\\"","b"', [EAN, 'say "hi, all"', "b"]),
        (f'{EAN},"two\n\\"lines\\", x",b', [EAN, 'two\n"lines", x', "b"]),
        # Valid in RFC 4180, so a backslash is a backslash.
        (f'{EAN},"C:\\","a\\""b"', [EAN, "C:\\", 'a\\"b']),
        (f'{EAN},"two\nlines" x,b', [EAN, "two\nlines x", "b"]),
    ],
)
def test_row_is_read_as_spreadsheets_read_it(tmp_path: Path, line: str, row: list[str]) -> None:
    opened = table(write(tmp_path, f"gtin,name,brand\n{line}\n{UPC},x,y\n"))
    assert cells(opened) == [row, [UPC, "x", "y"]]


@pytest.mark.parametrize(
    ("lines", "bad"),
    [
        (['A,"never,b', "B,x,y", "C,x,y"], {2: NEVER_CLOSED}),
        (["A,a,b", 'B,x,"y', 'C,x,"y"'], {3: NEVER_CLOSED}),
        (['A,"5 inch,b', 'B,"two, names",y', 'C,"x",y'], {2: NEVER_CLOSED}),
        # The mark is closed by that of a later row, and all cells are there.
        (['A,"Best TV,b', 'B,TV 55",y', "C,x,y"], {2: NEVER_CLOSED}),
        (['"A","a","b', '"B","x","y"', '"C","x","y"'], {2: NEVER_CLOSED}),
        (['"A","a","b""', '"B","x","y"', '"C","x","y"'], {2: NEVER_CLOSED}),
        (["A,a,b", "B,x,y,z", "C,x,y"], {3: "the row has 4 cells, the header 3"}),
        (["A,a,b", f'B,{"x" * 131_073},"y"', "C,x,y"], {3: "a cell is longer than 131,072 char"}),
        (["A,a,b", f"B,{'x' * 131_073},y", "C,x,y"], {3: "a cell is longer than 131,072 char"}),
        (["A,a,b", 'B,"a, b" c, d,e', "C,x,y"], {3: "text follows a closing quotation mark"}),
    ],
)
def test_unreadable_row_costs_no_other_row(
    tmp_path: Path, lines: list[str], bad: dict[int, str]
) -> None:
    gtins = {"A": EAN, "B": UPC, "C": "96385074"}
    text = "\n".join(lines)
    for letter, gtin in gtins.items():
        text = text.replace(f"{letter},", f"{gtin},", 1).replace(f'"{letter}"', f'"{gtin}"', 1)
    rows = list(table(write(tmp_path, f"gtin,name,brand\n{text}\n")).rows())
    reasons = {line: row.reason for line, row in rows if isinstance(row, BadRow)}
    read = [row[0] for _, row in rows if not isinstance(row, BadRow)]
    assert list(reasons) == list(bad)
    assert all(reason.startswith(bad[line]) for line, reason in reasons.items())
    assert read == [gtin for line, gtin in enumerate(gtins.values(), 2) if line not in bad]


@pytest.mark.django_db
def test_row_with_an_open_quotation_mark_is_given_back_and_can_be_corrected(
    organization: Organization, tmp_path: Path
) -> None:
    path = write(tmp_path, f'gtin,name,brand\n{EAN},"5 inch,Acme\n{UPC},"two\nlines",x\n')
    result = run(path, organization, skip_bad_rows=True)
    assert [str(problem) for problem in result.problems] == [
        f"line 2: {NEVER_CLOSED}",
        "line 3: name: contains the control character U+000A",
    ]
    assert result.rejects is not None
    rejects = result.rejects.read_text()
    assert rejects == (
        "gtin,name,brand,_line,_reason\n"
        f'{EAN},"""5 inch",Acme,2,{NEVER_CLOSED}\n'
        f'{UPC},"two\nlines",x,3,name: contains the control character U+000A\n'
    )
    corrected = write(tmp_path, rejects.replace("two\nlines", "one line"), "corrected.csv")
    assert numbers(run(corrected, organization)) == (2, 2, 0, 0, 0)
    assert [each["name"] for each in stored(organization)] == ["one line", '"5 inch']
    assert stored(organization)[1] == product(gtin=f"0{EAN}", name='"5 inch', brand="Acme")


def test_open_quotation_mark_in_a_long_file_costs_one_row(tmp_path: Path) -> None:
    path = write(tmp_path, f'gtin,name\n{EAN},"never\n' + f"{UPC},x\n" * 100_000)
    opened = table(path)
    tracemalloc.start()
    rows = opened.rows()
    assert next(rows) == (2, BadRow(NEVER_CLOSED))
    assert sum(row == [UPC, "x"] for _, row in rows) == 100_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 25 * MEBIBYTE


def test_file_of_open_quotation_marks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.imports.formats.delimited._MAX_READ_AGAIN", 4 * MEBIBYTE)
    # From each line on, the quotation marks are closed and opened again up to the last line.
    path = write(tmp_path, "gtin,name\n" + 'x",",\n' * 200_000)
    with pytest.raises(UnreadableFile, match="too many quotation marks are never closed"):
        list(table(path).rows())


# Cells with everything that has a meaning in some dialect.
NASTY = st.text(st.sampled_from(list("ab ü茶,;\t|\"\\'=\n\r\0\ufeff")), max_size=8)
DIALECTS = st.tuples(
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from([(csv.QUOTE_ALL, "\n"), (csv.QUOTE_ALL, "\r\n"), (csv.QUOTE_MINIMAL, "\r\n")]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-32-be"]),
)
TITLES = ["gtin", "name", "description"]


def written(rows: list[list[str]], delimiter: str, quoting: int, line_end: str) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=line_end).writerows(rows)  # type: ignore[arg-type]
    return text.getvalue()


@given(st.lists(st.tuples(NASTY, NASTY, NASTY), max_size=6), DIALECTS)
@settings(max_examples=80, deadline=None)
def test_every_cell_is_read_back(
    rows: list[tuple[str, str, str]], dialect: tuple[str, tuple[int, str], str]
) -> None:
    delimiter, (quoting, line_end), encoding = dialect
    all_cells = [list(row) for row in rows if any(row)]
    text = written([TITLES, *all_cells], delimiter, quoting, line_end)
    with tempfile.TemporaryDirectory() as folder:
        opened = table(write(Path(folder), text, encoding=encoding))
        assert (opened.delimiter, list(opened.titles)) == (delimiter, TITLES)
        assert cells(opened) == all_cells


# A mark that opens before a delimiter, or in a cell with line breaks, may be anything.
TEXTS = st.just("") | NASTY.map(lambda text: "a" + text.replace("\r", " ").replace("\n", " "))


@given(
    st.lists(st.tuples(TEXTS, TEXTS), min_size=2, max_size=8),
    DIALECTS,
    st.data(),
)
@settings(max_examples=80, deadline=None)
def test_one_stray_quotation_mark_costs_one_row(
    texts: list[tuple[str, str]], dialect: tuple[str, tuple[int, str], str], data: st.DataObject
) -> None:
    delimiter, (quoting, line_end), _ = dialect
    rows = [[f"40063813{number:05}", *row] for number, row in enumerate(texts)]
    records = [written([row], delimiter, quoting, line_end) for row in rows]
    hit = data.draw(st.integers(0, len(rows) - 1))
    # Before the line end: behind it the mark would belong to the next row.
    place = data.draw(st.integers(0, len(records[hit]) - len(line_end)))
    records[hit] = f'{records[hit][:place]}"{records[hit][place:]}'
    text = written([TITLES], delimiter, quoting, line_end) + "".join(records)
    with tempfile.TemporaryDirectory() as folder:
        found = [row for _, row in table(write(Path(folder), text)).rows()]
    others = [row for place, row in enumerate(rows) if place != hit]
    assert [row for row in found if row in others] == others
