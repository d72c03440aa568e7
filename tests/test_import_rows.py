"""Imported rows: stored, unchanged, or rejected with line, field and reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone

from catalog.models import Brand, Product, ProductImage
from closient.accounts.models import Organization
from dashboard.imports import BadRows, Rejected
from tests.counting import assert_exact
from tests.factories import OrganizationFactory, ProductFactory, ProductImageFactory, gtin
from tests.importing import EAN, EAN_14, UPC, UPC_14, numbers, product, run, stored, write

pytestmark = pytest.mark.django_db


def rejection(tmp_path: Path, organization: Organization, header: str, row: str) -> str:
    """Return why the only row of a file is rejected."""
    path = write(tmp_path, f"{header}\n{row}\n")
    with pytest.raises(BadRows) as rejected:
        run(path, organization)
    (problem,) = rejected.value.problems
    assert problem.line == 2
    assert stored(organization) == []
    return problem.reason


@pytest.mark.parametrize(
    ("gtin", "reason"),
    [
        ("", "gtin: is missing"),
        ("400638133393", "gtin: The check digit is wrong: 40063813339 is followed by 0, not 3"),
        ("4006381333932", "gtin: The check digit is wrong: 400638133393 is followed by 1, not 2"),
        ("0000000000000", "gtin: A GTIN cannot consist of zeros only"),
    ],
)
def test_invalid_gtin_is_rejected_with_a_reason(
    organization: Organization, tmp_path: Path, gtin: str, reason: str
) -> None:
    assert rejection(tmp_path, organization, "gtin,name", f"{gtin},x").startswith(reason)


@pytest.mark.parametrize(
    ("column", "cell", "reason"),
    [
        ("name", "x" * 256, "name: has 256 characters; at most 255 are allowed"),
        ("description", "x" * 100_001, "description: has 100,001 characters; at most 100,000"),
        ("brand", "x" * 256, "brand: has 256 characters"),
        ("net_content", "x" * 101, "net_content: has 101 characters; at most 100 are allowed"),
        ("name", "a\0b", "name: contains the control character U+0000"),
        ("name", '"two\nlines"', "name: contains the control character U+000A"),
        ("description", "bell\a", "description: contains the control character U+0007"),
        ("gpc_brick_code", "1000028", "gpc_brick_code: must be a GPC brick code"),
        ("gpc_brick_code", "１０００００００", "gpc_brick_code: must be a GPC brick code"),  # noqa: RUF001
        ("country_of_origin", "Europe", "country_of_origin: must be a country: its ISO 3166-1"),
        ("status", "sold", "status: is none of draft, active, discontinued"),
        ("image_url", "ftp://example.com/1.jpg", "image_url: must be a complete http or https URL"),
        ("image_url", "/1.jpg", "image_url: must be a complete http or https URL"),
        ("image_url", "https://a b.example/", "image_url: must be a complete http or https URL"),
        ("image_url", f"https://example.com/{'x' * 981}", "image_url: has 1,001 characters"),
        ("nutrient:fat:g", "1,5", "the row has 3 cells, the header 2"),
        ("nutrient:fat:g", "-1", "nutrient 'fat': must be a number of 0 or more, for example 1.5"),
        (
            "nutrient:fat:g",
            "1e999",
            "nutrient 'fat': must be a number of 0 or more, for example 1.5",
        ),
        ("nutrient:fat:g", "NaN", "nutrient 'fat': must be a number of 0 or more, for example 1.5"),
        ("serving_size", "x" * 101, "serving_size: has 101 characters"),
        ("metadata:season", "x" * 501, "metadata 'season': has 501 characters; at most 500"),
        (f"metadata:{'k' * 41}", "x", f"metadata '{'k' * 40}': has 41 characters; at most 40"),
    ],
)
def test_invalid_cell_is_rejected_with_field_and_reason(
    organization: Organization, tmp_path: Path, column: str, cell: str, reason: str
) -> None:
    assert rejection(tmp_path, organization, f"gtin,{column}", f"{EAN},{cell}").startswith(reason)


def test_row_is_rejected_with_all_of_its_errors(organization: Organization, tmp_path: Path) -> None:
    reason = rejection(tmp_path, organization, "gtin,status,image_url", "123,sold,x")
    assert reason == (
        "gtin: A GTIN has 8, 12, 13 or 14 digits; this one has 3 (found '123'); "
        "status: is none of draft, active, discontinued; "
        "image_url: must be a complete http or https URL"
    )


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"gtin": 4006381333931}', "gtin: must be a string (put it in quotes)"),
        ('{"name": "x"}', "gtin: is missing"),
        ('{"gtin": "%s", "name": ["x"]}', "name: must be a string (put it in quotes)"),
        ('{"gtin": "%s", "name": "\\ud800"}', "name: contains bytes or escapes that are not valid"),
        ('{"gtin": "%s", "name": "\\u0000"}', "name: contains the control character U+0000"),
        ('{"gtin": "%s", "gtin": "%s"}', "the key 'gtin' comes twice in an object"),
        ('{"gtin": "%s"', "the line is not valid JSON: Expecting ',' delimiter at character 25"),
        ('{"gtin": "%s", "x": NaN}', "NaN is not a JSON number"),
        ('{"gtin": "%s", "x": ' + "[" * 100_000 + "}", "the line is nested too deeply"),
        ('{"gtin": "%s", "nutrition": []}', None),
        ('{"gtin": "%s", "nutrition": [1]}', "nutrition: must be an object"),
        ('{"gtin": "%s", "nutrition": {"nutrients": 5}}', "nutrition.nutrients: must be a list of"),
        ('{"gtin": "%s", "nutrition": {"nutrients": [{"name": "fat"}]}}', "nutrition.nutrients[0]"),
        (
            '{"gtin": "%s", "nutrition": {"nutrients": [{"name": "fat", "amount": '
            + "9" * 5000
            + ', "unit": "g"}]}}',
            "nutrient 'fat': must be a number of 0 or more",
        ),
        (
            json.dumps(
                {
                    "gtin": EAN,
                    "nutrition": {
                        "nutrients": [
                            {"name": str(n), "amount": 1, "unit": "g"} for n in range(101)
                        ]
                    },
                }
            ),
            "nutrition: has 101 nutrients; at most 100 are allowed",
        ),
        (
            json.dumps({"gtin": EAN, "metadata": {str(n): "x" for n in range(51)}}),
            "metadata: has 51 keys; at most 50 are allowed",
        ),
        ('{"gtin": "%s", "metadata": "x"}', "metadata: must be an object"),
        ('"text"', "the line is not a JSON object"),
    ],
)
def test_invalid_json_line_is_rejected_with_field_and_reason(
    organization: Organization, tmp_path: Path, line: str, reason: str | None
) -> None:
    text = f'{{"gtin": "{UPC}"}}\n{line.replace("%s", EAN)}\n'
    path = write(tmp_path, text, "products.jsonl")
    if reason is None:
        assert numbers(run(path, organization)) == (2, 2, 0, 0, 0)
        return
    result = run(path, organization, skip_bad_rows=True)
    (problem,) = result.problems
    assert problem.line == 2
    assert problem.reason.startswith(reason)
    assert stored(organization) == [product(gtin=UPC_14)]


def test_duplicate_gtin_is_rejected_and_names_the_first_line(
    organization: Organization, tmp_path: Path
) -> None:
    path = write(
        tmp_path, f'gtin,description\n{EAN},"spans\ntwo lines"\n{UPC},x\n0{EAN},y\n{EAN},z\n'
    )
    result = run(path, organization, skip_bad_rows=True)

    repeated = "gtin: comes twice in the file, the first time in line 2"
    assert result.problems == (Rejected(5, repeated), Rejected(6, repeated))
    assert numbers(result) == (4, 2, 0, 0, 2)
    assert stored(organization) == [
        product(gtin=UPC_14, description="x"),
        product(gtin=EAN_14, description="spans\ntwo lines"),
    ]


def test_rejected_row_prevents_the_import(organization: Organization, tmp_path: Path) -> None:
    path = write(tmp_path, f"gtin,brand\n{EAN},Acme\n{UPC},Other\n123,x\n")
    with pytest.raises(BadRows) as rejected:
        run(path, organization)
    assert rejected.value.count == 1
    assert stored(organization) == []
    assert not Brand.objects.exists()
    assert list(tmp_path.iterdir()) == [path]


def test_brands_of_rejected_rows_are_not_created(
    organization: Organization, tmp_path: Path
) -> None:
    path = write(tmp_path, f"gtin,brand\n{EAN},Acme\n123,Other\n")
    run(path, organization, skip_bad_rows=True)
    assert list(Brand.objects.values_list("name", flat=True)) == ["Acme"]


FULL = (
    "gtin,name,description,brand,manufacturer,category,gpc_brick_code,country_of_origin,"
    "net_content,status,serving_size,nutrient:fat:g,metadata:season,metadata:shelf,image_url\n"
)
FULL_ROW = f"{EAN},n,d,b,m,c,10000284,DE,1 l,draft,40 g,1,winter,A,https://example.com/1.jpg\n"
FULL_PRODUCT = product(
    gtin=EAN_14,
    name="n",
    description="d",
    brand="b",
    manufacturer="m",
    category="c",
    gpc_brick_code="10000284",
    country_of_origin="DE",
    net_content="1 l",
    status="draft",
    nutrition={
        "serving_size": "40 g",
        "nutrients": [{"name": "fat", "amount": "1", "unit": "g"}],
    },
    metadata={"season": "winter", "shelf": "A"},
    images=["https://example.com/1.jpg"],
)


@pytest.mark.parametrize("blank", ["", " ", "\u00a0\u3000\t\u200b"])
def test_empty_cells_keep_existing_values(
    organization: Organization, tmp_path: Path, blank: str
) -> None:
    run(write(tmp_path, FULL + FULL_ROW), organization)
    empty = write(tmp_path, FULL + EAN + f",{blank}" * 14 + "\n", "empty.csv")

    assert numbers(run(empty, organization)) == (1, 0, 0, 1, 0)
    assert stored(organization) == [FULL_PRODUCT]


def test_empty_cells_clear_fields_with_overwrite_blank(
    organization: Organization, tmp_path: Path
) -> None:
    run(write(tmp_path, FULL + FULL_ROW), organization)
    empty = write(tmp_path, FULL + EAN + "," * 14 + "\n", "empty.csv")

    assert numbers(run(empty, organization, overwrite_blank=True)) == (1, 0, 1, 0, 0)
    assert stored(organization) == [product(gtin=EAN_14, status="draft")]
    assert numbers(run(empty, organization, overwrite_blank=True)) == (1, 0, 0, 1, 0)
    assert assert_exact(organization).missing_images == 1


def test_fields_without_a_column_are_never_cleared(
    organization: Organization, tmp_path: Path
) -> None:
    run(write(tmp_path, FULL + FULL_ROW), organization)
    short = write(tmp_path, f"gtin,name,metadata:season\n{EAN},new,\n", "short.csv")

    assert numbers(run(short, organization, overwrite_blank=True)) == (1, 0, 1, 0, 0)
    assert stored(organization) == [{**FULL_PRODUCT, "name": "new", "metadata": {"shelf": "A"}}]


def test_changed_cells_change_only_their_fields(organization: Organization, tmp_path: Path) -> None:
    run(write(tmp_path, FULL + FULL_ROW), organization)
    before = Product.objects.get()
    change = write(
        tmp_path, f"gtin,brand,nutrient:salt:g,metadata:shelf\n{EAN},other,2,B\n", "change.csv"
    )

    assert numbers(run(change, organization)) == (1, 0, 1, 0, 0)
    assert stored(organization) == [
        {
            **FULL_PRODUCT,
            "brand": "other",
            "nutrition": {
                "serving_size": "40 g",
                "nutrients": [{"name": "salt", "amount": "2", "unit": "g"}],
            },
            "metadata": {"season": "winter", "shelf": "B"},
        }
    ]
    after = Product.objects.get()
    assert (after.pk, after.created_at) == (before.pk, before.created_at)
    assert before.updated_at < after.updated_at <= timezone.now()


def test_only_changed_products_are_written(organization: Organization, tmp_path: Path) -> None:
    run(write(tmp_path, f"gtin,name\n{EAN},a\n{UPC},b\n"), organization)
    before = dict(Product.objects.values_list("gtin", "updated_at"))
    path = write(tmp_path, f"gtin,name\n{EAN},a\n{UPC},c\n96385074,d\n", "more.csv")

    assert numbers(run(path, organization)) == (3, 1, 1, 1, 0)
    after = dict(Product.objects.values_list("gtin", "updated_at"))
    assert after[EAN_14] == before[EAN_14]
    assert after[UPC_14] > before[UPC_14]


def test_metadata_cannot_exceed_its_limit(organization: Organization, tmp_path: Path) -> None:
    ProductFactory(
        organization=organization, gtin=EAN_14, metadata={str(n): "x" for n in range(50)}
    )
    known = write(tmp_path, f"gtin,metadata:7\n{EAN},y\n", "known.csv")
    assert numbers(run(known, organization)) == (1, 0, 1, 0, 0)
    more = write(tmp_path, f"gtin,metadata:one more\n{EAN},y\n", "more.csv")
    with pytest.raises(BadRows) as rejected:
        run(more, organization)
    assert rejected.value.problems == (
        Rejected(
            2, "metadata: together with what the product has there would be more than 50 keys"
        ),
    )


def images(organization: Organization) -> list[tuple[str, bool, bool]]:
    return list(
        ProductImage.objects.filter(organization=organization).values_list(
            "external_url", "is_primary", "is_imported"
        )
    )


def test_image_url_becomes_the_primary_image_of_a_product_without_one(
    organization: Organization, tmp_path: Path
) -> None:
    run(write(tmp_path, f"gtin,image_url\n{EAN},https://example.com/1.jpg\n"), organization)
    assert images(organization) == [("https://example.com/1.jpg", True, True)]
    assert assert_exact(organization).missing_images == 0


def test_signs_of_arrays_in_image_urls_are_stored_as_they_are(
    organization: Organization, tmp_path: Path
) -> None:
    urls = [
        f"https://example.com/{name}" for name in ('a"b', "c\\d", 'e\\"f', "{g}", "NULL", "h,i")
    ]
    row = json.dumps({"gtin": EAN, "image_urls": urls})

    result = run(write(tmp_path, f"{row}\n", "products.jsonl"), organization)

    assert numbers(result) == (1, 1, 0, 0, 0)
    assert [url for url, *_ in images(organization)] == urls


def test_image_url_is_added_to_uploaded_images(organization: Organization, tmp_path: Path) -> None:
    ProductImageFactory(
        product=ProductFactory(organization=organization, gtin=EAN_14),
        external_url="https://example.com/own.jpg",
        is_primary=True,
    )
    path = write(tmp_path, f"gtin,image_url\n{EAN},https://example.com/1.jpg\n")

    assert numbers(run(path, organization)) == (1, 0, 1, 0, 0)
    assert images(organization) == [
        ("https://example.com/own.jpg", True, False),
        ("https://example.com/1.jpg", False, True),
    ]


def test_changed_image_url_replaces_the_imported_image(
    organization: Organization, tmp_path: Path
) -> None:
    run(write(tmp_path, f"gtin,image_url\n{EAN},https://example.com/1.jpg\n"), organization)
    path = write(tmp_path, f"gtin,image_url\n{EAN},https://example.com/2.jpg\n", "second.csv")

    assert numbers(run(path, organization)) == (1, 0, 1, 0, 0)
    assert images(organization) == [("https://example.com/2.jpg", True, True)]
    assert numbers(run(path, organization)) == (1, 0, 0, 1, 0)
    assert assert_exact(organization).missing_images == 0


def test_cleared_image_url_removes_the_imported_image_and_makes_the_next_primary(
    organization: Organization, tmp_path: Path
) -> None:
    run(write(tmp_path, f"gtin,image_url\n{EAN},https://example.com/1.jpg\n"), organization)
    for place, name in ((2, "later"), (1, "sooner")):
        ProductImageFactory(
            product=Product.objects.get(),
            external_url=f"https://example.com/{name}.jpg",
            priority=place,
        )
    path = write(tmp_path, f"gtin,image_url\n{EAN},\n", "second.csv")

    assert numbers(run(path, organization, overwrite_blank=True)) == (1, 0, 1, 0, 0)
    assert images(organization) == [
        ("https://example.com/sooner.jpg", True, False),
        ("https://example.com/later.jpg", False, False),
    ]
    assert_exact(organization)


def test_import_changes_only_its_organization(organization: Organization, tmp_path: Path) -> None:
    ProductFactory(gtin=EAN_14, name="theirs")
    other = Product.objects.get()
    path = write(tmp_path, f"gtin,name,brand\n{EAN},ours,Acme\n")

    assert numbers(run(path, organization)) == (1, 1, 0, 0, 0)
    assert stored(organization) == [product(gtin=EAN_14, name="ours", brand="Acme")]
    assert stored(other.organization) == [product(gtin=EAN_14, name="theirs")]
    assert_exact(other.organization)


def test_nutrition_is_stored_as_json(organization: Organization, tmp_path: Path) -> None:
    path = write(tmp_path, f"gtin,nutrient:fat:g\n{EAN},0.1\n")
    run(path, organization)
    assert json.dumps(Product.objects.get().nutrition) == (
        '{"nutrients": [{"name": "fat", "unit": "g", "amount": "0.1"}]}'
    )


@pytest.mark.slow
def test_outdated_statistics_do_not_make_an_import_slow(
    organization: Organization, tmp_path: Path
) -> None:
    """After a deletion, the planner takes the tables for empty until they are analyzed again."""
    count = 2000

    def products(version: int) -> Path:
        rows = [
            f"{gtin(number)},Product {number},Brand {number % 500},"
            f"https://cdn.example.com/{version}/{number}.jpg"
            for number in range(count)
        ]
        return write(tmp_path, "\n".join(["gtin,name,brand,image_url", *rows]), f"{version}.csv")

    other = OrganizationFactory()
    assert numbers(run(products(1), other)) == (count, count, 0, 0, 0)
    other.delete()
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
        # Comparing each row with each image takes minutes; this import a second.
        cursor.execute("SET LOCAL statement_timeout = '20s'")
    assert numbers(run(products(1), organization)) == (count, count, 0, 0, 0)
    assert numbers(run(products(2), organization)) == (count, 0, count, 0, 0)
    images = ProductImage.objects.filter(
        organization=organization, is_primary=True, is_imported=True
    )
    assert images.filter(external_url__contains="/2/").count() == count
    assert_exact(organization)
