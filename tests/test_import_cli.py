"""The command import: every layout, mappings, and what it prints."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from closient.accounts.models import Organization
from closient.db.ids import format_id
from dashboard.models import ImportMapping
from tests.importing import (
    EAN,
    EAN_14,
    UPC,
    UPC_14,
    certificates,
    offers,
    product,
    stored,
    write,
)

pytestmark = pytest.mark.django_db

SHOP = "https://shop.example.com"
FEED = (
    "id\ttitle\tlink\tavailability\tprice\tgtin\tcertification\tadult\n"
    f"A1\tOats\t{SHOP}/1\tin stock\t1.99\t{EAN}\tEC:EPREL:7\tno\n"
    f"A2\tTissues\t{SHOP}/2\tout of stock\t2.99 USD\t{UPC}\t\tno\n"
    f"A3\tMug\t{SHOP}/3\tin stock\t2.99 USD\t\t\tno\n"
)


def command(path: Path, organization: Organization, *options: str) -> tuple[str, str]:
    """Run the command and return its standard output and error."""
    output, messages = io.StringIO(), io.StringIO()
    call_command(
        "import",
        str(path),
        f"--organization={format_id(organization.pk)}",
        *options,
        stdout=output,
        stderr=messages,
    )
    return output.getvalue(), messages.getvalue()


def test_command_prints_the_rows_of_each_table(organization: Organization, tmp_path: Path) -> None:
    path = write(tmp_path, FEED, "feed.txt")
    rejects = tmp_path / "rejects.txt"
    options = ["--skip-bad-rows", "--retailer=Acme Shop", "--currency=EUR", f"--rejects={rejects}"]
    assert command(path, organization, *options) == (
        "layout google (Google Merchant Center)\n"
        "products created 2 updated 0\n"
        "offers created 2 updated 0\n"
        "certificates created 1 updated 0\n"
        "total 3 created 2 updated 0 unchanged 0 rejected 1\n",
        "Ignored columns: adult\n"
        f"{path}, line 4: gtin: is missing\n"
        f"The 1 rejected rows are in {rejects}\n",
    )
    assert stored(organization) == [
        product(gtin=UPC_14, name="Tissues"),
        product(gtin=EAN_14, name="Oats"),
    ]
    assert [
        (each["retailer"], each["price"], each["currency"]) for each in offers(organization)
    ] == [
        ("Acme Shop", "2.99", "USD"),
        ("Acme Shop", "1.99", "EUR"),
    ]
    assert certificates(organization) == [
        {"gtin": EAN_14, "certification": "EPREL", "number": "7", "body": "EC"}
    ]
    assert command(path, organization, *options)[0].endswith(
        "total 3 created 0 updated 0 unchanged 2 rejected 1\n"
    )


def test_command_imports_a_shop_with_its_address(
    organization: Organization, tmp_path: Path
) -> None:
    path = write(tmp_path, f"Handle,Title,Variant Barcode,Variant Price\noats,Oats,'{EAN},2\n")
    output, _ = command(path, organization, f"--shop={SHOP}", "--currency=EUR")
    assert "offers created 1 updated 0\n" in output
    assert offers(organization) == [
        {
            "gtin": EAN_14,
            "retailer": SHOP.removeprefix("https://"),
            "url": f"{SHOP}/products/oats",
            "price": "2.00",
            "currency": "EUR",
            "status": "active",
        }
    ]


def test_command_takes_and_saves_a_mapping(organization: Organization, tmp_path: Path) -> None:
    path = write(tmp_path, f"EAN=Code;Artikelname;Farbe\n{EAN};Oats;blue\n")
    mapping = ["--map", "EAN=Code=gtin", "--map", "Artikelname=name"]
    expected = (
        "layout mapping (Mapping by hand)\n"
        "products created 1 updated 0\n"
        "total 1 created 1 updated 0 unchanged 0 rejected 0\n",
        "Ignored columns: Farbe\n",
    )
    assert command(path, organization, *mapping, "--save-map=ERP", "--dry-run") == expected
    assert not ImportMapping.objects.exists()
    assert command(path, organization, *mapping, "--save-map=ERP") == expected
    assert stored(organization) == [product(gtin=EAN_14, name="Oats")]
    saved = ImportMapping.objects.of(organization).get()
    assert (saved.name, saved.columns) == ("ERP", {"EAN=Code": "gtin", "Artikelname": "name"})
    output, _ = command(path, organization)
    assert output.startswith("layout mapping (Mapping by hand)\n")


def test_command_suggests_a_mapping(organization: Organization, tmp_path: Path) -> None:
    path = write(tmp_path, f"Nummer;Artikelname\n{EAN};Oats\n")
    with pytest.raises(CommandError) as refused:
        command(path, organization)
    assert str(refused.value) == (
        f"{path}: line 1: The header has none of the columns gtin, code, barcode, upc, ean; one of "
        "them has to hold the GTIN. Nothing was imported.\n"
        "Say what the columns are. Their titles and values suggest: "
        "--map Artikelname=name --map Nummer=gtin"
    )


def test_suggested_command_is_safe_to_paste(organization: Organization, tmp_path: Path) -> None:
    path = write(tmp_path, f"Nummer;Titel $(touch x) `y`\n{EAN};Oats\n")
    with pytest.raises(CommandError) as refused:
        command(path, organization)
    assert "--map Nummer=gtin" in str(refused.value)
    if "$(touch" in str(refused.value):
        assert "--map 'Titel $(touch x) `y`=name'" in str(refused.value)


def test_command_asks_before_it_creates_products_without_names(
    organization: Organization, tmp_path: Path
) -> None:
    path = write(tmp_path, f"gtin,Titel\n{EAN},Oats\n{UPC},Tissues\n")
    with pytest.raises(CommandError) as refused:
        command(path, organization)
    assert str(refused.value) == (
        f"{path}: 2 products would be created without a name, because no column holds it. Nothing "
        'was imported. Name the column, for example --map "Title=name" (with all other columns), '
        "or import them so with --yes. Their titles and values suggest: "
        "--map gtin=gtin --map Titel=name"
    )
    assert stored(organization) == []
    assert command(path, organization, "--dry-run")[1] == (
        "Products without a name: 2\n"
        "Ignored, but may be fields: Titel (name). Their titles and values suggest: "
        "--map gtin=gtin --map Titel=name\n"
        "Ignored columns: titel\n"
    )
    assert stored(organization) == []

    # Chosen, or changing products that have their name.
    assert command(path, organization, "--yes")[0].endswith(
        "created 2 updated 0 unchanged 0 rejected 0\n"
    )
    brands = write(tmp_path, f"gtin,brand\n{EAN},Acme\n", "brands.csv")
    assert command(brands, organization)[0].endswith("updated 1 unchanged 0 rejected 0\n")
    more = write(tmp_path, "gtin,brand\n4012345678901,Acme\n", "more.csv")
    assert command(more, organization, "--layout=csv")[0].endswith("rejected 0\n")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--map", "EAN"], "--map: 'EAN': write it as \"COLUMN=FIELD\"."),
        (["--map", "=gtin"], "--map: '=gtin': write it as \"COLUMN=FIELD\"."),
        (["--map", "EAN=gtin", "--map", "EAN =name"], "--map: The column 'EAN' is mapped twice."),
        (["--map", "EAN=code"], "--map: There is no field 'code'"),
        (["--save-map=x"], "--save-map saves the columns of --map"),
        (["--shop=shop.example.com"], "--shop must be a complete http or https URL."),
        (["--currency=EURO"], "--currency: A currency is three capital letters"),
        (["--organization=x"], "There is no organization 'x'"),
    ],
)
def test_command_refuses_options_that_cannot_work(
    organization: Organization, tmp_path: Path, options: list[str], reason: str
) -> None:
    path = write(tmp_path, f"gtin,name\n{EAN},Oats\n")
    with pytest.raises(CommandError) as refused:
        command(path, organization, *options)
    assert reason in str(refused.value)
    assert stored(organization) == []


def test_command_lists_bad_rows(organization: Organization, tmp_path: Path) -> None:
    path = write(tmp_path, f"gtin,name\n{EAN},Oats\n1,x\n")
    with pytest.raises(CommandError, match="1 rows were rejected, so nothing was imported"):
        command(path, organization)
    assert stored(organization) == []
