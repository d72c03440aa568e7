"""The pages of offers: the list, its bulk actions, and one offer."""

from __future__ import annotations

import csv
import datetime
import html
import io
import itertools
import json
import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Page, expect

from closient.accounts.models import Membership
from closient.db.ids import format_id
from offers.editing import discontinue
from offers.models import CheckedHost, Offer, OfferStatus, UrlStatus
from offers.url_checks.check_now import check_now
from tests.browser import assert_accessible, assert_fits, assert_looks_right
from tests.clients import queries_of
from tests.counting import assert_exact
from tests.factories import (
    CertificationAssignmentFactory,
    MembershipFactory,
    OfferFactory,
    ProductFactory,
    gtin,
)
from tests.hostile_server import HostileServer, hostile_server, loopback_policy
from tests.sessions import sessions

pytestmark = pytest.mark.django_db
in_browser = pytest.mark.django_db(transaction=True)

HTMX = {"HX-Request": "true"}
LONG_AGO = datetime.datetime(2026, 11, 20, 7, 15, tzinfo=datetime.UTC)


@pytest.fixture
def alice() -> Membership:
    return MembershipFactory(role="owner", organization__time_zone="Europe/Berlin")


@pytest.fixture
def member(client: Client, alice: Membership) -> Client:
    client.force_login(alice.user)
    return client


@pytest.fixture
def product(alice: Membership) -> Any:
    return ProductFactory(organization=alice.organization, gtin=gtin(7), name="Oat Flakes")


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("offers.url_checks.check_now.POLICY", loopback_policy())
    with hostile_server() as server:
        yield server


def path_of(alice: Membership, *more: object) -> str:
    parts = [format_id(part.pk) if isinstance(part, Offer) else str(part) for part in more]
    return "/".join(["/dashboard", format_id(alice.organization.id), "offers", *parts])


def text_of(response: Any) -> str:
    """Return the text of a page without markup."""
    text = re.sub(r"<[^>]+>", " ", response.content.decode())
    return " ".join(html.unescape(text).split())


def total_of(response: Any) -> int:
    found = re.search(r'data-total="(\d+)"', response.content.decode())
    assert found, text_of(response)
    return int(found[1])


def exported(member: Client, alice: Membership, query: str = "") -> list[dict[str, str]]:
    response = member.get(path_of(alice, "export") + query)
    assert response.status_code == 200, text_of(response)
    text = b"".join(response.streaming_content).decode("utf-8-sig")  # type: ignore[attr-defined]
    return list(csv.DictReader(io.StringIO(text, newline="")))


def errors_at(response: Any) -> dict[str, str]:
    """Return the errors of a form by field; "" is the form itself."""
    assert response.status_code == 422, text_of(response)
    form = response.context["form"]
    return {
        name.replace("__all__", ""): " ".join(messages) for name, messages in form.errors.items()
    }


# The list


def test_list_shows_all_fields_of_an_offer(member: Client, alice: Membership, product: Any) -> None:
    OfferFactory(
        product=product,
        retailer="Kaufladen",
        store="Mitte",
        sku="K-1",
        price="12.5",
        currency="EUR",
        status="seasonal",
        url_status="broken",
        http_status=404,
        url_failing_since=LONG_AGO,
        url_checked_at=datetime.datetime(2026, 11, 23, 23, 30, tzinfo=datetime.UTC),
        url_detail="The page is gone: the server answered 404 Not Found.",
    )
    shown = text_of(member.get(path_of(alice)))
    for words in (
        f"Oat Flakes {gtin(7)} Kaufladen Mitte SKU K-1 12.50 EUR Seasonal Broken since 20 Nov 2026 "
        "The page is gone: the server answered 404 Not Found.",
        "Checked 24 Nov 2026, 00:30",
    ):
        assert words in shown


@pytest.fixture
def all_kinds(product: Any) -> None:
    kinds = itertools.product(OfferStatus.values, UrlStatus.values)
    for number, (status, url_status) in enumerate(kinds):
        OfferFactory(
            product=product,
            status=status,
            url_status=url_status,
            retailer="Everywhere",
            sku=str(number),
        )
    for status in OfferStatus.values:
        OfferFactory(product=product, status=status, in_store=True, retailer="", sku=status)
    OfferFactory(
        product=ProductFactory(organization=product.organization, name="Rye Bread"),
        retailer="Everywhere",
        url_status="ok",
    )
    OfferFactory(url_status="broken")


