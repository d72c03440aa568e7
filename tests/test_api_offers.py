"""Offers in the API: lists, filters, create, change and delete."""

from __future__ import annotations

import datetime
import itertools
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client

from catalog.completeness import DEFAULT_RULE
from closient.accounts.models import Organization
from closient.db.ids import format_id
from dashboard.numbers import Stats, StatsQuery, stats
from offers import currencies
from offers.editing import create_offer
from offers.models import FAILING, Offer, OfferStatus, UrlStatus
from tests.clients import (
    API,
    ONE_ROW,
    client_of,
    editor_of,
    errors_of,
    problem,
    queries_of,
    times_of,
)
from tests.counting import assert_exact
from tests.factories import OfferFactory, OrganizationFactory, ProductFactory, gtin
from tests.sessions import sessions

pytestmark = pytest.mark.django_db

CHECKED = datetime.datetime(2026, 11, 20, 7, 15, tzinfo=datetime.UTC)


def offers_path(organization: Organization, offer: Offer | None = None, *more: str) -> str:
    ids = [format_id(row.id) for row in (organization, offer) if row is not None]
    return "/".join([API, "offers", *ids, *more])


def listed(organization: Organization, query: str = "") -> dict[str, Any]:
    response = client_of(organization).get(offers_path(organization) + query)
    assert response.status_code == 200, response.content
    body: dict[str, Any] = response.json()
    return body


def numbers(organization: Organization) -> Stats:
    return stats(StatsQuery(organization.pk, DEFAULT_RULE, organization.today()))


def post(client: Client, organization: Organization, body: Any, **headers: str) -> Any:
    path = offers_path(organization)
    return client.post(path, body, content_type="application/json", headers=headers)


def patch(client: Client, offer: Offer, body: Any) -> Any:
    path = offers_path(offer.organization, offer)
    return client.patch(path, body, content_type="application/json")


@pytest.fixture
def organization() -> Organization:
    """An organization with three offers in each bucket; another one has one too."""
    organization = OrganizationFactory()
    product = ProductFactory(organization=organization, name="Oat Flakes")
    for status, url_status in itertools.product(OfferStatus.values, UrlStatus.values):
        OfferFactory.create_batch(3, product=product, status=status, url_status=url_status)
    for status in OfferStatus.values:
        OfferFactory.create_batch(3, product=product, status=status, in_store=True)
    OfferFactory(url_status=UrlStatus.BROKEN)
    return organization


# Lists


def test_offer_has_all_fields() -> None:
    product = ProductFactory(gtin=gtin(7))
    offer = OfferFactory(
        product=product,
        retailer="Kaufladen",
        store="Online",
        sku="K-1",
        url="https://shop.example.com/1",
        price=Decimal("12.5"),
        currency="EUR",
        status=OfferStatus.SEASONAL,
        url_status=UrlStatus.BROKEN,
        http_status=404,
        url_checked_at=CHECKED,
        url_failing_since=CHECKED,
        url_detail="The server answered 404 Not Found.",
        metadata={"season": "summer"},
    )
    shown = {
        "id": format_id(offer.id),
        "gtin": gtin(7),
        "channel": "online",
        "retailer": "Kaufladen",
        "store": "Online",
        "sku": "K-1",
        "url": "https://shop.example.com/1",
        "price": "12.50",
        "currency": "EUR",
        "status": "seasonal",
        "url_status": "broken",
        "http_status": 404,
        "url_checked_at": "2026-11-20T07:15:00Z",
        "url_failing_since": "2026-11-20T07:15:00Z",
        "url_detail": "The server answered 404 Not Found.",
        "metadata": {"season": "summer"},
        **times_of(offer),
    }
    assert listed(product.organization) == {
        "data": [shown],
        "pagination": ONE_ROW,
    }
    client = client_of(product.organization)
    for identifier in (format_id(offer.id), str(offer.id)):
        response = client.get(f"{offers_path(product.organization)}/{identifier}")
        assert (response.status_code, response.json()) == (200, shown)


def test_offer_in_a_store_has_no_url_status() -> None:
    offer = OfferFactory(in_store=True)
    (shown,) = listed(offer.organization)["data"]
    assert (shown["channel"], shown["store"]) == ("in_store", "Main Street")
    assert (shown["url"], shown["url_status"], shown["price"]) == ("", None, None)


