"""Pages of lists: parameters and the `pagination` object."""

from __future__ import annotations

from typing import Any

import pytest

from closient.accounts.models import Organization
from closient.http.pagination import Page
from tests.clients import client_of, errors_of, products_path
from tests.factories import OrganizationFactory, ProductFactory

pytestmark = pytest.mark.django_db


def page(organization: Organization, query: str = "") -> dict[str, Any]:
    response = client_of(organization).get(products_path(organization) + query)
    assert response.status_code == 200
    body: dict[str, Any] = response.json()
    return body


def where(body: dict[str, Any]) -> tuple[int, ...]:
    pagination = body["pagination"]
    assert list(pagination) == [
        "page",
        "page_size",
        "total_count",
        "total_pages",
        "has_next",
        "has_previous",
        "next_after",
    ]
    assert pagination["has_next"] == (pagination.pop("next_after") is not None)
    return (len(body["data"]), *pagination.values())


def test_pages_cover_a_list_without_gaps_or_overlap() -> None:
    organization = OrganizationFactory()
    made = [ProductFactory(organization=organization) for _ in range(7)]
    newest_first = [product.gtin for product in reversed(made)]
    pages = [page(organization, f"?page={number}&page_size=3") for number in (1, 2, 3)]
    assert [row["gtin"] for body in pages for row in body["data"]] == newest_first
    assert [where(body) for body in pages] == [
        (3, 1, 3, 7, 3, True, False),
        (3, 2, 3, 7, 3, True, True),
        (1, 3, 3, 7, 3, False, True),
    ]


@pytest.mark.parametrize(
    ("made", "query", "expected"),
    [
        (0, "", (0, 1, 25, 0, 0, False, False)),
        (0, "?page=2", (0, 2, 25, 0, 0, False, False)),
        (3, "", (3, 1, 25, 3, 1, False, False)),
        (3, "?page=1&page_size=3", (3, 1, 3, 3, 1, False, False)),
        (3, "?page=2&page_size=3", (0, 2, 3, 3, 1, False, True)),
        (3, "?page_size=1", (1, 1, 1, 3, 3, True, False)),
        (3, "?page_size=100", (3, 1, 100, 3, 1, False, False)),
        (3, "?page=1000000000&page_size=100", (0, 1_000_000_000, 100, 3, 1, False, True)),
    ],
)
def test_first_last_and_empty_pages(made: int, query: str, expected: tuple[int, ...]) -> None:
    organization = OrganizationFactory()
    ProductFactory.create_batch(made, organization=organization)
    assert where(page(organization, query)) == expected


@pytest.mark.parametrize(
    ("query", "errors"),
    [
        ("page=0", [("page", "range")]),
        ("page=-1", [("page", "range")]),
        ("page=1000000001", [("page", "range")]),
        (f"page={10**30}", [("page", "integer")]),
        ("page=", [("page", "integer")]),
        ("page=1.0", [("page", "integer")]),
        ("page=last", [("page", "integer")]),
        ("page=%EF%BC%91", [("page", "integer")]),
        ("page=1&page=2", [("page", "repeated")]),
        ("page_size=0", [("page_size", "range")]),
        ("page_size=101", [("page_size", "range")]),
        ("page=0&page_size=0", [("page", "range"), ("page_size", "range")]),
    ],
)
def test_invalid_page_parameters_are_rejected(query: str, errors: list[tuple[str, str]]) -> None:
    organization = OrganizationFactory()
    response = client_of(organization).get(f"{products_path(organization)}?{query}")
    assert errors_of(response) == [(f"#/query/{name}", code) for name, code in errors]


def test_page_computes_its_bounds() -> None:
    assert (Page(1, 25).start, Page(1, 25).end) == (0, 25)
    assert (Page(1000, 25).start, Page(1000, 25).end) == (24_975, 25_000)