@pytest.mark.usefixtures("all_kinds")
@pytest.mark.parametrize(
    ("query", "total", "chips"),
    [
        ("", 29, []),
        ("?status=active", 8, ["Status: Active"]),
        ("?channel=in_store", 4, ["Channel: In store"]),
        ("?url_status=failing", 12, ["Address: Broken, in any way"]),
        ("?url_status=ok,blocked", 9, ["Address: Works", "Address: Blocked"]),
        ("?retailer=", 4, ["No retailer named"]),
        ("?retailer=Everywhere&url_status=ok", 5, ["Address: Works", "Retailer: Everywhere"]),
        ("?q=rye", 1, ["“rye”"]),
        (f"?q={gtin(7)[1:]}&status=active", 7, [f"“{gtin(7)[1:]}”", "Status: Active"]),
    ],
)
def test_list_and_export_contain_exactly_the_filtered_rows(
    member: Client, alice: Membership, query: str, total: int, chips: list[str]
) -> None:
    page = member.get(path_of(alice) + query + ("&" if query else "?") + "page_size=100")
    assert total_of(page) == total
    assert page.content.decode().count('<tr id="offer-') == total
    assert [chip.text for chip in page.context["chips"]] == chips
    export = exported(member, alice, query)
    assert [row["url"] for row in export] == [offer.url for offer in page.context["rows"]]


def test_export_contains_every_field_and_no_formula(
    member: Client, alice: Membership, product: Any
) -> None:
    OfferFactory(
        product=product,
        retailer="=1+1",
        store="-",
        sku="007",
        price="12.5",
        currency="EUR",
        url="https://shop.example.com/1",
        url_status="broken",
        http_status=404,
        url_detail="Gone,\nfor good.",
        url_failing_since=LONG_AGO,
        metadata={"season": "sömmer"},
    )
    OfferFactory()
    assert exported(member, alice) == [
        {
            "gtin": gtin(7),
            "product_name": "Oat Flakes",
            "channel": "online",
            "retailer": "'=1+1",
            "store": "'-",
            "sku": "007",
            "url": "https://shop.example.com/1",
            "price": "12.50",
            "currency": "EUR",
            "status": "active",
            "url_status": "broken",
            "http_status": "404",
            "url_detail": "Gone,\nfor good.",
            "url_failing_since": "2026-11-20T07:15:00+00:00",
            "url_checked_at": "",
            "metadata": '{"season": "sömmer"}',
        }
    ]
    response = member.get(path_of(alice, "export") + "?url_status=strange")
    assert response.status_code == 422
    assert "Must be one or more of" in text_of(response)


def test_an_invalid_filter_shows_an_error_and_no_rows(
    member: Client, alice: Membership, all_kinds: None
) -> None:
    page = member.get(path_of(alice) + "?url_status=strange")
    assert (page.status_code, total_of(page)) == (422, 0)
    assert "Address: Must be one or more of unchecked, ok" in text_of(page)


def test_list_without_offers_shows_the_first_step(
    client: Client, member: Client, alice: Membership
) -> None:
    page = member.get(path_of(alice))
    assert "No offers yet" in text_of(page)
    assert f'href="{path_of(alice, "new")}"' in page.content.decode()
    client.force_login(MembershipFactory(organization=alice.organization, role="viewer").user)
    page = client.get(path_of(alice))
    assert "No offers yet" in text_of(page)
    assert "new" not in page.content.decode().split("<main")[1]


def test_list_uses_the_same_number_of_queries_for_3_and_30_rows(
    member: Client, alice: Membership, product: Any
) -> None:
    member.get(path_of(alice))  # remembers the organization in the session
    counts = []
    for more in (3, 27):
        OfferFactory.create_batch(more, product=product, url_status="broken")
        response, queries = queries_of(member, path_of(alice) + "?page_size=100")
        assert response.content.decode().count('<tr id="offer-') == Offer.objects.count()
        counts.append(len(queries))
    # Session, user, membership with the organization and its rule, the display; counts from the
    # tally, keys, rows; the organizations of the switcher.
    assert counts == [10, 10], queries


# One offer


def filled(**more: str) -> dict[str, str]:
    return {
        "gtin": gtin(7),
        "channel": "online",
        "retailer": " Kaufladen ",
        "store": "",
        "sku": "",
        "url": "https://shop.example.com/1",
        "price": "12.5",
        "currency": "EUR",
        "status": "active",
        **more,
    }


def test_a_new_offer_is_created_and_redirects_back(
    member: Client, alice: Membership, product: Any
) -> None:
    back = f"/dashboard/{format_id(alice.organization.id)}/products/{gtin(7)}#offers"
    form = member.get(path_of(alice, "new"), {"gtin": gtin(7), "back": back})
    assert form.context["form"]["gtin"].value() == gtin(7)
    response = member.post(path_of(alice, "new"), filled(back=back))
    assert (response.status_code, response.headers["Location"]) == (302, back)
    (offer,) = Offer.objects.all()
    assert (offer.product, offer.organization) == (product, alice.organization)
    assert (offer.retailer, offer.shown_price, offer.url_status) == (
        "Kaufladen",
        "12.50",
        "unchecked",
    )
    assert assert_exact(alice.organization).active_offers == 1