def test_offers_are_sorted_newest_first_across_pages(organization: Organization) -> None:
    newest_first = [
        format_id(pk)
        for pk in Offer.objects.of(organization).order_by("-pk").values_list("pk", flat=True)
    ]
    assert len(newest_first) == 84
    pages = [listed(organization, f"?page={page}&page_size=10") for page in range(1, 11)]
    assert [row["id"] for page in pages for row in page["data"]] == newest_first
    assert [page["pagination"]["has_next"] for page in pages] == [True] * 8 + [False] * 2
    assert {page["pagination"]["total_count"] for page in pages} == {84}


def ids_of(offers: Any) -> list[str]:
    return [format_id(offer.id) for offer in sorted(offers, key=lambda o: o.id, reverse=True)]


def spell(name: str, values: Any) -> str:
    return "" if values is None else f"&{name}={','.join(values)}"


@pytest.mark.parametrize("channel", [None, ["online"], ["in_store"]])
@pytest.mark.parametrize("status", [None, ["active"], ["discontinued"]])
@pytest.mark.parametrize(
    "url_status", [None, ["failing"], ["ok"], ["ok", "timeout"], ["failing", "broken", "blocked"]]
)
def test_offers_are_filtered_by_channel_status_and_url_status(
    organization: Organization, channel: Any, status: Any, url_status: Any
) -> None:
    words = set(url_status or ()) | (set(FAILING) if "failing" in (url_status or ()) else set())
    expected = ids_of(
        offer
        for offer in Offer.objects.of(organization)
        if (channel is None or offer.channel in channel)
        and (status is None or offer.status in status)
        and (url_status is None or offer.url_status in words)
    )
    query = spell("channel", channel) + spell("status", status) + spell("url_status", url_status)
    # A page that spans several buckets, and the whole list.
    middle = listed(organization, f"?page=2&page_size=4{query}")
    assert [row["id"] for row in middle["data"]] == expected[4:8]
    everything = listed(organization, f"?page_size=100{query}")
    assert [row["id"] for row in everything["data"]] == expected
    assert everything["pagination"]["total_count"] == len(expected)


def test_total_counts_equal_the_dashboard_numbers(organization: Organization) -> None:
    def check() -> None:
        totals = assert_exact(organization)
        for query, number in (
            ("?status=active", totals.active_offers),
            ("?url_status=failing", totals.broken_offers),
            ("?url_status=broken,timeout,dns_failure&channel=online", totals.broken_offers),
        ):
            assert listed(organization, query)["pagination"]["total_count"] == number
        groups = listed(organization, "/broken/by-retailer?page_size=100")["data"]
        assert sum(group["broken"] for group in groups) == totals.broken_offers

    assert numbers(organization).broken_offers == 36
    check()
    Offer.objects.of(organization).broken().filter(status="active").delete()
    check()
    Offer.objects.of(organization).filter(status="seasonal").update(status="active")
    check()
    Offer.objects.of(organization).delete()
    check()


def test_offers_are_filtered_by_retailer() -> None:
    organization = OrganizationFactory()
    product = ProductFactory(organization=organization)
    OfferFactory(product=product, retailer="kaufladen")
    OfferFactory(product=product, retailer="Kaufladen Nord")
    unnamed = OfferFactory(product=product, retailer="")
    fine, broken, store = (
        OfferFactory(product=product, retailer="Kaufladen", sku="1"),
        OfferFactory(product=product, retailer="Kaufladen", sku="2", url_status="timeout"),
        OfferFactory(product=product, retailer="Kaufladen", in_store=True),
    )
    for query, expected in (
        ("?retailer=Kaufladen", [fine, broken, store]),
        ("?retailer=Kaufladen&url_status=failing", [broken]),
        ("?retailer=Kaufladen&url_status=ok,timeout", [broken]),
        ("?retailer=Kaufladen&url_status=ok&url_status=timeout", [broken]),
        ("?retailer=Kaufladen&channel=in_store", [store]),
        ("?retailer=Kaufladen&status=active&channel=online", [fine, broken]),
        ("?retailer=", [unnamed]),
        ("?retailer=Unknown", []),
    ):
        body = listed(organization, query)
        assert [row["id"] for row in body["data"]] == ids_of(expected), query
        assert body["pagination"]["total_count"] == len(expected)


