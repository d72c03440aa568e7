"""Cursors of lists: each row is returned once while others are added and deleted."""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from django.utils import timezone

from catalog.models import Product, ProductImage
from certifications.models import CertificationAssignment
from closient.accounts.models import ApiKey, Organization
from closient.db.ids import format_id, parse_id, uuid7
from closient.http import cursors
from offers.models import Offer, UrlStatus
from tests.clients import API, client_of, problem
from tests.factories import (
    BrandFactory,
    CertificationAssignmentFactory,
    CertificationFactory,
    OfferFactory,
    OrganizationFactory,
    ProductFactory,
    ProductImageFactory,
)
from tests.operations import MANAGER
from tests.sessions import sessions

ROWS = 20
TODAY = timezone.localdate()
NOON = timezone.now().replace(microsecond=123_456)


def make_products(organization: Organization) -> None:
    """Create products that share names, completeness and times of change."""
    brand = BrandFactory(organization=organization, name="Haferhof")
    for number in range(ROWS):
        product = ProductFactory(
            organization=organization,
            name=["", "Oat drink", "Oat flakes", "Ökotee"][number % 4],
            brand=brand if number % 3 else None,
            description="Good." if number % 2 else "",
        )
        if number % 5 == 0:
            ProductImageFactory(product=product)
        if number % 4 == 0:
            CertificationAssignmentFactory(product=product)
        changed = NOON - datetime.timedelta(minutes=number // 3)
        Product.objects.filter(pk=product.pk).update(created_at=changed, updated_at=changed)


def make_offers(organization: Organization) -> None:
    """Create offers in several buckets of the tally, and of few retailers."""
    product = ProductFactory(organization=organization, name="Oat drink")
    for number in range(ROWS):
        OfferFactory(
            product=product,
            retailer=["", "Alpha", "Ömer"][number % 3],
            sku=str(number),
            status=["active", "seasonal"][number % 2],
            url_status=[UrlStatus.UNCHECKED, UrlStatus.BROKEN][number // 2 % 2],
        )


def make_failing(organization: Organization) -> None:
    """Create broken offers of many retailers, several with equal counts."""
    product = ProductFactory(organization=organization)
    for number in range(ROWS):
        for sku in range(1 + number % 3):
            OfferFactory(
                product=product,
                retailer=f"Retailer {number}",
                sku=str(sku),
                url_status=UrlStatus.BROKEN,
            )


def make_assignments(organization: Organization) -> None:
    """Create assignments, several of which expire on the same day, and some never."""
    product = ProductFactory(organization=organization, name="Oat drink")
    for number in range(ROWS):
        days = [None, 5, 5, -3, 40][number % 5]
        expiry = None if days is None else TODAY + datetime.timedelta(days=days)
        CertificationAssignmentFactory(product=product, expiry_date=expiry)


def make_images(organization: Organization) -> None:
    """Create images of one product, several with equal priorities."""
    product = ProductFactory(organization=organization)
    for number in range(ROWS):
        ProductImageFactory(product=product, is_primary=number == 7, priority=number // 4)


def make_keys(organization: Organization) -> None:
    """Create keys, several of them at the same time."""
    for number in range(ROWS):
        client_of(organization, name=f"Key {number}")
    made = list(ApiKey.objects.filter(organization=organization).order_by("pk"))
    for number, key in enumerate(made):
        ApiKey.objects.filter(pk=key.pk).update(
            created_at=NOON - datetime.timedelta(minutes=number // 4)
        )


def add_assignment(organization: Organization) -> None:
    for days in (None, -30, 6):
        CertificationAssignmentFactory(
            product=Product.objects.get(organization=organization),
            certification=CertificationFactory(organization=organization),
            expiry_date=None if days is None else TODAY + datetime.timedelta(days=days),
        )


def add_offer(organization: Organization) -> None:
    product = Product.objects.get(organization=organization)
    for retailer in ("", "Alpha", "Zeta"):
        new = format_id(uuid7())
        OfferFactory(product=product, retailer=retailer, sku=new, url_status=UrlStatus.BROKEN)


def add_product(organization: Organization) -> None:
    for name in ("", "Oat drink", "Zwieback"):
        ProductFactory(organization=organization, name=name)


def add_image(organization: Organization) -> None:
    for priority in (0, 2, 9):
        ProductImageFactory(
            product=Product.objects.get(organization=organization), priority=priority
        )


@dataclasses.dataclass(frozen=True)
class List:
    """A list of the API: its path, and functions that change its rows."""

    path: str
    make: Callable[[Organization], None]
    add: Callable[[Organization], Any]
    delete: Callable[[Organization, str], Any]
    key: str = "id"

    def address(self, organization: Organization) -> str:
        product = Product.objects.filter(organization=organization).first()
        return self.path.format(
            organization_id=format_id(organization.pk), gtin=product.gtin if product else ""
        )


def delete_by_id(model: Any) -> Callable[[Organization, str], Any]:
    return lambda organization, key: model.objects.filter(pk=parse_id(key)).delete()


PRODUCTS = List(
    f"{API}/trade-items/{{organization_id}}", make_products, add_product, delete_by_id(Product)
)
OFFERS = List(f"{API}/offers/{{organization_id}}", make_offers, add_offer, delete_by_id(Offer))
ASSIGNMENTS = List(
    f"{API}/certifications/{{organization_id}}",
    make_assignments,
    add_assignment,
    delete_by_id(CertificationAssignment),
)
IMAGES = List(
    f"{API}/trade-items/{{organization_id}}/{{gtin}}/images",
    make_images,
    add_image,
    delete_by_id(ProductImage),
)
KEYS = List(
    "/account/api/v1/organizations/{organization_id}/api-keys",
    make_keys,
    lambda organization: client_of(organization, name="Added"),
    delete_by_id(ApiKey),
)
RETAILERS = List(
    f"{API}/offers/{{organization_id}}/broken/by-retailer",
    make_failing,
    add_offer,
    lambda organization, key: Offer.objects.filter(
        organization=organization, retailer=key
    ).delete(),
    key="retailer",
)
CASES = [
    *(
        (PRODUCTS, query)
        for query in (
            "",
            "ordering=completeness",
            "ordering=-completeness",
            "ordering=name",
            "ordering=-updated_at",
            "missing=images",
            "missing=certifications&ordering=completeness",
            "max_completeness=40&ordering=-completeness",
            "missing=images&ordering=name",
            "brand=Haferhof",
            "q=oat",
            "status=active&ordering=completeness",
            "q=oat&ordering=-completeness",
            "status=active&ordering=name",
            "q=oat&ordering=-updated_at",
        )
    ),
    *(
        (OFFERS, query)
        for query in (
            "",
            "ordering=retailer",
            "ordering=-retailer",
            "status=active",
            "url_status=failing",
            "status=active&ordering=-retailer",
            "retailer=Alpha",
            "q=oat&ordering=retailer",
        )
    ),
    *(
        (ASSIGNMENTS, query)
        for query in (
            "",
            "ordering=-expiry_date",
            "expired=false",
            "expired=false&ordering=-expiry_date",
            "verification_status=unverified",
            "q=oat",
        )
    ),
    (IMAGES, ""),
    (KEYS, ""),
    (RETAILERS, ""),
]
each_list = pytest.mark.parametrize(
    ("listed", "query"), CASES, ids=lambda value: value if isinstance(value, str) else value.key
)


def get(client: Client, address: str) -> dict[str, Any]:
    response = client.get(address)
    assert response.status_code == 200, response.content
    body: dict[str, Any] = response.json()
    return body


def read_all(
    client: Client, listed: List, address: str, query: str, between: Callable[[list[str]], None]
) -> list[str]:
    """Return the keys of all rows, read in pages of three with cursors."""
    seen: list[str] = []
    after = ""
    for number in range(1, 100):
        body = get(client, f"{address}?{query}&page_size=3{after}")
        pagination = body["pagination"]
        assert pagination["page"] == number
        assert pagination["has_previous"] == (number > 1)
        assert pagination["has_next"] == (pagination["next_after"] is not None)
        seen += [row[listed.key] for row in body["data"]]
        if not pagination["has_next"]:
            return seen
        assert len(body["data"]) == 3
        after = f"&after={pagination['next_after']}"
        between(seen)
    raise AssertionError("The list has no end.")


@pytest.mark.django_db
@each_list
@pytest.mark.slow
def test_cursors_return_the_same_rows_as_pages(listed: List, query: str) -> None:
    organization = OrganizationFactory()
    listed.make(organization)
    client = client_of(organization, role=MANAGER)
    address = listed.address(organization)
    whole = get(client, f"{address}?{query}&page_size=100")
    assert len(whole["data"]) > 3
    expected = [row[listed.key] for row in whole["data"]]
    assert read_all(client, listed, address, query, lambda seen: None) == expected
    assert whole["pagination"]["next_after"] is None


@pytest.mark.django_db(transaction=True)
@each_list
@pytest.mark.slow
def test_cursors_return_each_row_once_despite_concurrent_changes(listed: List, query: str) -> None:
    organization = OrganizationFactory()
    listed.make(organization)
    client = client_of(organization, role=MANAGER)
    address = listed.address(organization)
    before = [row[listed.key] for row in get(client, f"{address}?{query}&page_size=100")["data"]]
    deleted: list[str] = []

    with sessions(1) as (other,):

        def change(seen: list[str]) -> None:
            """Add rows, and delete the row of the cursor, one before it and one after it."""
            other.run(lambda: listed.add(organization))
            unread = [key for key in before if key not in seen and key not in deleted]
            for key in (seen[-1], seen[-2], *unread[-1:]):
                other.run(lambda key=key: listed.delete(organization, key))
                deleted.append(key)

        # The primary image is first: if it were deleted, another would become primary.
        seen = read_all(client, listed, address, query, change)
    stayed = [key for key in before if key not in deleted]
    assert len(deleted) >= 3
    assert [key for key in seen if key in stayed] == stayed
    assert len(seen) == len(set(seen))


@pytest.mark.django_db
@each_list
@pytest.mark.slow
def test_link_header_links_to_the_next_page(listed: List, query: str) -> None:
    organization = OrganizationFactory()
    listed.make(organization)
    client = client_of(organization, role=MANAGER)
    first = client.get(f"{listed.address(organization)}?{query}&page_size=3&page=2")
    match = re.fullmatch(r'<([^>]+)>; rel="next"', first.headers["Link"])
    assert match
    sent = parse_qs(urlsplit(match[1]).query)
    assert sent == {
        **parse_qs(query),
        "page_size": ["3"],
        "after": [first.json()["pagination"]["next_after"]],
    }
    following = client.get(match[1])
    by_number = client.get(f"{listed.address(organization)}?{query}&page_size=3&page=3")
    assert following.json()["data"] == by_number.json()["data"]
    assert following.json()["pagination"]["page"] == 3
    assert (
        following.json()["pagination"]["total_count"]
        == (by_number.json()["pagination"]["total_count"])
    )


@pytest.mark.django_db
def test_last_page_has_no_link_to_a_next_page() -> None:
    organization = OrganizationFactory()
    response = client_of(organization).get(PRODUCTS.address(organization))
    assert "Link" not in response.headers
    assert response.json()["pagination"]["next_after"] is None


def rejection(response: Any) -> list[tuple[str, str, str]]:
    assert response.status_code == 422
    return [(e["pointer"], e["code"], e["detail"]) for e in problem(response)["errors"]]


NO_CURSOR = (
    "#/query/after",
    "cursor",
    "Not a cursor of this list: use the `next_after` of a page with the same filters and ordering.",
)


@pytest.mark.django_db
def test_cursor_of_another_list_is_rejected() -> None:
    organization, other = OrganizationFactory(), OrganizationFactory()
    for one in (organization, other):
        make_products(one)
    client = client_of(organization)
    address = PRODUCTS.address(organization)
    query = "missing=images,brand&ordering=name"
    after = get(client, f"{address}?{query}&page_size=3")["pagination"]["next_after"]
    for same in ("missing=brand,images&ordering=name", f"{query}&page_size=5"):
        assert get(client, f"{address}?{same}&after={after}")["data"]
    for different in (
        "ordering=name",
        "missing=images&ordering=name",
        f"{query}&status=active",
        "missing=images,brand",
        "missing=images,brand&ordering=-updated_at",
    ):
        assert rejection(client.get(f"{address}?{different}&after={after}")) == [NO_CURSOR]
    theirs = PRODUCTS.address(other)
    assert rejection(client_of(other).get(f"{theirs}?{query}&after={after}")) == [NO_CURSOR]
    offers = OFFERS.address(organization)
    assert rejection(client.get(f"{offers}?after={after}")) == [NO_CURSOR]


@pytest.mark.django_db
def test_malformed_cursor_is_rejected() -> None:
    organization = OrganizationFactory()
    make_products(organization)
    client, address = client_of(organization), PRODUCTS.address(organization)
    after = get(client, f"{address}?page_size=3")["pagination"]["next_after"]
    text, signature = after.split(".")
    list_id = "another list"
    for wrong in (
        "",
        "nonsense",
        text,
        f"{text}.",
        f"{text[:-1]}.{signature}",
        f"{text}.{signature[:-1]}",
        f"{text}.{signature}.",
        f"{after}%00",
        cursors.encode(list_id, [1, "00000000-0000-0000-0000-000000000000"]),
        "A" * 4001,
    ):
        assert rejection(client.get(f"{address}?after={wrong}")) == [NO_CURSOR], wrong


@pytest.mark.django_db
def test_cursor_with_a_page_number_is_rejected() -> None:
    organization = OrganizationFactory()
    make_products(organization)
    client, address = client_of(organization), PRODUCTS.address(organization)
    after = get(client, f"{address}?page_size=3")["pagination"]["next_after"]
    assert rejection(client.get(f"{address}?page_size=3&after={after}&page=2")) == [
        ("#/query/after", "exclusive", "Give either `page` or `after`.")
    ]


@pytest.mark.django_db
def test_row_that_moves_ahead_is_returned_at_its_new_position() -> None:
    """A change moves a product to the front of the list, before the cursor."""
    organization = OrganizationFactory()
    make_products(organization)
    client, address = client_of(organization), PRODUCTS.address(organization)
    first = get(client, f"{address}?ordering=-updated_at&page_size=3")
    last = get(client, f"{address}?ordering=-updated_at&page_size=100")["data"][-1]
    client_of(organization, role="editor").patch(
        f"{address}/{last['gtin']}", {"category": "Drinks"}, content_type="application/json"
    )
    after = first["pagination"]["next_after"]
    rest = get(client, f"{address}?ordering=-updated_at&page_size=100&after={after}")["data"]
    assert last["gtin"] not in {row["gtin"] for row in rest}
    assert len(rest) == ROWS - 4
    again = get(client, f"{address}?ordering=-updated_at&page_size=3")["data"]
    assert again[0]["gtin"] == last["gtin"]


@pytest.mark.django_db
def test_cursor_supports_names_of_maximum_length() -> None:
    organization = OrganizationFactory()
    name = "\N{PINEAPPLE}" * 255
    ProductFactory.create_batch(3, organization=organization, name=name)
    client, address = client_of(organization), PRODUCTS.address(organization)
    seen = read_all(client, PRODUCTS, address, "ordering=name", lambda seen: None)
    assert len(set(seen)) == 3
    after = get(client, f"{address}?ordering=name&page_size=1")["pagination"]["next_after"]
    rest = get(client, f"{address}?ordering=name&after={after}")
    assert [row["name"] for row in rest["data"]] == [name, name]
