"""Import formats: delimiters, encodings, compression, and the three formats."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from closient.accounts.models import Organization
from dashboard.imports import UnreadableFile
from tests.importing import EAN, EAN_14, UPC, UPC_14, numbers, product, run, stored, write

pytestmark = pytest.mark.django_db


BOTH_PRODUCTS = [product(gtin=UPC_14, name="Crème"), product(gtin=EAN_14, name="Müsli, 茶")]


@pytest.mark.parametrize(
    ("encoding", "delimiter", "name"),
    [
        ("utf-8", ",", "products.csv"),
        ("utf-8", ";", "products.csv"),
        ("utf-8", "\t", "products.csv"),
        ("utf-8", "|", "products.csv"),
        ("utf-8-sig", ";", "products.csv"),
        ("utf-16", "\t", "products.csv"),
        ("utf-16-le", ",", "products.csv"),
        ("utf-16-be", ",", "products.csv"),
        ("utf-32", ",", "products.csv"),
        ("utf-32-le", ";", "products.csv"),
        ("utf-32-be", "\t", "products.csv"),
        ("utf-8", ",", "products.csv.gz"),
        ("utf-16", ";", "products.csv.gz"),
    ],
)
def test_csv_is_read_in_every_encoding_and_dialect(
    organization: Organization, tmp_path: Path, encoding: str, delimiter: str, name: str
) -> None:
    rows = [["gtin", "name"], [UPC, "Crème"], [EAN, '"Müsli, 茶"']]
    text = "\r\n".join(delimiter.join(row) for row in rows)
    path = write(tmp_path, text, name, encoding=encoding)

    assert numbers(run(path, organization)) == (2, 2, 0, 0, 0)
    assert stored(organization) == BOTH_PRODUCTS


@pytest.mark.parametrize("column", ["gtin", "code", "barcode", "upc", "ean", " EAN ", "Barcode"])
def test_gtin_column_has_several_names(
    organization: Organization, tmp_path: Path, column: str
) -> None:
    path = write(tmp_path, f"name,{column}\nMüsli,{EAN}\n")
    run(path, organization)
    assert stored(organization) == [product(gtin=EAN_14, name="Müsli")]


def test_gtin_column_named_gtin_has_priority(organization: Organization, tmp_path: Path) -> None:
    path = write(tmp_path, f"code,gtin\nA-17,{EAN}\n")
    result = run(path, organization)
    assert result.ignored_columns == ("code",)
    assert stored(organization) == [product(gtin=EAN_14)]


def test_every_column_of_our_csv_is_stored(organization: Organization, tmp_path: Path) -> None:
    cells = {
        "GTIN": EAN,
        "Name": " Oats ",
        "description": '"Rolled\noats"',
        "brand": "Acme",
        "manufacturer": "Acme Mills",
        "category": "Cereals",
        "GPC brick code": "10000284",
        "country of origin": "Germany",
        "net_content": "500 g",
        "status": "Draft",
        "image_url": "https://images.example.com/1.jpg",
        "serving_size": "40 g",
        "nutrient:energy:kJ": "1540",
        "nutrient:saturated fat:g": "1.20",
        "nutrient:salt:g": "",
        "metadata:season": "winter",
        "price": "2.99",
    }
    path = write(tmp_path, ",".join(cells) + "\n" + ",".join(cells.values()) + "\n")

    result = run(path, organization)

    assert result.ignored_columns == ("price",)
    assert stored(organization) == [
        product(
            gtin=EAN_14,
            name="Oats",
            description="Rolled\noats",
            brand="Acme",
            manufacturer="Acme Mills",
            category="Cereals",
            gpc_brick_code="10000284",
            country_of_origin="DE",
            net_content="500 g",
            status="draft",
            nutrition={
                "serving_size": "40 g",
                "nutrients": [
                    {"name": "energy", "amount": "1540", "unit": "kJ"},
                    {"name": "saturated fat", "amount": "1.2", "unit": "g"},
                ],
            },
            metadata={"season": "winter"},
            images=["https://images.example.com/1.jpg"],
        )
    ]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("DE", "DE"),
        ("de", "DE"),
        ("DEU", "DE"),
        ("Germany", "DE"),
        ("the Netherlands", "NL"),
        ("Turkey", "TR"),
        ("Türkiye", "TR"),
        ("Cote d\u2019Ivoire", "CI"),
        ("UK", "GB"),
    ],
)
def test_country_is_stored_as_two_letters(
    organization: Organization, tmp_path: Path, given: str, code: str
) -> None:
    run(write(tmp_path, f"gtin,country_of_origin\n{EAN},{given}\n"), organization)
    assert stored(organization) == [product(gtin=EAN_14, country_of_origin=code)]


def test_json_lines_contain_objects_like_the_api(
    organization: Organization, tmp_path: Path
) -> None:
    whole = {
        "gtin": EAN,
        "name": "Oats",
        "brand": "Acme",
        "country_of_origin": "DE",
        "nutrition": {
            "serving_size": "40 g",
            "nutrients": [
                {"name": "fat", "amount": "7.0", "unit": "g"},
                {"name": "salt", "amount": 0.010, "unit": "g"},
            ],
        },
        "metadata": {"Season": "winter"},
        "image_url": "https://images.example.com/1.jpg",
        "description": None,
        "unknown": [1, 2],
    }
    text = json.dumps(whole) + "\n\n" + json.dumps({"gtin": UPC}) + "\n"
    path = write(tmp_path, text, "products.jsonl")

    assert numbers(run(path, organization)) == (2, 2, 0, 0, 0)
    assert stored(organization) == [
        product(gtin=UPC_14),
        product(
            gtin=EAN_14,
            name="Oats",
            brand="Acme",
            country_of_origin="DE",
            nutrition={
                "serving_size": "40 g",
                "nutrients": [
                    {"name": "fat", "amount": "7", "unit": "g"},
                    {"name": "salt", "amount": "0.01", "unit": "g"},
                ],
            },
            metadata={"Season": "winter"},
            images=["https://images.example.com/1.jpg"],
        ),
    ]


OFF_HEADER = [
    "code",
    "creator",
    "product_name",
    "generic_name",
    "quantity",
    "brands",
    "main_category_en",
    "categories_en",
    "origins",
    "manufacturing_places",
    "countries",
    "image_url",
    "serving_size",
    "last_modified_by",
    "energy-kj_100g",
    "energy_100g",
    "energy-kcal_100g",
    "fat_100g",
    "alcohol_100g",
    "cholesterol_100g",
    "cocoa_100g",
]


def off_row(**cells: str) -> str:
    named = {name.replace("_100g", "-100g").replace("-", "_"): name for name in OFF_HEADER}
    values = {named.get(name.replace("-", "_"), name): cell for name, cell in cells.items()}
    return "\t".join(values.get(name, "") for name in OFF_HEADER) + "\r\n"


def test_open_food_facts_export_is_imported(organization: Organization, tmp_path: Path) -> None:
    full = off_row(
        code=EAN,
        creator="a-user",
        product_name="Oats",
        generic_name="Rolled oats",
        quantity="500 g",
        brands="Acme, Acme Mills",
        main_category_en="Cereals",
        categories_en="Breakfasts,Flakes",
        origins="UE",
        manufacturing_places="Germany",
        countries="France",
        image_url="https://images.example.com/1.jpg",
        serving_size="40 g",
        last_modified_by="someone",
        energy_kj_100g="1540",
        energy_100g="1540",
        energy_kcal_100g="365",
        fat_100g="7.0",
        alcohol_100g="0",
        cholesterol_100g="-0.003",
        cocoa_100g="12",
    )
    sparse = off_row(code=UPC, categories_en="Breakfasts,Flakes", origins="Italy,Spain")
    path = write(tmp_path, "\t".join(OFF_HEADER) + "\r\n" + full + sparse)

    assert numbers(run(path, organization)) == (2, 2, 0, 0, 0)
    assert stored(organization) == [
        product(gtin=UPC_14, category="Flakes"),
        product(
            gtin=EAN_14,
            name="Oats",
            description="Rolled oats",
            brand="Acme",
            category="Cereals",
            country_of_origin="DE",
            net_content="500 g",
            nutrition={
                "serving_size": "40 g",
                "nutrients": [
                    {"name": "energy-kj", "amount": "1540", "unit": "kJ"},
                    {"name": "energy-kcal", "amount": "365", "unit": "kcal"},
                    {"name": "fat", "amount": "7", "unit": "g"},
                    {"name": "alcohol", "amount": "0", "unit": "% vol"},
                ],
            },
            images=["https://images.example.com/1.jpg"],
        ),
    ]


def test_open_food_facts_export_by_language_is_imported(
    organization: Organization, tmp_path: Path
) -> None:
    header = (
        "code,lc,product_name_de,product_name_fr,generic_name_fr,brands,categories,"
        "image_front_url_fr,fat_100g_value,fat_100g_unit,salt_value,salt_unit"
    )
    rows = [
        f'{EAN},fr,Hafer,Avoine,Flocons,Acme,"Petits déjeuners, Flocons",'
        "https://images.example.com/fr.jpg,700,mg,0.1,",
        f"{UPC},es,Hafer,,,,,,,,,",
    ]
    path = write(tmp_path, "\n".join([header, *rows]))

    assert numbers(run(path, organization)) == (2, 2, 0, 0, 0)
    assert stored(organization) == [
        product(gtin=UPC_14, name="Hafer"),
        product(
            gtin=EAN_14,
            name="Avoine",
            description="Flocons",
            brand="Acme",
            category="Flocons",
            nutrition={
                "nutrients": [
                    {"name": "fat", "amount": "700", "unit": "mg"},
                    {"name": "salt", "amount": "0.1", "unit": "g"},
                ]
            },
            images=["https://images.example.com/fr.jpg"],
        ),
    ]


def test_missing_open_food_facts_columns_clear_nothing(
    organization: Organization, tmp_path: Path
) -> None:
    run(write(tmp_path, f"gtin,category,nutrient:fat:g\n{EAN},c,1\n"), organization)
    path = write(tmp_path, f"code\tproduct_name\tbrands\n{EAN}\tn\t\n", "off.csv")
    assert numbers(run(path, organization, overwrite_blank=True)) == (1, 0, 1, 0, 0)
    fat = {"nutrients": [{"name": "fat", "amount": "1", "unit": "g"}]}
    assert stored(organization) == [product(gtin=EAN_14, name="n", category="c", nutrition=fat)]


def test_open_food_facts_shares_and_scores_are_no_nutrients(
    organization: Organization, tmp_path: Path
) -> None:
    columns = "ph cocoa fruits-vegetables-legumes nutrition-score-fr water-hardness phosphorus"
    header = "code\t" + "\t".join(f"{column}_100g" for column in columns.split()) + "\tbrands\n"
    run(write(tmp_path, header + f"{EAN}\t7\t70\t50\t12\t3\t0.1\t\n"), organization)
    phosphorus = {"nutrients": [{"name": "phosphorus", "amount": "0.1", "unit": "g"}]}
    assert stored(organization) == [product(gtin=EAN_14, nutrition=phosphorus)]


def test_layout_can_be_specified(organization: Organization, tmp_path: Path) -> None:
    path = write(tmp_path, f"code,product_name,name\n{EAN},theirs,ours\n")
    run(path, organization, layout="csv")
    assert stored(organization) == [product(gtin=EAN_14, name="ours")]
    run(path, organization, layout="openfoodfacts")
    assert stored(organization) == [product(gtin=EAN_14, name="theirs")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "The file is empty."),
        (" \n\n", "The file is empty."),
        ("gtin,name\n", "The file has no rows."),
        ("gtin,name\n\n,\n", "The file has no rows."),
        (
            f"sku,name\n{EAN},x\n",
            "line 1: The header has none of the columns gtin, code, barcode, upc, ean; "
            "one of them has to hold the GTIN.",
        ),
        (
            f"ean,upc\n{EAN},{UPC}\n",
            "Several columns can be the GTIN (ean, upc): name the right one gtin.",
        ),
        (f"gtin,name,Name\n{EAN},a,b\n", "The column 'name' comes twice in the header."),
        (
            f"gtin,nutrient:fat\n{EAN},1\n",
            "The column 'nutrient:fat' has no unit: write it as nutrient:fat:g.",
        ),
    ],
)
def test_invalid_file_is_rejected_with_a_message(
    organization: Organization, tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(UnreadableFile) as refusal:
        run(write(tmp_path, text), organization)
    assert str(refusal.value) == message
    assert stored(organization) == []