def test_offers_are_filtered_by_gtin_and_sku() -> None:
    product = ProductFactory(gtin=gtin(1))
    other = ProductFactory(organization=product.organization, gtin=gtin(2))
    # The same GTIN and SKU in another organization.
    OfferFactory(product__gtin=gtin(1), sku="EM-1")
    one = OfferFactory(product=product, sku="EM-1", retailer="A")
    two = OfferFactory(product=product, sku="EM-10", url_status="broken")
    three = OfferFactory(product=other, sku="EM-1", retailer="B")
    OfferFactory(product=other, sku="")
    for query, expected in (
        (f"?gtin={gtin(1)}", [two, one]),
        (f"?gtin={gtin(1)[1:]}", [two, one]),
        (f"?gtin={gtin(1)}&url_status=failing", [two]),
        (f"?gtin={gtin(3)}", []),
        ("?sku=EM-1", [three, one]),
        ("?sku=em-1", []),
        (f"?sku=EM-1&gtin={gtin(2)}", [three]),
        ("?sku=EM-1&ordering=retailer&channel=in_store", []),
    ):
        page = listed(product.organization, query)
        assert [row["id"] for row in page["data"]] == ids_of(expected), query
        assert page["pagination"]["total_count"] == len(expected)


def test_offers_are_sorted_by_retailer_across_pages() -> None:
    organization = OrganizationFactory()
    product = ProductFactory(organization=organization)
    offers = [
        OfferFactory(product=product, retailer=retailer, sku=f"{retailer} {n}", url_status=status)
        for n, status in enumerate(("ok", "broken", "timeout"))
        for retailer in ("Basket", "Corner", "")
    ]
    OfferFactory(retailer="Basket")

    def is_broken(offer: Offer) -> bool:
        return offer.url_status in ("broken", "timeout")

    for query, wanted in (
        ("", offers),
        ("&url_status=failing", [o for o in offers if is_broken(o)]),
        ("&retailer=Corner", [o for o in offers if o.retailer == "Corner"]),
    ):
        newest_first = sorted(wanted, key=lambda o: o.pk, reverse=True)
        by_retailer = sorted(newest_first, key=lambda o: o.retailer)
        for ordering, expected in (("retailer", by_retailer), ("-retailer", by_retailer[::-1])):
            pages = [
                listed(organization, f"?ordering={ordering}{query}&page_size=4&page={n}")
                for n in (1, 2, 3)
            ]
            shown = [row["id"] for page in pages for row in page["data"]]
            assert shown == [format_id(offer.id) for offer in expected], (query, ordering)
            assert {page["pagination"]["total_count"] for page in pages} == {len(expected)}


def test_offers_are_searched_by_gtin_and_name_of_the_trade_item() -> None:
    organization = OrganizationFactory()
    oats = ProductFactory(organization=organization, gtin="04012345678901", name="Crunchy Oats")
    bars = ProductFactory(organization=organization, gtin=gtin(5), name="Bars")
    of_oats = OfferFactory.create_batch(2, product=oats)
    of_bars = OfferFactory.create_batch(1, product=bars, status="seasonal")
    OfferFactory(product=ProductFactory(name="Crunchy Oats"))
    for query, expected in (
        ("q=40123", of_oats),
        ("q=04012345678901", of_oats),
        ("q=cru%20oat", of_oats),
        ("q=BAR", of_bars),
        ("q=bar&status=seasonal", of_bars),
        ("q=bar&status=active", []),
        ("q=ars", []),
        ("q=%27%20OR%201=1", []),
    ):
        body = listed(organization, f"?{query}")
        assert [row["id"] for row in body["data"]] == ids_of(expected), query
        assert body["pagination"]["total_count"] == len(expected)


@pytest.mark.parametrize(
    ("query", "errors"),
    [
        ("status=gone", [("status", "choice")]),
        ("status=active,seasonal", [("status", "choice")]),
        ("status=", [("status", "choice")]),
        ("channel=ONLINE", [("channel", "choice")]),
        ("url_status=ok,", [("url_status", "choice")]),
        ("url_status=ok,fine", [("url_status", "choice")]),
        ("url_status=", [("url_status", "choice")]),
        ("retailer=%00", [("retailer", "text")]),
        ("retailer=" + "x" * 256, [("retailer", "text")]),
        ("q=", [("q", "text")]),
        ("q=a%00", [("q", "text")]),
        ("ordering=price", [("ordering", "choice")]),
        ("gtin=4012345678902", [("gtin", "gtin_check_digit")]),
        ("sku=", [("sku", "text")]),
        ("page=0&page_size=101", [("page", "range"), ("page_size", "range")]),
        ("q=a&q=b", [("q", "repeated")]),
    ],
)
def test_offers_reject_invalid_filters(query: str, errors: list[tuple[str, str]]) -> None:
    organization = OrganizationFactory()
    response = client_of(organization).get(f"{offers_path(organization)}?{query}")
    assert errors_of(response) == [(f"#/query/{name}", code) for name, code in errors]


