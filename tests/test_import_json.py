"""JSON of others: arrays, lines, schema.org products, damage and bombs."""

from __future__ import annotations

import gzip
import json
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from closient.accounts.models import Organization
from dashboard.imports import UnreadableFile
from dashboard.imports.files import InputFile
from dashboard.imports.formats import format_of
from dashboard.imports.rejects import BadRow
from tests.importing import (
    EAN,
    EAN_14,
    UPC,
    UPC_14,
    cells,
    numbers,
    product,
    run,
    stored,
    table,
    write,
)

ISBN = "9783161484100"
MEBIBYTE = 1024 * 1024
FIRST = (
    f'{{"code": "{EAN}", "product_name": "Oats", "nutriments": {{"fat_100g": 7.10, "salt": 1e-3}},'
    ' "tags": ["a", {"id": "b"}], "is_new": true, "none": null}'
)
SECOND = f'{{"code": {EAN}, "tags": ["c", "d"], "nutriments": {{}}}}'
TITLES = ["code", "product_name", "nutriments.fat_100g", "nutriments.salt"]
ROWS = [
    [EAN, "Oats", "7.10", "1e-3", "a", "", "b", "true"],
    [EAN, "", "", "", "c", "d", "", ""],
]


@pytest.mark.parametrize(
    "layout", ["{}\n{}\n", "{}\r\n\r\n{}", "[{},\n{}]", '{{"products": [{},{}]}}']
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_objects_are_a_table_with_paths(tmp_path: Path, layout: str, encoding: str) -> None:
    opened = table(write(tmp_path, layout.format(FIRST, SECOND), encoding=encoding))
    assert list(opened.titles) == [*TITLES, "tags", "tags", "tags.id", "is_new"]
    # A streamed number is a decimal number of the same digits.
    assert [[cell.replace("0.001", "1e-3") for cell in row] for row in cells(opened)] == ROWS
    assert [line for line, _ in opened.rows()] == [1, 2]


def node(gtin: str, **others: Any) -> dict[str, Any]:
    return {"@type": "Product", "gtin": gtin, **others}


@pytest.mark.parametrize(
    "document",
    [
        {"@context": "https://schema.org", "@graph": [{"@type": "Organization", "name": "x"}]},
        {
            "@type": "ItemList",
            "itemListElement": [{"@type": "ListItem", "item": {"@type": "WebPage"}}],
        },
        [{"@type": "BreadcrumbList", "itemListElement": [node("0")]}],
    ],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_products_of_schema_org_are_rows(tmp_path: Path, document: Any, indent: int | None) -> None:
    brand = {"@type": "Brand", "name": "Acme"}
    products = [
        node("1", brand=brand, offers=[{"price": 1.5}, {"price": 2}]),
        {"@type": ["https://schema.org/Product"], "gtin": "2"},
        {"@type": "ProductGroup", "brand": brand, "hasVariant": [node("3"), node("4")]},
    ]
    if isinstance(document, list):
        document = [*document, *products]
    elif "@graph" in document:
        document = {**document, "@graph": [*document["@graph"], *products]}
    else:
        items = [{"@type": "ListItem", "item": each} for each in products]
        document = {**document, "itemListElement": [*document["itemListElement"], *items]}
    opened = table(write(tmp_path, json.dumps(document, indent=indent)))
    rows = [dict(zip(opened.titles, row, strict=True)) for row in cells(opened)]
    assert [(row["gtin"], row["brand.name"]) for row in rows] == [
        ("1", "Acme"),
        ("2", ""),
        ("3", "Acme"),
        ("4", "Acme"),
    ]
    assert [name for name in opened.titles if name.startswith("offers")] == ["offers.price"] * 2


def test_one_product_in_several_lines_is_a_row(tmp_path: Path) -> None:
    opened = table(write(tmp_path, json.dumps(node(EAN, name="A"), indent=2)))
    assert (list(opened.titles), cells(opened)) == (
        ["@type", "gtin", "name"],
        [["Product", EAN, "A"]],
    )


@pytest.mark.django_db
def test_open_food_facts_lines_are_imported_and_rejects_can_be_corrected(
    organization: Organization, tmp_path: Path
) -> None:
    lines = [
        {"code": EAN, "product_name": "Oats", "brands": "Acme, Mills"},
        {"code": "123", "product_name": "ü, b"},
    ]
    good, short = (json.dumps(line, ensure_ascii=False) for line in lines)
    cut = f'{{"code": "{ISBN}", "product_name": "Te'
    # The first line, by which the format is recognized, may be the damaged one.
    path = write(tmp_path, f"{cut}\n{good}\n\n{short}\nx\n", "off.jsonl.gz")
    result = run(path, organization, skip_bad_rows=True)
    assert numbers(result) == (4, 1, 0, 0, 3)
    text = (tmp_path / "off.rejects.jsonl").read_bytes().decode()
    reason = "the line is not valid JSON: {} at character {}"
    first, second, third = text.splitlines()
    assert first == (
        f'{{"_text": {json.dumps(cut)}, "_line": 1, "_reason": "'
        f'{reason.format("Unterminated string starting at", 43)}"}}'
    )
    assert second == (
        short[:-1] + ', "_line": 3, "_reason": "gtin: A GTIN has 8, 12, 13 or 14 digits; '
        "this one has 3 (found '123')\"}"
    )
    assert (
        third == f'{{"_text": "x", "_line": 4, "_reason": "{reason.format("Expecting value", 1)}"}}'
    )

    # One row is corrected; the others come back as they were.
    corrected = write(tmp_path, text.replace("123", UPC, 1), "corrected.jsonl")
    assert numbers(run(corrected, organization, skip_bad_rows=True)) == (3, 1, 0, 0, 2)
    again = (tmp_path / "corrected.rejects.jsonl").read_text().splitlines()
    assert [json.loads(line)["_text"] for line in again] == [cut, "x"]
    # Then a line is replaced by the object, and another is removed.
    corrected = write(tmp_path, f'{{"code": "{ISBN}", "product_name": "Tea"}}\n', "last.jsonl")
    assert numbers(run(corrected, organization)) == (1, 1, 0, 0, 0)
    assert stored(organization) == [
        product(gtin=UPC_14, name="ü, b"),
        product(gtin=EAN_14, name="Oats", brand="Acme"),
        product(gtin=f"0{ISBN}", name="Tea"),
    ]


@pytest.mark.django_db
def test_rejected_variants_of_a_line_come_back_alone(
    organization: Organization, tmp_path: Path
) -> None:
    variants = [node(EAN, size=1), node("123", size="1.50")]
    group = {"@type": "ProductGroup", "name": "Oats", "hasVariant": variants}
    path = write(tmp_path, f"{json.dumps(group)}\n{json.dumps(node(UPC, name='Tea'))}\n", "a.jsonl")
    assert numbers(run(path, organization, skip_bad_rows=True)) == (3, 2, 0, 0, 1)
    (rejected,) = (tmp_path / "a.rejects.jsonl").read_text().splitlines()
    found = json.loads(rejected)
    assert (found["name"], found["gtin"], found["_line"]) == ("Oats", "123", 2)


@pytest.mark.parametrize(
    ("lines", "format_name"),
    [
        (
            ['{"_text": "x", "_line": 1, "_reason": "r"}', f'{{"gtin": "{EAN}", "_line": 2}}'],
            "jsonl",
        ),
        (['{"name": "no GTIN", "_line": 1, "_reason": "r"}'], "jsonl"),
        (['{"_text": "x", "_line": 1, "_reason": "r"}', f'{{"EAN": "{EAN}", "_line": 2}}'], "json"),
        (["{x", f'{{"gtin": "{EAN}"}}'], "jsonl"),
        (["{x", f'{{"EAN": "{EAN}"}}'], "json"),
        (['{"a": [', '{"EAN": 1},', '{"EAN": 2}', "]}"], "json"),
    ],
)
def test_rejected_lines_are_read_in_the_format_of_the_file_that_they_come_from(
    tmp_path: Path, lines: list[str], format_name: str
) -> None:
    found = format_of(InputFile(write(tmp_path, "\n".join(lines), "x.jsonl")))
    assert found.name == format_name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"code": "1"}, {"code": }]', "The JSON is not valid after object 1: "),
        ('[{"code": "1"}', "The JSON is not valid after object 1: "),
        ('[{"code": ' + "9" * 5000 + "}]", "The JSON has a number of 1,000 digits or more."),
        ('[{"code": 1e99999999999999999999}]', "The JSON has a number after object 0 whose expon"),
        ("[]", "The JSON has no objects with values."),
        ('{"code": {}}\n{"code": null}', "The JSON has no objects with values."),
    ],
)
def test_json_that_cannot_be_read_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UnreadableFile) as refused:
        table(write(tmp_path, text))
    assert str(refused.value).startswith(message)


