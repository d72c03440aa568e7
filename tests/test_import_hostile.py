"""Hostile files: a clear error, constant memory, and nothing stored."""

from __future__ import annotations

import csv
import gzip
import json
import struct
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from closient.accounts.models import Organization
from closient.text.csv_safety import escape_cell
from dashboard.imports import UnreadableFile
from dashboard.imports.formats import json_lines
from dashboard.imports.formats.header import find_header
from dashboard.imports.layouts import magento, mapping
from dashboard.imports.repair.addresses import split_addresses
from dashboard.imports.repair.amounts import read_amount
from dashboard.imports.repair.conventions import Conventions
from tests.importing import EAN, EAN_14, UPC, UPC_14, numbers, product, run, stored, write

pytestmark = pytest.mark.django_db

MEBIBYTE = 1024 * 1024


@pytest.fixture
def _memory_limit() -> Iterator[None]:
    """Fail the test if it allocates more than a few lines of memory."""
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 25 * MEBIBYTE


def zipped(folder: Path, start: bytes, block: bytes, times: int) -> Path:
    """Write a gzip file of a start and a repeated block, without keeping it in memory."""
    path = folder / "products.csv.gz"
    with gzip.open(path, "wb", compresslevel=9) as file:
        file.write(start)
        for _ in range(times):
            file.write(block)
    return path


def rejection(path: Path, organization: Organization) -> str:
    """Return why a file is rejected, with and without skipping bad rows."""
    with pytest.raises(UnreadableFile) as rejected:
        run(path, organization, skip_bad_rows=True)
    assert stored(organization) == []
    return str(rejected.value)


@pytest.mark.usefixtures("_memory_limit")
def test_endless_line_is_rejected(organization: Organization, tmp_path: Path) -> None:
    path = write(tmp_path, f"gtin,name\n{UPC},x\n{EAN},{'x' * 10_000_000}\n")
    assert rejection(path, organization) == "line 3: The line is longer than 1,000,000 characters."


@pytest.mark.usefixtures("_memory_limit")
def test_endless_json_line_is_rejected(organization: Organization, tmp_path: Path) -> None:
    path = write(tmp_path, '{"gtin": "' + "9" * 10_000_000)
    assert rejection(path, organization) == "line 1: The line is longer than 1,000,000 characters."


@pytest.mark.usefixtures("_memory_limit")
def test_gzip_bomb_of_one_line_is_rejected(organization: Organization, tmp_path: Path) -> None:
    path = zipped(tmp_path, b"gtin,name\n", b"0" * MEBIBYTE, 30)
    assert path.stat().st_size < MEBIBYTE
    assert rejection(path, organization) == "line 2: The line is longer than 1,000,000 characters."


@pytest.mark.usefixtures("_memory_limit")
def test_gzip_bomb_of_empty_lines_is_rejected(
    organization: Organization, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.imports.files.UNJUDGED_BYTES", 4 * MEBIBYTE)
    path = zipped(tmp_path, b"gtin,name\n", b" " * 65_535 + b"\n", 100)
    assert rejection(path, organization).endswith(
        "The file unpacks to more than 200 times its size, which no catalog does. "
        "If it is a catalog, unpack it first."
    )


@pytest.mark.usefixtures("_memory_limit")
def test_archive_with_a_huge_directory_is_rejected_before_it_is_read(
    organization: Organization, tmp_path: Path
) -> None:
    path = tmp_path / "products.zip"
    size = 100 * MEBIBYTE
    with path.open("wb") as file:
        file.write(b"PK\x03\x04")
        file.truncate(size)
        file.seek(size)
        # End of central directory record: APPNOTE.TXT 4.3.16.
        file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65_535, 65_535, size - 4, 4, 0))
    assert rejection(path, organization) == (
        "The ZIP archive has too many files; exactly one is read: import them one by one."
    )


def test_gzip_within_gzip_is_rejected(organization: Organization, tmp_path: Path) -> None:
    inner = gzip.compress(f"gtin\n{EAN}\n".encode())
    path = zipped(tmp_path, inner, b"", 0)
    assert rejection(path, organization) == (
        "The file is not a table: it looks like gzip within gzip. Save it as CSV or XLSX."
    )