def test_broken_offers_are_counted_by_retailer() -> None:
    organization = OrganizationFactory()
    product = ProductFactory(organization=organization)
    for retailer, sku, url_status, days in (
        ("Big", "1", "broken", 1),
        ("Big", "2", "timeout", 5),
        ("Big", "3", "broken", 3),
        ("Ace", "1", "dns_failure", None),
        ("", "1", "broken", 2),
        ("Fine", "1", "ok", None),
    ):
        since = None if days is None else CHECKED - datetime.timedelta(days=days)
        OfferFactory(
            product=product,
            retailer=retailer,
            sku=sku,
            url_status=url_status,
            url_failing_since=since,
        )
    OfferFactory(url_status="broken")
    body = listed(organization, "/broken/by-retailer?page_size=2")
    counts = {"broken": 0, "timeout": 0, "dns_failure": 0}
    first = {
        "retailer": "Big",
        "broken": 3,
        "since": "2026-11-15T07:15:00Z",
        "url_statuses": counts | {"broken": 2, "timeout": 1},
    }
    unnamed = {
        "retailer": "",
        "broken": 1,
        "since": "2026-11-18T07:15:00Z",
        "url_statuses": counts | {"broken": 1},
    }
    last = {
        "retailer": "Ace",
        "broken": 1,
        "since": None,
        "url_statuses": counts | {"dns_failure": 1},
    }
    assert body["data"] == [first, unnamed]
    assert body["pagination"]["total_count"] == 3
    assert listed(organization, "/broken/by-retailer?page=2&page_size=2")["data"] == [last]
    assert listed(organization, "/broken/by-retailer?page=3")["data"] == []


def test_lists_of_an_empty_organization_are_empty() -> None:
    organization = OrganizationFactory()
    for query in ("", "?status=active", "?retailer=x", "?q=x", "/broken/by-retailer"):
        body = listed(organization, query)
        assert (body["data"], body["pagination"]["total_count"]) == ([], 0)


@pytest.mark.parametrize(
    ("query", "queries"),
    [
        # The key with its organization and the rate limit, the tally, the page's keys, its rows.
        ("", 4),
        ("?status=active&channel=online", 4),
        ("?url_status=failing", 4),
        ("?url_status=failing&ordering=retailer", 4),
        # The key and the rate limit, the count, the page's keys, its rows.
        ("?retailer=Kaufladen", 4),
        ("?q=oat", 4),
        # The key and the rate limit, how many retailers, the page.
        ("/broken/by-retailer", 3),
    ],
)
def test_offers_lists_use_a_constant_number_of_queries(query: str, queries: int) -> None:
    organization = OrganizationFactory()
    client, path = client_of(organization), offers_path(organization) + query
    many = {"retailer": "Kaufladen", "url_status": "broken"}
    for number in range(1, 25):
        product = ProductFactory(organization=organization, name="Oats")
        OfferFactory(product=product, **many)
        OfferFactory(product=product, in_store=True)
        if number in (1, 24):
            response, seen = queries_of(client, path)
            assert len(seen) == queries, seen
    assert response.json()["data"]


def test_filter_that_all_offers_match_reads_the_page_from_an_index_alone() -> None:
    organization = OrganizationFactory()
    client, product = client_of(organization), ProductFactory(organization=organization)
    for number in range(3):
        OfferFactory(product=product, sku=str(number))
    path = offers_path(organization) + "?status=active&channel=online"
    for total, has_condition in ((3, False), (3, True)):
        if has_condition:
            OfferFactory(product=product, status="seasonal")
        response, seen = queries_of(client, path)
        assert response.json()["pagination"]["total_count"] == total
        page_of_ids = next(sql for sql in seen if "LIMIT" in sql and "offers_offer" in sql)
        assert ("status" in page_of_ids) is has_condition


# Writing


def test_offer_is_created_with_required_fields_only() -> None:
    product = ProductFactory()
    organization = product.organization
    client = editor_of(organization)
    body = {"gtin": product.gtin.lstrip("0"), "url": "https://shop.example.com/1"}
    response = post(client, organization, body)
    assert response.status_code == 201, response.content
    offer = Offer.objects.get()
    assert response.json() == {
        "id": format_id(offer.id),
        "gtin": product.gtin,
        "channel": "online",
        "retailer": "",
        "store": "",
        "sku": "",
        "url": "https://shop.example.com/1",
        "price": None,
        "currency": "",
        "status": "active",
        "url_status": "unchecked",
        "http_status": None,
        "url_checked_at": None,
        "url_failing_since": None,
        "url_detail": "",
        "metadata": {},
        **times_of(offer),
    }
    assert response.headers["Location"] == offers_path(organization, offer)
    assert client.get(response.headers["Location"]).json() == response.json()
    assert assert_exact(organization).active_offers == 1