def test_values_that_are_no_objects_cost_one_row(tmp_path: Path) -> None:
    deep = '{"a":' * 40 + "1" + "}" * 40
    opened = table(write(tmp_path, f'[{{"code": "1"}}, 5, {deep}, {{"code": "2"}}]'))
    assert list(opened.rows()) == [
        (1, ["1"]),
        (2, BadRow("the value is not a JSON object")),
        (3, BadRow("the object is nested too deeply")),
        (4, ["2"]),
    ]


def test_titles_are_limited_to_the_most_frequent(tmp_path: Path) -> None:
    rare = ",".join(f'{{"code": "1", "x{n}": {{"a": 1}}, "tags": ["t"]}}' for n in range(6000))
    opened = table(write(tmp_path, f"[{rare}]"))
    assert len(opened.titles) == 5000
    assert {"code", "tags"} <= set(opened.titles)
    assert opened.notices == ("Left out the 1,002 least frequent names of values.",)


@pytest.mark.parametrize("block", [b"[", b'{"a":', b"1,", b'"a",', b"9"])
def test_endless_object_is_refused(tmp_path: Path, block: bytes) -> None:
    path = tmp_path / "products.json.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b'[{"code": "1", "x": [')
        for _ in range(30):
            file.write(block * (1_000_000 // len(block)))
    tracemalloc.start()
    with pytest.raises(UnreadableFile):
        table(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 * MEBIBYTE


def test_deep_objects_with_long_keys_take_no_memory_for_their_paths(tmp_path: Path) -> None:
    deep: dict[str, Any] = {f"k{number}": 1 for number in range(5_000)}
    for _ in range(4):
        deep = {"n" * 40_000: deep}
    path = write(tmp_path, json.dumps([{"code": "1", **deep}]))
    tracemalloc.start()
    opened = table(path)
    assert cells(opened) == [["1"]]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 25 * MEBIBYTE


TEXT = st.text(max_size=8)


@given(
    st.lists(st.tuples(TEXT, TEXT, st.lists(TEXT, max_size=3)), min_size=1, max_size=5),
    st.sampled_from(["lines", "array", "products"]),
)
@settings(max_examples=50, deadline=None)
def test_every_text_is_read_back(rows: list[tuple[str, str, list[str]]], layout: str) -> None:
    objects = [{"code": code, "a": {"b": b}, "c": c} for code, b, c in rows]
    if layout == "lines":
        text = "\n".join(json.dumps(each) for each in objects)
    else:
        text = json.dumps(objects if layout == "array" else {"products": objects}, indent=1)
    width = max(len(c) for *_, c in rows)
    with tempfile.TemporaryDirectory() as folder:
        opened = table(write(Path(folder), text))
        assert list(opened.titles) == ["code", "a.b", *["c"] * width]
        assert cells(opened) == [[code, b, *c, *[""] * (width - len(c))] for code, b, c in rows]