@pytest.mark.parametrize("lost", [1, 8, 30])
def test_truncated_gzip_is_rejected(organization: Organization, tmp_path: Path, lost: int) -> None:
    path = write(tmp_path, f"gtin,name\n{EAN},Müsli\n{UPC},x\n", "products.csv.gz")
    path.write_bytes(path.read_bytes()[:-lost])
    assert rejection(path, organization).endswith("The gzip file is damaged or cut short.")


def test_pdf_is_rejected(organization: Organization, tmp_path: Path) -> None:
    path = write(tmp_path, "%PDF-1.7 gtin,name")
    assert rejection(path, organization) == (
        "The file is not a table: it looks like a PDF. Save it as CSV or XLSX."
    )


def test_missing_file_is_rejected(organization: Organization, tmp_path: Path) -> None:
    path = tmp_path / "absent.csv"
    assert rejection(path, organization) == f"{path} cannot be opened: No such file or directory."


def test_bytes_of_another_encoding_reject_only_their_row(
    organization: Organization, tmp_path: Path
) -> None:
    path = tmp_path / "products.csv"
    rows = [f"gtin,name\n{UPC},Crème\n".encode(), f"{EAN},Müsli\n".encode("latin-1")]
    path.write_bytes(b"".join(rows))

    result = run(path, organization, skip_bad_rows=True)

    assert [str(problem) for problem in result.problems] == [
        "line 3: name: contains bytes or escapes that are not valid Unicode"
    ]
    assert stored(organization) == [product(gtin=UPC_14, name="Crème")]
    assert result.rejects is not None
    # The rejects contain the original bytes.
    assert rows[1].rstrip(b"\n") in result.rejects.read_bytes()


def test_nul_rejects_only_its_row(organization: Organization, tmp_path: Path) -> None:
    path = write(tmp_path, f"gtin,name\n{EAN},a\0b\n{UPC},c\n")
    result = run(path, organization, skip_bad_rows=True)
    assert [str(problem) for problem in result.problems] == [
        "line 2: name: contains the control character U+0000"
    ]
    assert stored(organization) == [product(gtin=UPC_14, name="c")]


def test_lone_surrogates_reject_only_their_row(organization: Organization, tmp_path: Path) -> None:
    path = tmp_path / "products.csv"
    path.write_bytes(
        f"\ufeffgtin,name\n{EAN},a\ud800b\n{UPC},c\n".encode("utf-16-le", "surrogatepass")
    )
    result = run(path, organization, skip_bad_rows=True)
    assert [str(problem) for problem in result.problems] == [
        "line 2: name: contains bytes or escapes that are not valid Unicode"
    ]
    assert stored(organization) == [product(gtin=UPC_14, name="c")]


def test_utf_16_with_half_a_character_is_rejected(
    organization: Organization, tmp_path: Path
) -> None:
    path = write(tmp_path, f"gtin,name\n{EAN},a\n", encoding="utf-16")
    path.write_bytes(path.read_bytes()[:-1])
    assert rejection(path, organization).endswith("The file is not valid UTF-16-LE text.")


def test_cells_that_look_like_sql_or_formulas_are_stored_as_text(
    organization: Organization, tmp_path: Path
) -> None:
    name = "'); DROP TABLE catalog_product; -- \\N \\. %s {0} $1"
    path = write(tmp_path, f"gtin,name,description\n{EAN},{name},=cmd|' /C calc'!A0\n")
    assert numbers(run(path, organization)) == (1, 1, 0, 0, 0)
    assert stored(organization) == [
        product(gtin=EAN_14, name=name, description="=cmd|' /C calc'!A0")
    ]