def test_offer_is_created_with_all_fields() -> None:
    product = ProductFactory()
    body = {
        "gtin": product.gtin,
        "channel": "in_store",
        "retailer": " Käse & Co ",
        "store": "Hauptstraße 1",
        "sku": "A-1",
        "url": "",
        "price": "0",
        "currency": "CHF",
        "status": "seasonal",
        "metadata": {"season": "summer"},
    }
    response = post(editor_of(product.organization), product.organization, body)
    assert response.status_code == 201, response.content
    assert response.json() == {
        **body,
        "id": format_id(Offer.objects.get().id),
        "retailer": "Käse & Co",
        "price": "0.00",
        "url_status": None,
        "http_status": None,
        "url_checked_at": None,
        "url_failing_since": None,
        "url_detail": "",
        **times_of(Offer.objects.get()),
    }
    assert assert_exact(product.organization).active_offers == 0


def test_offer_is_created_once_per_idempotency_key() -> None:
    product = ProductFactory()
    organization = product.organization
    client = editor_of(organization)
    body = {"gtin": product.gtin, "url": "https://shop.example.com/1"}
    key = {"Idempotency-Key": "first"}
    first = post(client, organization, body, **key)
    again = post(client, organization, body, **key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert again.headers["Location"] == first.headers["Location"]
    assert Offer.objects.count() == 1
    assert post(client, organization, {**body, "sku": "2"}, **key).status_code == 409
    assert post(client, organization, body).status_code == 409


def test_duplicate_offer_is_a_conflict() -> None:
    offer = OfferFactory(retailer="Kaufladen")
    other = OfferFactory(product=offer.product, retailer="Corner")
    client = editor_of(offer.organization)
    expected = {
        "type": "/docs/errors/conflict",
        "title": "Conflict",
        "status": 409,
        "detail": "The product has an offer of this channel, retailer, store and SKU already.",
        "error_code": "conflict",
        "retryable": False,
        "conflicting_id": format_id(offer.id),
    }
    body = {"gtin": offer.product.gtin, "retailer": "Kaufladen", "url": "https://x.example.com"}
    for rejected in (
        post(client, offer.organization, body),
        patch(client, other, {"retailer": "Kaufladen"}),
    ):
        assert problem(rejected) == expected
        assert client.get(rejected.headers["Location"]).json()["id"] == format_id(offer.id)
    assert set(Offer.objects.values_list("retailer", flat=True)) == {"Kaufladen", "Corner"}
    assert post(client, offer.organization, {**body, "store": "Two"}).status_code == 201
    assert assert_exact(offer.organization).active_offers == 3


@pytest.mark.parametrize(
    ("change", "errors"),
    [
        ({"gtin": None}, [("#/gtin", "null")]),
        ({"gtin": 4012345678901}, [("#/gtin", "invalid")]),
        ({"gtin": "4012345678902"}, [("#/gtin", "gtin_check_digit")]),
        ({"gtin": gtin(10**10)}, [("#/gtin", "unknown_gtin")]),
        ({"channel": "phone"}, [("#/channel", "invalid_choice")]),
        ({"channel": None}, [("#/channel", "null")]),
        ({"retailer": "x" * 256}, [("#/retailer", "text")]),
        ({"retailer": "a\nb"}, [("#/retailer", "text")]),
        ({"retailer": None}, [("#/retailer", "null")]),
        ({"retailer": 5}, [("#/retailer", "invalid")]),
        ({"store": "x" * 256}, [("#/store", "text")]),
        ({"sku": "x" * 101}, [("#/sku", "text")]),
        ({"url": ""}, [("#/url", "required")]),
        ({"url": "shop.example.com"}, [("#/url", "url")]),
        ({"url": "ftp://shop.example.com/"}, [("#/url", "url")]),
        ({"url": "javascript:alert(1)"}, [("#/url", "url")]),
        ({"url": "https://shop example.com/"}, [("#/url", "url")]),
        ({"url": "https://shop.example.com/\x1f/"}, [("#/url", "text")]),
        ({"url": "https://"}, [("#/url", "url")]),
        ({"url": "https://shop.example.com/" + "x" * 1000}, [("#/url", "text")]),
        ({"price": "-1"}, [("#/price", "price")]),
        ({"price": "1,50"}, [("#/price", "price")]),
        ({"price": "1.50505"}, [("#/price", "price")]),
        ({"price": "12345678901"}, [("#/price", "price")]),
        ({"price": "1e3"}, [("#/price", "price")]),
        ({"price": "NaN"}, [("#/price", "price")]),
        ({"price": "\u0661"}, [("#/price", "price")]),
        ({"price": 12.5}, [("#/price", "price")]),
        ({"currency": "eur"}, [("#/currency", "currency")]),
        ({"currency": "QQQ"}, [("#/currency", "currency")]),
        ({"currency": "EURO"}, [("#/currency", "text")]),
        ({"status": "gone"}, [("#/status", "invalid_choice")]),
        ({"metadata": []}, [("#/metadata", "invalid")]),
        ({"metadata": {"a": 1}}, [("#/metadata/a", "metadata")]),
        ({"sku": None, "price": "x"}, [("#/sku", "null"), ("#/price", "price")]),
    ],
)
def test_offer_rejects_invalid_values(change: Any, errors: list[tuple[str, str]]) -> None:
    product = ProductFactory()
    ProductFactory(gtin=gtin(10**10))
    organization = product.organization
    client = editor_of(organization)
    body = {"gtin": product.gtin, "url": "https://shop.example.com/1"}
    assert errors_of(post(client, organization, {**body, **change})) == errors
    assert not Offer.objects.exists()
    offer = OfferFactory(product=product)
    before = Offer.objects.values().get()
    assert errors_of(patch(client, offer, change)) == errors
    assert Offer.objects.values().get() == before


@pytest.mark.parametrize("body", ["[]", '"text"', "null", "5"])
def test_offer_must_be_an_object(body: str) -> None:
    organization = OrganizationFactory()
    response = post(editor_of(organization), organization, body)
    assert [pointer for pointer, _ in errors_of(response)] == ["#"]


def test_offer_requires_a_gtin_and_an_online_offer_a_url() -> None:
    product = ProductFactory()
    client = editor_of(product.organization)
    assert errors_of(post(client, product.organization, {})) == [("#/gtin", "required")]
    body = {"gtin": product.gtin}
    response = post(client, product.organization, body)
    assert errors_of(response) == [("#/url", "required")]
    assert response.json()["errors"][0]["detail"] == "An online offer needs a URL."
    in_store = post(client, product.organization, {**body, "channel": "in_store"})
    assert in_store.status_code == 201


def test_offer_patch_changes_only_given_fields() -> None:
    offer = OfferFactory(
        retailer="Kaufladen",
        url_status=UrlStatus.OK,
        http_status=200,
        url_checked_at=CHECKED,
        metadata={"a": "1", "b": "2"},
    )
    client = editor_of(offer.organization)
    before = client.get(offers_path(offer.organization, offer)).json()
    change = {"price": "3.2", "currency": "EUR", "metadata": {"b": None, "c": "3"}}
    response = patch(client, offer, change)
    after = {**before, **change, "price": "3.20", "metadata": {"a": "1", "c": "3"}}
    after |= times_of(offer)
    assert (response.status_code, response.json()) == (200, after)
    assert client.get(offers_path(offer.organization, offer)).json() == after
    assert patch(client, offer, {"price": None}).json()["price"] is None
    assert_exact(offer.organization)


def test_offer_patch_without_changes_writes_nothing() -> None:
    offer = OfferFactory(price=Decimal("3.20"), currency="EUR", metadata={"a": "1"})
    before = Offer.objects.values().get()
    client = editor_of(offer.organization)
    for body in ({}, {"price": "3.2", "metadata": {"a": "1"}, "url": offer.url}):
        assert patch(client, offer, body).status_code == 200
    assert Offer.objects.values().get() == before
    assert patch(client, offer, {"price": "3.21"}).status_code == 200
    assert Offer.objects.get().updated_at > before["updated_at"]


@pytest.mark.parametrize(
    ("price", "currency", "shown"),
    [
        ("12.5", "EUR", "12.50"),
        ("1500", "JPY", "1500"),
        ("1500.00", "JPY", "1500"),
        ("1.999", "BHD", "1.999"),
        ("1.9", "KWD", "1.900"),
        ("0.0001", "CLF", "0.0001"),
        ("1234567890.12", "USD", "1234567890.12"),
    ],
)
def test_price_has_the_digits_of_its_currency(price: str, currency: str, shown: str) -> None:
    product = ProductFactory()
    client = editor_of(product.organization)
    body = {"gtin": product.gtin, "url": "https://shop.example.com/1"}
    made = post(client, product.organization, {**body, "price": price, "currency": currency})
    assert (made.status_code, made.json()["price"]) == (201, shown)
    assert Offer.objects.get().price == Decimal(price)


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"price": "12.50"}, ("#/currency", "required")),
        ({"price": "0"}, ("#/currency", "required")),
        ({"price": "12.50", "currency": ""}, ("#/currency", "required")),
        ({"price": "1.5", "currency": "JPY"}, ("#/price", "decimals")),
        ({"price": "1.505", "currency": "EUR"}, ("#/price", "decimals")),
        ({"price": "1.9999", "currency": "BHD"}, ("#/price", "decimals")),
    ],
)
def test_price_with_too_many_digits_for_its_currency_is_rejected(
    values: dict[str, str], error: tuple[str, str]
) -> None:
    offer = OfferFactory()
    client = editor_of(offer.organization)
    body = {"gtin": offer.product.gtin, "url": "https://shop.example.com/new", "sku": "new"}
    assert errors_of(post(client, offer.organization, {**body, **values})) == [error]
    assert errors_of(patch(client, offer, values)) == [error]
    assert Offer.objects.get().price is None