@pytest.mark.parametrize(
    ("change", "errors"),
    [
        (
            {"gtin": gtin(10**10)},
            {
                "gtin": f"The organization has no product with the GTIN {gtin(10**10)}: add it "
                "first."
            },
        ),
        ({"url": ""}, {"url": "An online offer needs an address."}),
        ({"currency": ""}, {"currency": "A price needs a currency."}),
        (
            {"price": "1.5", "currency": "JPY"},
            {"price": "A price in JPY has no digits after the point."},
        ),
        (
            {"url": "javascript:alert(1)", "price": "-1", "currency": "EURO", "status": "gone"},
            {
                "url": "Enter a complete http or https address: https://shop.example.com/item.",
                "price": "Must be a price of 0 or more, with at most 10 digits before the "
                'decimal point and 4 after it, for example "12.50".',
                "currency": "Has 4 characters; at most 3 are allowed.",
                "status": '"gone" is not a valid choice.',
            },
        ),
        ({"retailer": "a\x00b"}, {"retailer": "Contains the control character U+0000."}),
        (
            {"retailer": "Taken"},
            {"": "The product has an offer of this channel, retailer, store and SKU already."},
        ),
    ],
)
def test_form_shows_errors_at_their_fields_and_keeps_the_values(
    member: Client,
    alice: Membership,
    product: Any,
    change: dict[str, str],
    errors: dict[str, str],
) -> None:
    OfferFactory(product=product, retailer="Taken")
    response = member.post(path_of(alice, "new"), filled(**change))
    assert errors_at(response) == errors
    for name, sentence in errors.items():
        assert sentence in text_of(response)
        if name:
            assert response.context["form"][name].value() == change[name]
    assert Offer.objects.count() == 1


def test_form_rejects_an_empty_offer_and_accepts_an_unchanged_one(
    member: Client, alice: Membership, product: Any
) -> None:
    assert errors_at(member.post(path_of(alice, "new"))) == {"gtin": "This field is required."}
    offer = OfferFactory(product=product)
    version = member.get(path_of(alice, offer)).context["form"]["version"].value()
    assert member.post(path_of(alice, offer), {"version": version}).status_code == 302
    before = offer.updated_at
    offer.refresh_from_db()
    assert offer.updated_at == before


def test_a_new_address_is_unchecked_and_other_fields_stay(
    member: Client, alice: Membership, product: Any
) -> None:
    offer = OfferFactory(
        product=product, url_status="broken", url_failing_since=LONG_AGO, metadata={"a": "b"}
    )
    assert assert_exact(alice.organization).broken_offers == 1
    form = member.get(path_of(alice, offer)).context["form"]
    assert "gtin" not in form.fields
    sent = {name: form[name].value() or "" for name in form.fields}
    sent["url"] = "https://shop.example.com/new"
    # The offer's page shows the check, whichever list the user came from.
    response = member.post(path_of(alice, offer), sent | {"back": path_of(alice)})
    assert response.status_code == 302
    page = member.get(response.headers["Location"])
    assert page.context["back"] == path_of(alice)
    assert "Checking…" in text_of(page)
    offer.refresh_from_db()
    assert (offer.url, offer.url_status, offer.url_failing_since) == (
        sent["url"],
        "unchecked",
        None,
    )
    assert (offer.metadata, offer.retailer) == ({"a": "b"}, sent["retailer"])
    assert assert_exact(alice.organization).broken_offers == 0


def test_form_keeps_and_reports_changes_of_another_user(
    member: Client, alice: Membership, product: Any
) -> None:
    offer = OfferFactory(product=product, retailer="Kaufladen", currency="EUR")
    form = member.get(path_of(alice, offer)).context["form"]
    mine = {name: form[name].value() or "" for name in form.fields} | {"price": "1"}
    # A check is not a user's change.
    Offer.objects.filter(pk=offer.pk).update(url_status="ok", url_checked_at=timezone.now())
    theirs = mine | {"price": "2"}
    assert member.post(path_of(alice, offer), theirs).status_code == 302
    rejected = member.post(path_of(alice, offer), mine)
    assert rejected.status_code == 422
    [conflict] = rejected.context["form"].conflicts
    assert (conflict.label, conflict.mine, conflict.theirs) == ("Price", "1", "2.00")
    again = mine | {"version": rejected.context["form"]["version"].value()}
    assert member.post(path_of(alice, offer), again).status_code == 422
    offer.refresh_from_db()
    assert offer.shown_price == "2.00"
    choice = {"seen__price": conflict.seen, "keep__price": "mine"}
    assert member.post(path_of(alice, offer), again | choice).status_code == 302
    offer.refresh_from_db()
    assert (offer.shown_price, offer.updated_by) == ("1.00", alice.user.email)


