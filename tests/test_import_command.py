"""The import command: its summary, error messages, and the rejects file."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from catalog.gtin import check_digit
from closient.accounts.models import Organization
from closient.db.ids import format_id
from tests.importing import EAN, EAN_14, UPC, UPC_14, product, stored, write

pytestmark = pytest.mark.django_db


def command(path: Path, organization: Organization, *options: str) -> tuple[str, str]:
    """Run the command and return its standard output and error."""
    output, messages = io.StringIO(), io.StringIO()
    call_command(
        "import_products",
        str(path),
        f"--organization={format_id(organization.pk)}",
        *options,
        stdout=output,
        stderr=messages,
    )
    return output.getvalue(), messages.getvalue()


def test_command_prints_one_line_of_numbers(organization: Organization, tmp_path: Path) -> None:
    path = write(tmp_path, f"gtin,price\n{EAN},1\n{UPC},2\n")
    assert command(path, organization) == (
        "total 2 created 2 updated 0 unchanged 0 rejected 0\n",
        "Ignored columns: price\n",
    )
    assert command(path, organization)[0] == "total 2 created 0 updated 0 unchanged 2 rejected 0\n"


def test_command_accepts_a_canonical_id(organization: Organization, tmp_path: Path) -> None:
    path = write(tmp_path, f"gtin\n{EAN}\n")
    call_command(
        "import_products", str(path), organization=str(organization.pk), stdout=io.StringIO()
    )
    assert stored(organization) == [product(gtin=EAN_14)]


@pytest.mark.parametrize(
    "unknown", ["x", "zzzzzzzzzzzzzzzzzzzzzz", "01a20c03-3b7a-7702-8b8f-3713f49f456f"]
)
def test_command_rejects_an_unknown_organization(tmp_path: Path, unknown: str) -> None:
    path = write(tmp_path, f"gtin\n{EAN}\n")
    with pytest.raises(CommandError, match=f"There is no organization '{unknown}'"):
        call_command("import_products", str(path), organization=unknown)


def test_command_lists_the_first_bad_rows_and_imports_nothing(
    organization: Organization, tmp_path: Path
) -> None:
    path = write(tmp_path, f"gtin\n{EAN}\n" + "1\n" * 30)
    with pytest.raises(CommandError) as rejected:
        command(path, organization)
    assert rejected.value.returncode == 1
    reason = "gtin: A GTIN has 8, 12, 13 or 14 digits; this one has 1 (found '1')"
    assert str(rejected.value).split("\n") == [
        *(f"{path}, line {line}: {reason}" for line in range(3, 23)),
        "and 10 more",
        "30 rows were rejected, so nothing was imported.",
        "Correct them, or import the others with --skip-bad-rows.",
    ]
    assert stored(organization) == []


def test_command_reports_an_invalid_file(organization: Organization, tmp_path: Path) -> None:
    path = write(tmp_path, f"sku,name\n{EAN},x\n")
    with pytest.raises(CommandError) as rejected:
        command(path, organization)
    assert str(rejected.value) == (
        f"{path}: line 1: The header has none of the columns gtin, code, barcode, upc, ean; "
        "one of them has to hold the GTIN. Nothing was imported."
    )


def test_dry_run_prints_the_numbers_and_stores_nothing(
    organization: Organization, tmp_path: Path
) -> None:
    path = write(tmp_path, f"gtin,brand\n{EAN},Acme\n1,x\n")
    output, _ = command(path, organization, "--dry-run", "--skip-bad-rows")
    assert output == "total 2 created 1 updated 0 unchanged 0 rejected 1\n"
    assert stored(organization) == []
    assert (tmp_path / "products.rejects.csv").is_file()


def test_command_prints_repairs_and_groups_of_rejected_rows(
    organization: Organization, tmp_path: Path
) -> None:
    wrong = "".join(f"{n:012d}{(int(check_digit(f'{n:012d}')) + 1) % 10}\n" for n in range(21))
    path = write(tmp_path, f"gtin\n36000291452\n {EAN}\n{wrong}1234567890123456\n")
    output, messages = command(path, organization, "--dry-run", "--skip-bad-rows")
    assert output == "total 24 created 2 updated 0 unchanged 0 rejected 22\n"
    lines = messages.splitlines()
    assert lines[:2] == [
        "Repaired: leading zeros put back: 1",
        "Repaired: blanks and invisible characters removed from GTINs: 1",
    ]
    assert lines[-3:-1] == [
        "Rejected: gtin: wrong check digit: 21, the first in line 4",
        "Rejected: gtin: too long: 1, the first in line 25",
    ]


def test_rejects_contain_the_original_rows_and_can_be_corrected(
    organization: Organization, tmp_path: Path
) -> None:
    path = write(
        tmp_path,
        f'gtin;Note;name\r\n{EAN};keep;a\r\n1;"two\r\nlines";"b;c"\r\n{EAN};;twice\r\n5;short\r\n',
    )
    output, messages = command(path, organization, "--skip-bad-rows")
    rejects = tmp_path / "products.rejects.csv"
    assert output == "total 4 created 1 updated 0 unchanged 0 rejected 3\n"
    assert messages.endswith(f"The 3 rejected rows are in {rejects}\n")
    text = rejects.read_bytes().decode()
    assert text == (
        "gtin;Note;name;_line;_reason\r\n"
        '1;"two\r\nlines";"b;c";3;'
        "\"gtin: A GTIN has 8, 12, 13 or 14 digits; this one has 1 (found '1')\"\r\n"
        f"{EAN};;twice;5;gtin: comes twice in the file, the first time in line 2\r\n"
        "5;short;;6;\"gtin: A GTIN has 8, 12, 13 or 14 digits; this one has 1 (found '5')\"\r\n"
    )

    corrected = write(tmp_path, text.replace("\n1;", f"\n{UPC};"), "corrected.csv")
    output, _ = command(corrected, organization, "--skip-bad-rows")
    assert output == "total 3 created 1 updated 1 unchanged 0 rejected 1\n"
    assert stored(organization) == [
        product(gtin=UPC_14, name="b;c"),
        product(gtin=EAN_14, name="twice"),
    ]
    again = (tmp_path / "corrected.rejects.csv").read_bytes().decode()
    assert again == (
        "gtin;Note;name;_line;_reason\r\n"
        '5;short;;5;"gtin: A GTIN has 8, 12, 13 or 14 digits; this one has 1 '
        "(found '5')\"\r\n"
    )


def test_rejects_of_json_lines_can_be_corrected(organization: Organization, tmp_path: Path) -> None:
    lines = ['{"gtin": "1", "name": "é", "x": 1.10}', "{}", "{broken", f'{{"gtin": "{EAN}"}}']
    path = write(tmp_path, "\n".join(lines), "products.jsonl.gz")
    command(path, organization, "--skip-bad-rows")
    rejects = (tmp_path / "products.rejects.jsonl").read_text()
    reason = "gtin: A GTIN has 8, 12, 13 or 14 digits; this one has 1 (found '1')"
    broken = (
        "the line is not valid JSON: Expecting property name enclosed in double quotes at "
        "character 2"
    )
    assert rejects.split("\n") == [
        f'{{"gtin": "1", "name": "é", "x": 1.10, "_line": 1, "_reason": "{reason}"}}',
        '{"_line": 2, "_reason": "gtin: is missing"}',
        f'{{"_text": "{{broken", "_line": 3, "_reason": "{broken}"}}',
        "",
    ]
    assert [json.loads(line)["_line"] for line in rejects.splitlines()] == [1, 2, 3]

    corrected = write(tmp_path, rejects.replace('"1"', f'"{UPC}"'), "corrected.jsonl")
    output, _ = command(corrected, organization, "--skip-bad-rows")
    assert output == "total 3 created 1 updated 0 unchanged 0 rejected 2\n"
    assert stored(organization) == [product(gtin=UPC_14, name="é"), product(gtin=EAN_14)]
    again = (tmp_path / "corrected.rejects.jsonl").read_text().splitlines()
    assert again[0] == '{"_line": 2, "_reason": "gtin: is missing"}'
    assert again[1].startswith('{"_text": "{broken", "_line": 3, "_reason": "_text has a line')


def test_rejects_never_overwrite_the_input_file(organization: Organization, tmp_path: Path) -> None:
    path = write(tmp_path, "gtin\n1\n")
    with pytest.raises(CommandError, match="The rejects file would overwrite the input"):
        command(path, organization, "--skip-bad-rows", f"--rejects={path}")
    assert path.read_text() == "gtin\n1\n"


def test_nothing_is_imported_if_rejects_cannot_be_written(
    organization: Organization, tmp_path: Path
) -> None:
    path = write(tmp_path, f"gtin\n{EAN}\n1\n")
    with pytest.raises(CommandError, match="The rejects cannot be written to"):
        command(path, organization, "--skip-bad-rows", f"--rejects={tmp_path}/absent/r.csv")
    assert stored(organization) == []