def test_price_keeps_its_currency() -> None:
    offer = OfferFactory(price="1.5", currency="EUR")
    client = editor_of(offer.organization)
    for change, error in (
        ({"currency": ""}, ("#/currency", "required")),
        ({"currency": "JPY"}, ("#/price", "decimals")),
    ):
        assert errors_of(patch(client, offer, change)) == [error]
    # A currency without a price is kept for the next price.
    assert patch(client, offer, {"price": None}).json()["currency"] == "EUR"
    assert patch(client, offer, {"price": "2", "currency": "JPY"}).json()["price"] == "2"


def test_offer_with_an_invalid_stored_price_can_be_changed() -> None:
    # From the time when prices did not require a currency.
    offer = OfferFactory(price="1.5", currency="")
    client = editor_of(offer.organization)
    shown = patch(client, offer, {"status": "discontinued"}).json()
    assert (shown["status"], shown["price"]) == ("discontinued", "1.50")


def test_every_currency_with_other_digits_is_a_known_currency() -> None:
    assert set(currencies._PLACES) <= currencies.CODES


def test_changed_url_is_unchecked() -> None:
    offer = OfferFactory(
        url_status=UrlStatus.BROKEN,
        http_status=404,
        url_checked_at=CHECKED,
        url_failing_since=CHECKED,
        url_detail="The server answered 404 Not Found.",
    )
    client = editor_of(offer.organization)
    assert assert_exact(offer.organization).broken_offers == 1
    body = patch(client, offer, {"url": "https://shop.example.com/new"}).json()
    unchecked = {
        "http_status": None,
        "url_checked_at": None,
        "url_failing_since": None,
        "url_detail": "",
    }
    assert body == {**body, **unchecked, "url_status": "unchecked"}
    assert assert_exact(offer.organization).broken_offers == 0