def test_delete_page_asks_for_confirmation(member: Client, alice: Membership, product: Any) -> None:
    offer = OfferFactory(product=product)
    page = member.get(path_of(alice, offer, "delete"))
    assert "Delete this offer?" in text_of(page)
    assert Offer.objects.count() == 1
    assert member.post(path_of(alice, offer, "delete")).headers["Location"] == path_of(alice)
    assert Offer.objects.count() == 0
    assert assert_exact(alice.organization).active_offers == 0


@pytest.mark.parametrize(
    "back", ["https://evil.example.com/", "//evil.example.com/", "/dashboard/\n//x", "/admin/"]
)
def test_forms_redirect_only_to_dashboard_pages(
    member: Client, alice: Membership, product: Any, back: str
) -> None:
    assert back not in member.get(path_of(alice, "new"), {"back": back}).content.decode()
    response = member.post(path_of(alice, "new"), filled(back=back))
    assert response.headers["Location"] == path_of(alice)


def address_form(page: Any, offer: Offer, url: str) -> dict[str, str]:
    """Return the data of the address form in a table row."""
    row = page.content.decode().split(f'<tr id="offer-{offer.pk}"')[1].split("</tr>")[0]
    found = re.search(r'name="version" value="([^"]*)"', row)
    assert found, row
    return {"version": html.unescape(found[1]), "url": url}


def test_the_address_is_edited_in_the_list(member: Client, alice: Membership, product: Any) -> None:
    offer = OfferFactory(product=product, url_status="dns_failure")
    path = path_of(alice, offer, "address")
    form = address_form(member.get(path_of(alice)), offer, "shop")
    rejected = member.post(path, form, headers=HTMX)
    assert errors_at(rejected).keys() == {"url"}
    assert "Enter a complete http or https address" in text_of(rejected)
    assert 'value="shop"' in rejected.content.decode()
    form["url"] = "https://shop.example.com/new"
    row = member.post(path, form, headers=HTMX)
    assert row.content.decode().count("<tr") == 1
    assert 'class="check-expected"' in row.content.decode()
    assert json.loads(row.headers["HX-Trigger"]) == {
        "say": "Address saved. It will be checked next."
    }
    offer.refresh_from_db()
    assert (offer.url, offer.url_status) == ("https://shop.example.com/new", "unchecked")
    assert assert_exact(alice.organization).broken_offers == 0
    # Without htmx it redirects back, or shows the form.
    back = path_of(alice) + "?url_status=failing"
    form = address_form(row, offer, "https://shop.example.com/3")
    response = member.post(path, {**form, "back": back})
    assert response.headers["Location"] == back
    form = address_form(member.get(path_of(alice)), offer, "")
    assert errors_at(member.post(path, form)) == {"url": "An online offer needs an address."}
    form["url"] = "https://shop.example.com/3"
    row = member.post(path, form, headers=HTMX)
    assert json.loads(row.headers["HX-Trigger"]) == {"say": "The address has not changed."}


def test_the_address_form_in_the_list_reports_conflicts(
    member: Client, alice: Membership, product: Any
) -> None:
    offer = OfferFactory(product=product, retailer="Kaufladen", url="https://shop.example.com/1")
    path = path_of(alice, offer, "address")
    mine = address_form(member.get(path_of(alice)), offer, "https://shop.example.com/mine")
    Offer.objects.filter(pk=offer.pk).update(
        url="https://shop.example.com/theirs", updated_by="anna@example.com"
    )
    rejected = member.post(path, mine, headers=HTMX)
    assert rejected.status_code == 422
    offer.refresh_from_db()
    assert offer.url == "https://shop.example.com/theirs"
    shown = text_of(rejected)
    assert "Not saved: anna@example.com changed this offer at" in shown
    for words in (
        "Keep mine https://shop.example.com/mine",
        "Take theirs https://shop.example.com/theirs",
    ):
        assert words in shown
    # Saving again without a choice writes nothing.
    assert member.post(path, mine, headers=HTMX).status_code == 422
    [conflict] = rejected.context["form"].conflicts
    choice = {"seen__url": conflict.seen, "keep__url": "theirs"}
    row = member.post(path, mine | choice, headers=HTMX)
    assert json.loads(row.headers["HX-Trigger"])["say"] == (
        "Offer saved. Changes made by anna@example.com in the meantime were kept: Address."
    )
    offer.refresh_from_db()
    assert offer.url == "https://shop.example.com/theirs"
    assert member.post(path, mine | choice | {"keep__url": "mine"}).status_code == 302
    offer.refresh_from_db()
    assert offer.url == "https://shop.example.com/mine"
    # A change of another field is not a conflict.
    form = address_form(member.get(path_of(alice)), offer, "https://shop.example.com/4")
    Offer.objects.filter(pk=offer.pk).update(retailer="Pantry")
    assert member.post(path, form, headers=HTMX).status_code == 200
    offer.refresh_from_db()
    assert (offer.url, offer.retailer) == ("https://shop.example.com/4", "Pantry")