@pytest.mark.parametrize("title", ["name", "product_name"])
@pytest.mark.parametrize("kind", ["csv", "json"])
@pytest.mark.parametrize("name", ["=1+1", "'=1+1"])
def test_rejected_formulas_are_no_formulas_in_a_spreadsheet(
    organization: Organization, tmp_path: Path, title: str, kind: str, name: str
) -> None:
    # The second layout is that of Open Food Facts. A CSV has its formulas escaped already, or not.
    if kind == "csv":
        path = write(tmp_path, f"code,{title}\n123,{name}\n{UPC},a\n", "in.csv")
        name = "=1+1"
    else:
        rows = [{"code": "123", title: name}, {"code": UPC, title: "a"}]
        path = write(tmp_path, json.dumps(rows), "in.json")
    assert numbers(run(path, organization, skip_bad_rows=True)) == (2, 1, 0, 0, 1)
    text = (tmp_path / "in.rejects.csv").read_text("utf-8-sig")
    cell = next(csv.DictReader(text.splitlines()))[title]
    assert cell == escape_cell(name)
    assert cell.startswith("'")
    corrected = write(tmp_path, text.replace("123", EAN, 1), "corrected.csv")
    assert numbers(run(corrected, organization)) == (1, 1, 0, 0, 0)
    assert {each["name"] for each in stored(organization)} == {"a", name}


def test_title_of_a_rejects_file_is_no_formula_in_a_spreadsheet(
    organization: Organization, tmp_path: Path
) -> None:
    table = [{"+1": "123", "Titel": "a"}, {"+1": UPC, "Titel": "b"}]
    path = write(tmp_path, json.dumps(table), "in.json")
    chosen = {"+1": "gtin", "Titel": "name"}
    assert numbers(run(path, organization, mapping=chosen, skip_bad_rows=True))[1:] == (1, 0, 0, 1)
    text = (tmp_path / "in.rejects.csv").read_text("utf-8-sig")
    assert text.startswith("'+1,Titel,_line,_reason")
    # The mapping fits the corrected file.
    corrected = write(tmp_path, text.replace("123", EAN, 1), "corrected.csv")
    assert numbers(run(corrected, organization, mapping=chosen)) == (1, 1, 0, 0, 0)


@pytest.mark.usefixtures("_memory_limit")
def test_group_that_repeats_its_values_for_many_variants_is_rejected(
    organization: Organization, tmp_path: Path
) -> None:
    common = {f"k{number}": 1 for number in range(20_000)}
    group = {"@type": "ProductGroup", **common, "hasVariant": [{}] * 100_000}
    good = {"@type": "Product", "gtin": EAN, "name": "a", "sku": "1"}
    path = write(tmp_path, f"{json.dumps(good)}\n{json.dumps(group)}\n", "in.json")
    result = run(path, organization, skip_bad_rows=True)
    assert [each.reason for each in result.problems] == [
        "the group has too many values for its number of variants: split it"
    ]
    assert [each["gtin"] for each in stored(organization)] == [EAN_14]


def test_header_of_a_million_columns_is_rejected(
    organization: Organization, tmp_path: Path
) -> None:
    path = write(tmp_path, "gtin" + "," * 900_000 + "\n" + "1\n" * 100)
    began = time.process_time()
    assert rejection(path, organization) == (
        "line 1: The header has 900,001 columns; at most 16,384 are read: delete those that are "
        "not needed."
    )
    assert time.process_time() - began < 5


LENGTH = 100_000
_NO_CONVENTIONS = Conventions(lambda: iter(()))


@pytest.mark.parametrize(
    "read",
    [
        lambda: find_header([["1" + "." * LENGTH + "a"]], lambda names: False),
        lambda: split_addresses("a" + ", " * LENGTH + "b"),
        lambda: split_addresses("a" + " " * LENGTH + "b"),
        lambda: read_amount("1" + " " * LENGTH + "1", "g", _NO_CONVENTIONS, []),
        lambda: magento.attributes("a" * LENGTH),
        lambda: mapping._target_of_parts("_" * LENGTH + "x"),
        lambda: mapping._target_of_parts("(" * LENGTH),
        lambda: json_lines._with_members(f'{{"gtin": "{" " * LENGTH}"}}', '"_line": 1}'),
    ],
    ids=[
        "header",
        "addresses",
        "blank addresses",
        "amount",
        "attributes",
        "title",
        "brackets",
        "rejected line",
    ],
)
def test_long_cell_is_read_in_a_moment(read: Callable[[], object]) -> None:
    # Searches that take time with the square of the length would stop the whole worker: they hold
    # the lock of the interpreter, so that nothing can cancel them.
    began = time.process_time()
    read()
    assert time.process_time() - began < 1