def test_offer_patch_changes_the_channel() -> None:
    offer = OfferFactory(url_status=UrlStatus.TIMEOUT, url_failing_since=CHECKED)
    client = editor_of(offer.organization)
    into_store = patch(client, offer, {"channel": "in_store", "url": ""}).json()
    assert (into_store["url_status"], into_store["url_failing_since"]) == (None, None)
    assert assert_exact(offer.organization).broken_offers == 0
    assert errors_of(patch(client, offer, {"channel": "online"})) == [("#/url", "required")]
    online = patch(client, offer, {"channel": "online", "url": "https://x.example.com"}).json()
    assert online["url_status"] == "unchecked"
    assert_exact(offer.organization)


def test_offer_patch_changes_the_trade_item() -> None:
    offer = OfferFactory()
    other = ProductFactory(organization=offer.organization)
    foreign = ProductFactory()
    client = editor_of(offer.organization)
    assert errors_of(patch(client, offer, {"gtin": foreign.gtin})) == [("#/gtin", "unknown_gtin")]
    assert patch(client, offer, {"gtin": other.gtin}).json()["gtin"] == other.gtin
    for product, count in ((offer.product, 0), (other, 1)):
        product.refresh_from_db()
        assert product.summary.active_offer_count == count
    assert_exact(offer.organization)


@pytest.mark.django_db(transaction=True)
def test_concurrent_duplicate_offers_are_one_and_a_conflict() -> None:
    product = ProductFactory()
    values = {"retailer": "Kaufladen", "url": "https://x.example.com"}
    client = editor_of(product.organization)
    body = {"gtin": product.gtin, **values}
    with sessions(2) as (one, other):
        one.begin()
        one.run(lambda: create_offer(product, values))
        waiting = other.start(lambda: post(client, product.organization, body))
        other.wait_until_blocked()
        one.end()
        assert problem(waiting.result(timeout=30))["error_code"] == "conflict"
    assert assert_exact(product.organization).active_offers == 1