# Checks


def test_check_now_shows_the_result(
    member: Client, alice: Membership, product: Any, shop: HostileServer
) -> None:
    offer = OfferFactory(product=product, url=shop.url("/ok"), url_status="broken")
    row = member.post(path_of(alice, offer, "check"), headers=HTMX)
    assert json.loads(row.headers["HX-Trigger"]) == {"say": "The address works."}
    assert "Works" in text_of(row)
    assert assert_exact(alice.organization).broken_offers == 0
    assert [request.path for request in shop.requests] == ["/ok"]


def test_one_failed_check_is_shown_but_not_final(
    member: Client, alice: Membership, product: Any, shop: HostileServer
) -> None:
    offer = OfferFactory(product=product, url=shop.url("/status/404"))
    page = member.post(path_of(alice, offer, "check"), {"back": path_of(alice)}, follow=True)
    assert page.redirect_chain == [(path_of(alice), 302)]
    assert "Confirming" in text_of(page)
    offer.refresh_from_db()
    assert "404" in offer.url_detail
    assert text_of(page).count(offer.url_detail) == 2  # once in its row, once as a message


def test_check_now_says_how_long_a_busy_shop_must_wait(
    member: Client, alice: Membership, product: Any, shop: HostileServer
) -> None:
    until = timezone.now() + datetime.timedelta(minutes=5)
    CheckedHost.objects.create(host="127.0.0.1", paused_until=until)
    offer = OfferFactory(product=product, url=f"http://127.0.0.1:{shop.port}/ok")
    row = member.post(path_of(alice, offer, "check"), headers=HTMX)
    message = json.loads(row.headers["HX-Trigger"])["say"]
    assert re.search(r"in (29\d|300) seconds", message)
    assert shop.requests == []


def test_an_offer_in_a_store_cannot_be_checked(
    member: Client, alice: Membership, product: Any
) -> None:
    offer = OfferFactory(product=product, in_store=True)
    row = member.post(path_of(alice, offer, "check"), headers=HTMX)
    assert json.loads(row.headers["HX-Trigger"]) == {
        "say": "This offer has no URL to check: it is in a store."
    }
    assert "Check now" not in row.content.decode()


def test_check_results_are_returned_when_done(
    member: Client, alice: Membership, product: Any, shop: HostileServer
) -> None:
    now_due = timezone.now()
    fine, gone, late, taken = (
        OfferFactory(product=product, url=shop.url(path), url_check_at=due)
        for path, due in (
            ("/ok", now_due),
            ("/status/404", now_due),
            ("/ok?late", now_due - datetime.timedelta(minutes=2, seconds=1)),
            ("/ok?taken", now_due + datetime.timedelta(minutes=2)),
        )
    )
    never = OfferFactory(product=product, url_check_at=None)
    theirs = OfferFactory(url_status="ok")

    def poll(*offers: Offer) -> Any:
        return member.get(
            path_of(alice, "checks"), {"offer": [format_id(offer.pk) for offer in offers]}
        )

    page = member.get(path_of(alice)).content.decode()
    expected = re.findall(r'class="check-expected" name="offer" value="([^"]+)"', page)
    assert sorted(expected) == sorted(format_id(offer.pk) for offer in (fine, gone, taken))
    assert (poll(fine, gone, taken).status_code, poll().status_code) == (204, 204)
    # The page stops waiting for a check that does not come.
    response = poll(fine, late, never)
    assert text_of(response) == (
        "Not checked yet Waiting to be checked. Reload this page later to see the "
        "result. Not checked yet"
    )
    assert re.findall('id="state-([^"]+)"', response.content.decode()) == [
        str(late.pk),
        str(never.pk),
    ]
    for offer in (fine, gone):
        member.post(path_of(alice, offer, "check"))
    response = poll(fine, gone, taken)
    assert re.match("Works Checked .* Confirming .* 404 .* Checked ", text_of(response))
    assert "check-expected" not in response.content.decode()
    assert str(taken.pk) not in response.content.decode()
    # Offers of other organizations and deleted ones are missing.
    assert text_of(poll(theirs)) == "This offer was deleted. Reload the page."
    assert member.post(path_of(alice, "checks")).status_code == 405


# Bulk actions


def test_bulk_discontinue_changes_only_offers_of_the_organization(
    member: Client, alice: Membership, product: Any
) -> None:
    mine = OfferFactory.create_batch(3, product=product)
    theirs = OfferFactory()
    rows = [format_id(mine[0].pk), str(mine[1].pk), format_id(theirs.pk), str(uuid4()), "x"]
    response = member.post(
        path_of(alice, "bulk"),
        {"action": "discontinue", "row": rows, "back": "?status=active"},
        follow=True,
    )
    assert response.redirect_chain == [(path_of(alice) + "?status=active", 302)]
    assert "2 offers marked as discontinued." in text_of(response)
    assert total_of(response) == 1
    statuses = dict(Offer.objects.values_list("pk", "status"))
    assert [statuses[offer.pk] for offer in (*mine, theirs)] == [
        "discontinued",
        "discontinued",
        "active",
        "active",
    ]
    assert assert_exact(alice.organization).active_offers == 1
    assert assert_exact(theirs.organization).active_offers == 1


def test_bulk_recheck_queues_only_offers_of_the_organization(
    member: Client, alice: Membership, product: Any
) -> None:
    later = timezone.now() + datetime.timedelta(days=1)
    online, other = OfferFactory.create_batch(2, product=product, url_check_at=later)
    in_store = OfferFactory(product=product, in_store=True)
    theirs = OfferFactory(url_check_at=later)
    response = member.post(
        path_of(alice, "bulk"),
        {"action": "recheck", "row": [str(o.pk) for o in (online, in_store, theirs)]},
        headers=HTMX,
    )
    assert json.loads(response.headers["HX-Trigger"]) == {"say": "1 offer queued for a check."}
    assert json.loads(response.headers["HX-Location"]) == {
        "path": path_of(alice),
        "target": "#listing",
        "swap": "outerHTML",
    }
    due = {offer.pk: offer.url_check_at for offer in Offer.objects.all()}
    assert due[online.pk] <= timezone.now()
    assert (due[other.pk], due[in_store.pk], due[theirs.pk]) == (later, None, later)


@pytest.mark.django_db(transaction=True)
def test_concurrent_bulk_discontinue_counts_each_offer_once() -> None:
    product = ProductFactory()
    OfferFactory.create_batch(3, product=product)
    with sessions(2) as (first, second):
        first.begin()
        assert first.run(lambda: discontinue(Offer.objects.all())) == 3
        second.begin()
        late = second.start(lambda: discontinue(Offer.objects.all()))
        second.wait_until_blocked()
        first.end()
        assert late.result(timeout=30) == 0
        second.end()
    assert assert_exact(product.organization).active_offers == 0


def test_unknown_bulk_actions_are_rejected(member: Client, alice: Membership, product: Any) -> None:
    offer = OfferFactory(product=product)
    response = member.post(path_of(alice, "bulk"), {"action": "delete", "row": str(offer.pk)})
    assert response.status_code == 422
    assert "Must be one of edit, discontinue, recheck." in text_of(response)


# Access


def test_a_viewer_can_read_but_not_write(client: Client, alice: Membership, product: Any) -> None:
    offer = OfferFactory(product=product, retailer="Kaufladen")
    client.force_login(MembershipFactory(organization=alice.organization, role="viewer").user)
    for path in (path_of(alice), path_of(alice, offer)):
        page = client.get(path)
        assert "Kaufladen" in text_of(page)
        # The only forms say how the list is shown.
        main = page.content.decode().split("<main")[1]
        assert main.count('method="post"') == main.count('/display">')
    for path in (path_of(alice, "new"), path_of(alice, offer, "delete")):
        assert client.get(path).status_code == 403
    for path in (
        path_of(alice, "new"),
        path_of(alice, "bulk"),
        path_of(alice, offer),
        *(path_of(alice, offer, what) for what in ("check", "address", "delete")),
    ):
        assert client.post(path, filled(action="discontinue", row=str(offer.pk))).status_code == 403
    offer.refresh_from_db()
    assert (offer.status, Offer.objects.count()) == ("active", 1)


def test_offers_of_other_organizations_are_not_found(member: Client, alice: Membership) -> None:
    theirs = OfferFactory()
    for what in ("", "check", "address", "delete"):
        path = path_of(alice, theirs, *filter(None, [what]))
        assert member.post(path, filled()).status_code == 404
    assert member.get(path_of(alice, theirs)).status_code == 404
    assert member.get(path_of(alice, "strange")).status_code == 404


def test_hostile_texts_are_escaped(member: Client, alice: Membership, product: Any) -> None:
    hostile = "<script>alert(1)</script>\"'&"
    offer = OfferFactory(product=product, retailer=hostile, store=hostile, sku=hostile)
    Offer.objects.filter(pk=offer.pk).update(url_detail=hostile, url="javascript:alert(1)")
    for path in (path_of(alice), path_of(alice, offer), path_of(alice, offer, "delete")):
        page = member.get(path).content.decode()
        assert "<script>alert" not in page
        assert 'href="javascript' not in page
        assert hostile in html.unescape(page)


# In a browser