@pytest.mark.django_db(transaction=True)
def test_patch_keeps_the_result_of_a_concurrent_check() -> None:
    offer = OfferFactory()
    client = editor_of(offer.organization)
    with sessions(2) as (one, other):
        one.begin()
        one.run(lambda: Offer.objects.update(url_status="broken", http_status=404))
        waiting = other.start(lambda: patch(client, offer, {"price": "1", "currency": "EUR"}))
        other.wait_until_blocked()
        one.end()
        body = waiting.result(timeout=30).json()
    assert (body["price"], body["url_status"], body["http_status"]) == ("1.00", "broken", 404)
    assert assert_exact(offer.organization).broken_offers == 1


READ_ONLY = {
    "id": "2" * 22,
    "url_status": "ok",
    "http_status": 200,
    "url_checked_at": "2020-01-01T00:00:00Z",
    "url_failing_since": "2020-01-01T00:00:00Z",
    "url_detail": "Fine.",
    "url_check_at": None,
    "url_strikes": 7,
    "url_struck_first_at": "2020-01-01T00:00:00Z",
    "url_struck_last_at": "2020-01-01T00:00:00Z",
    "url_host": "x.example.com",
    "organization": "2" * 22,
    "organization_id": str(uuid4()),
    "product": str(uuid4()),
    "product_id": str(uuid4()),
    "created_at": "2020-01-01T00:00:00Z",
    "updated_at": "2020-01-01T00:00:00Z",
}


@pytest.mark.parametrize("field", READ_ONLY)
def test_offer_ignores_read_only_fields(field: str) -> None:
    offer = OfferFactory(retailer="One")
    before = Offer.objects.values().get()
    client = editor_of(offer.organization)
    if field not in client.get(offers_path(offer.organization, offer)).json():
        rejected = patch(client, offer, {field: READ_ONLY[field]})
        assert errors_of(rejected) == [(f"#/{field}", "unknown_field")]
        return
    assert patch(client, offer, {field: READ_ONLY[field]}).status_code == 200
    assert Offer.objects.values().get() == before
    plain = {"gtin": offer.product.gtin, "url": "https://x.example.com"}
    expected = post(client, offer.organization, {**plain, "sku": "a"}).json()
    response = post(client, offer.organization, {**plain, "sku": "b", field: READ_ONLY[field]})
    given = response.json()
    assert given.pop("id") not in (expected.pop("id"), "2" * 22)
    for name in ("created_at", "updated_at"):
        assert given.pop(name) > expected.pop(name)
    assert given == {**expected, "sku": "b"}
    created = Offer.objects.latest("pk")
    assert created.organization_id == offer.organization_id
    assert created.created_at.year > 2020
    assert created.updated_at.year > 2020


def test_offer_is_deleted() -> None:
    offer = OfferFactory(url_status=UrlStatus.BROKEN)
    kept = OfferFactory(product=offer.product)
    client = editor_of(offer.organization)
    path = offers_path(offer.organization, offer)
    response = client.delete(path)
    assert (response.status_code, response.content) == (204, b"")
    assert list(Offer.objects.all()) == [kept]
    totals = assert_exact(offer.organization)
    assert (totals.active_offers, totals.broken_offers) == (1, 0)
    for gone in (client.get(path), client.delete(path), patch(client, offer, {})):
        assert problem(gone)["error_code"] == "not_found"


def test_offer_uses_a_constant_number_of_queries() -> None:
    offer = OfferFactory()
    OfferFactory.create_batch(5, product=offer.product)
    # The key with its organization and the rate limit, the offer with its GTIN.
    _, seen = queries_of(editor_of(offer.organization), offers_path(offer.organization, offer))
    assert len(seen) == 2, seen


@pytest.mark.parametrize(
    "url",
    [
        "https://my_shop.example.com/x",
        "https://i\u2764.ws/x",
        "https://b\u00fccher.example/\u00fc",
        "https://shop.example.com/oat flakes.html",
        "http://[2a00:1450::e]/x",
    ],
)
def test_offer_accepts_urls_that_browsers_accept(organization: Organization, url: str) -> None:
    product = ProductFactory(organization=organization)
    body = {"gtin": product.gtin, "channel": "online", "retailer": "Shop", "url": url}
    response = post(editor_of(organization), organization, body)
    assert response.status_code == 201, response.content
    assert response.json()["url"] == url