@in_browser
def test_browser_fixes_and_checks_a_broken_offer_without_a_reload(
    visit: Callable[..., Page], alice: Membership, product: Any, shop: HostileServer
) -> None:
    OfferFactory(product=product, retailer="Kaufladen", url_status="broken", url_detail="Gone.")
    page = visit(alice.user, path_of(alice) + "?url_status=failing")
    row = page.locator("tr", has_text="Kaufladen")
    expect(row).to_contain_text("Gone.")
    row.get_by_text("Change the address").click()
    address = row.get_by_label("Address of Kaufladen")
    address.fill("nowhere")
    # The browser's validation would block the submit.
    address.evaluate("input => { input.type = 'text' }")
    row.get_by_role("button", name="Save").click()
    expect(row.get_by_role("alert")).to_contain_text("complete http or https address")
    assert_accessible(page)
    row.get_by_label("Address of Kaufladen").fill(shop.url("/ok"))
    row.get_by_role("button", name="Save").click()
    expect(row.locator("[role=status]")).to_have_text("Checking…")
    row.get_by_role("button", name="Check now").click()
    expect(row).to_contain_text("Works")
    expect(page.locator("#toast")).to_have_text("The address works.")
    assert assert_exact(alice.organization).broken_offers == 0


def check_soon(offer: Offer) -> None:
    """Check an offer's address like a worker, in another thread."""
    with sessions(1) as [worker]:
        worker.run(lambda: check_now(offer))


@pytest.mark.slow
@in_browser
@pytest.mark.parametrize("place", ["list", "product", "offer"])
def test_a_changed_address_shows_its_check_live(
    visit: Callable[..., Page], alice: Membership, product: Any, shop: HostileServer, place: str
) -> None:
    offer = OfferFactory(product=product, retailer="Kaufladen", url_status="broken")
    path = {
        "list": path_of(alice) + "?url_status=failing",
        "product": path_of(alice).replace("offers", f"products/{gtin(7)}"),
        "offer": path_of(alice, offer),
    }[place]
    page = visit(alice.user, path)
    requests: list[str] = []
    page.on(
        "request", lambda request: requests.append(request.url) if "/checks" in request.url else 0
    )
    state = page.locator(f"#state-{offer.pk}")
    expect(state).to_have_text("Broken")
    page.evaluate("window.isTheSame = true")
    if place == "offer":
        page.get_by_label("Address", exact=True).fill(shop.url("/ok"))
        page.get_by_role("button", name="Save", exact=True).click()
        expect(page.get_by_text("Offer saved.")).to_be_visible()
        page.evaluate("window.isTheSame = true")
    else:
        page.get_by_text("Change the address").click()
        page.get_by_label("Address of Kaufladen").fill(shop.url("/ok"))
        page.get_by_role("button", name="Save", exact=True).last.click()
    expect(state).to_have_text("Checking…")
    with page.expect_response(re.compile("/checks")) as response:
        pass
    assert response.value.status == 204
    assert_accessible(page)
    check_soon(offer)
    expect(state).to_contain_text("Works")
    expect(state).to_contain_text("Checked ")
    assert page.evaluate("window.isTheSame")
    # No check is pending, so the page stops polling.
    count = len(requests)
    page.clock.install()
    page.clock.run_for(30_000)
    assert len(requests) == count > 0


@pytest.mark.slow
@in_browser
def test_the_page_stops_waiting_for_a_late_check(
    visit: Callable[..., Page], alice: Membership, product: Any
) -> None:
    offer = OfferFactory(product=product, url_check_at=timezone.now())
    page = visit(alice.user, path_of(alice))
    state = page.locator(f"#state-{offer.pk}")
    expect(state).to_have_text("Checking…")
    Offer.objects.update(url_check_at=timezone.now() - datetime.timedelta(minutes=3))
    expect(state).to_contain_text("Waiting to be checked.")
    expect(page.locator(".check-expected")).to_have_count(0)


@pytest.mark.slow
@in_browser
def test_conflicting_addresses_are_resolved_by_a_choice(
    visit: Callable[..., Page], alice: Membership, product: Any
) -> None:
    offer = OfferFactory(product=product, retailer="Kaufladen")
    other = OfferFactory(product=product, retailer="Pantry")
    page = visit(alice.user, path_of(alice), width=390)
    Offer.objects.update(url="https://shop.example.com/theirs", updated_by="anna@example.com")
    for one, retailer in ((offer, "Kaufladen"), (other, "Pantry")):
        row = page.locator(f"#offer-{one.pk}")
        row.get_by_text("Change the address").click()
        row.get_by_label(f"Address of {retailer}").fill("https://shop.example.com/mine")
        row.get_by_role("button", name="Save").click()
        conflicts = row.locator(".conflicts")
        expect(conflicts).to_contain_text("anna@example.com changed this offer")
        expect(conflicts).to_be_in_viewport()
        expect(conflicts).to_be_focused()
    assert_looks_right(page)
    row.get_by_label("Keep mine").check()
    row.get_by_role("button", name="Save").click()
    expect(page.locator("#toast")).to_have_text("Address saved. It will be checked next.")
    other.refresh_from_db()
    offer.refresh_from_db()
    assert other.url == "https://shop.example.com/mine"
    assert offer.url == "https://shop.example.com/theirs"
    # A refused address removes the older message.
    row.get_by_text("Change the address").click()
    row.get_by_label("Address of Pantry").fill("http://")
    row.locator("form", has=page.locator("[name=url]")).evaluate("form => form.noValidate = true")
    row.get_by_role("button", name="Save").click()
    expect(row.get_by_role("alert")).to_contain_text("Enter a complete http or https address")
    expect(row.get_by_label("Address of Pantry")).to_be_focused()
    assert page.locator("#toast").get_attribute("class") == "toast"


@in_browser
@pytest.mark.slow
def test_an_offer_is_added_and_checked_on_the_product_page(
    visit: Callable[..., Page], alice: Membership, product: Any, shop: HostileServer
) -> None:
    page = visit(alice.user, path_of(alice).replace("offers", f"products/{gtin(7)}"))
    before = page.locator("[data-percentage]").inner_text()
    page.get_by_role("link", name="Add an offer").click()
    page.get_by_label("Retailer").fill("Kaufladen")
    page.get_by_label("Address").fill(shop.url("/ok"))
    page.get_by_role("button", name="Add the offer").click()
    expect(page.get_by_text("Offer added.")).to_be_visible()
    expect(page.locator("[data-percentage]")).not_to_have_text(before)
    row = page.locator("#offers tbody tr")
    cells = row.locator("td").count()
    row.get_by_role("button", name="Check now").click()
    expect(row).to_contain_text("Works")
    expect(row.locator("td")).to_have_count(cells)
    row.get_by_role("link", name="Edit").click()
    page.get_by_role("link", name="Delete").click()
    assert_accessible(page)
    page.get_by_role("button", name="Delete the offer").click()
    expect(page.get_by_text("This product has no offers.")).to_be_visible()
    expect(page.locator("[data-percentage]")).to_have_text(before)
    assert_exact(alice.organization)


@in_browser
def test_selecting_rows_shows_the_bulk_actions(
    visit: Callable[..., Page], alice: Membership, product: Any
) -> None:
    OfferFactory.create_batch(3, product=product)
    page = visit(alice.user, path_of(alice) + "?status=active")
    expect(page.get_by_role("button", name="Mark discontinued")).to_be_hidden()
    page.get_by_label("Select all on this page").check()
    expect(page.locator("[data-selected]")).to_have_text("3")
    page.get_by_role("checkbox", name="Select Oat Flakes").first.uncheck()
    expect(page.locator("[data-selected]")).to_have_text("2")
    page.get_by_role("button", name="Mark discontinued").click()
    expect(page.locator("[data-total]")).to_have_text("1")
    expect(page.locator("#toast")).to_have_text("2 offers marked as discontinued.")
    assert page.url.endswith("?status=active")
    assert assert_exact(alice.organization).active_offers == 1


@pytest.mark.slow
@in_browser
def test_pages_of_offers_are_accessible_and_fit(
    visit: Callable[..., Page], alice: Membership, product: Any
) -> None:
    url = "https://shop.example.com/" + "a-very-long-address/" * 12
    offer = OfferFactory(
        product=product,
        url=url,
        retailer="W" * 60,
        url_status="broken",
        url_detail="The page is gone: the server answered 404 Not Found.",
        url_failing_since=LONG_AGO,
        url_checked_at=LONG_AGO,
    )
    OfferFactory(product=product, in_store=True)
    page = visit(alice.user, path_of(alice) + "?q=oat")
    for path in ("", path_of(alice, offer), path_of(alice, "new"), path_of(alice, offer, "delete")):
        if path:
            page.goto(path)
        assert_looks_right(page, widths=(360, 768, 1024, 1440))


@pytest.mark.slow
@in_browser
@pytest.mark.parametrize(("width", "display"), [(360, "block"), (430, "block"), (768, "table-row")])
def test_tables_are_cards_only_on_phones(
    visit: Callable[..., Page], alice: Membership, product: Any, width: int, display: str
) -> None:
    OfferFactory(product=product, url="https://shop.example.com/" + "a-very-long-address/" * 12)
    CertificationAssignmentFactory(product=product, certificate_number="DE-OEKO-006-" + "7" * 30)
    page = visit(alice.user, path_of(alice), width=width)
    own = path_of(alice).removesuffix("offers")
    for place in ("offers", "products", "certifications", f"products/{gtin(7)}"):
        page.goto(own + place)
        rows = page.locator(".table-cards tbody tr")
        shown = rows.evaluate_all("rows => rows.map((row) => getComputedStyle(row).display)")
        assert set(shown) == {display}, place
        assert_fits(page)
