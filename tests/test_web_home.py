"""The home page: the numbers, the lists behind them, and what to fix first."""

from __future__ import annotations

import datetime
import re
import threading
import zoneinfo
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import time_machine
from django.core.files.base import ContentFile
from django.db import connection
from django.db.models import F
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from playwright.sync_api import Page, Route, expect
from pytest_django import Settings
from tqdm import tqdm

from catalog.completeness import ALL_MASKS, FACT_BY_NAME, FACTS, Rule
from catalog.models import CompletenessRule, ImportRun, Product
from closient.accounts.models import Membership, Organization
from closient.db.ids import format_id
from closient.tally.models import TallyEntry
from dashboard.demo.seeding import seed
from dashboard.imports.runs import actions
from dashboard.imports.runs.importer import work_on_next
from dashboard.models import Snapshot
from dashboard.numbers import NUMBERS, current_numbers
from dashboard.opportunities import lifted_range
from dashboard.pages.charts import compact
from dashboard.snapshots import take_snapshots
from offers.models import Offer, UrlStatus
from offers.url_checks.schedule.due import overdue_count
from tests.browser import assert_looks_right
from tests.clients import API, client_of, stats_path
from tests.counting import assert_exact
from tests.dates import NOON, TODAY
from tests.factories import (
    CertificationAssignmentFactory,
    MembershipFactory,
    OfferFactory,
    ProductFactory,
    ProductImageFactory,
    gtin,
)

pytestmark = pytest.mark.django_db

# The API list behind each page.
LISTS = {"products": "trade-items", "offers": "offers", "certifications": "certifications"}


@pytest.fixture
def noon() -> Iterator[None]:
    """Freeze the time, so that the numbers are known; must run before the login."""
    with time_machine.travel(NOON, tick=False):
        yield


@pytest.fixture
def alice() -> Membership:
    return MembershipFactory(
        role="owner", user__email="alice@example.com", organization__name="Haferhof"
    )


@pytest.fixture
def home(client: Client, alice: Membership) -> Client:
    client.force_login(alice.user)
    return client


def path(organization: Organization, page: str = "") -> str:
    return f"/dashboard/{format_id(organization.id)}/{page}"


def days(count: int) -> datetime.timedelta:
    return datetime.timedelta(days=count)


def create_catalog(organization: Organization, *, copies: int = 1) -> None:
    """Create various products with broken offers and expiring certificates."""
    today = organization.today()
    for _ in range(copies):
        complete = ProductFactory(organization=organization, described=True)
        ProductImageFactory(product=complete)
        OfferFactory(product=complete, retailer="Corner", url_status=UrlStatus.OK)
        nearly = ProductFactory(organization=organization, described=True)
        OfferFactory(
            product=nearly,
            retailer="Pantry & Co",
            status="discontinued",
            url_status=UrlStatus.BROKEN,
            url_failing_since=NOON - days(30),
        )
        OfferFactory(product=nearly, retailer="", status="seasonal", url_status=UrlStatus.TIMEOUT)
        # Too far below the threshold for a single fact to complete it.
        ProductFactory(organization=organization, described=True, country_of_origin="")
        bare = ProductFactory(organization=organization)
        for ahead in (0, 3, 30, 60, 61, 90, 91):
            CertificationAssignmentFactory(product=bare, expiry_date=today + days(ahead))


def links(html: str, pattern: str) -> Iterator[tuple[str, str]]:
    """Yield the URL and the text without tags of the links that match."""
    for tag, text in re.findall(r"<a ([^>]*)>(.*?)</a>", html, re.S):
        if re.search(pattern, tag):
            address = re.search(r'href="([^"]*)"', tag)
            assert address
            yield unescape(address[1]), " ".join(unescape(re.sub("<[^>]*>", " ", text)).split())


def listed(organization: Organization, address: str) -> int:
    """Return the number of rows in the list of a URL, by the equivalent API list."""
    parts = urlsplit(address)
    page = parts.path.rsplit("/", 1)[1]
    response = client_of(organization).get(
        f"{API}/{LISTS[page]}/{format_id(organization.id)}", parse_qs(parts.query, True)
    )
    assert response.status_code == 200, response.content
    total: int = response.json()["pagination"]["total_count"]
    return total


def first_number(text: str) -> int:
    found = re.search(r"[\d,]+", text)
    assert found, text
    return int(found[0].replace(",", ""))


@pytest.mark.usefixtures("noon")
def test_every_card_links_to_a_list_with_as_many_rows(home: Client, alice: Membership) -> None:
    create_catalog(alice.organization, copies=2)
    numbers = assert_exact(alice.organization)
    html = home.get(path(alice.organization)).content.decode()
    found = {text: address for address, text in links(html, 'class="card-link"')}
    assert list(found) == [
        f"{numbers.total_products} Products",
        f"{numbers.complete_products} Complete products",
        f"{numbers.avg_completeness}% Average completeness",
        f"{numbers.active_offers} Active offers",
        f"{numbers.broken_offers} Broken offers",
        f"{numbers.expiring_certifications} Expiring certifications",
        f"{numbers.missing_images} Products without images",
    ]
    for text, address in found.items():
        # The average links to all products.
        expected_total = numbers.total_products if "Average" in text else first_number(text)
        assert (text, listed(alice.organization, address)) == (text, expected_total)


@pytest.mark.usefixtures("noon")
def test_every_other_count_links_to_a_list_with_as_many_rows(
    home: Client, alice: Membership
) -> None:
    create_catalog(alice.organization)
    html = home.get(path(alice.organization)).content.decode()
    for pattern, several in (
        (r'id="fix-', 2),
        (r'id="missing-', 5),
        (r'id="set-', 3),
        (r'id="expiring-', 4),
        (r'id="expires-', 5),
        (r'id="band-', 11),
    ):
        found = list(links(html, pattern))
        assert len(found) >= several, pattern
        for address, text in found:
            count = text.rsplit(": ", 1)[1] if re.search("band|expires", pattern) else text
            assert listed(alice.organization, address) == first_number(count), (pattern, text)
    by_retailer = {text: address for address, text in links(html, r'id="retailer-')}
    assert list(by_retailer) == ["No retailer named", "Pantry & Co"]
    for address in by_retailer.values():
        assert listed(alice.organization, address) == 1


@pytest.mark.usefixtures("noon")
def test_expiring_certificates_are_counted_by_span(home: Client, alice: Membership) -> None:
    create_catalog(alice.organization)
    html = home.get(path(alice.organization)).content.decode()
    assert [text for _, text in links(html, r'id="expiring-')] == [
        "1 within 7 days",
        "2 within 30 days",
        "3 within 60 days",
        "5 within 90 days",
    ]
    # One bar per day, from tomorrow to the end of the timeline.
    places = re.findall(r'<rect class="urgency-(\w+)" x="(\d+)"', html)
    assert places == [
        ("bad", "2"),
        ("warn", "29"),
        ("soon", "59"),
        ("later", "60"),
        ("later", "89"),
    ]


@pytest.mark.parametrize(
    "rule",
    [
        Rule(),
        Rule(threshold=100),
        Rule(threshold=1),
        Rule(weights=(7, 3, 1, 1, 9, 0, 2, 5, 3), threshold=67),
        Rule(weights=(0, 0, 0, 0, 1, 0, 0, 0, 0)),
    ],
)
def test_a_range_of_percentages_contains_exactly_the_products_that_a_fact_completes(
    rule: Rule,
) -> None:
    for fact in FACTS:
        lacking = [mask for mask in ALL_MASKS if not mask & fact.bit]
        lifted = {
            mask
            for mask in lacking
            if not rule.is_complete(mask) and rule.is_complete(mask | fact.bit)
        }
        span = lifted_range((fact,), rule)
        if span is None:
            # Nothing is completed, or a percentage has both completed and other products.
            kinds = {(rule.percentage(mask), mask in lifted) for mask in lacking}
            least = min((rule.percentage(mask) for mask in lifted), default=101)
            left = [p for p, is_lifted in kinds if least <= p < rule.threshold and not is_lifted]
            assert not lifted or left, fact.name
        else:
            assert lifted == {m for m in lacking if span[0] <= rule.percentage(m) <= span[1]}
    assert lifted_range((FACT_BY_NAME["images"],), Rule()) == (65, 75)


def test_only_the_worst_retailers_are_listed(home: Client, alice: Membership) -> None:
    product = ProductFactory(organization=alice.organization)
    for count, retailer in enumerate("ABCDEFGH", start=1):
        for sku in range(count):
            OfferFactory(
                product=product, retailer=retailer, sku=str(sku), url_status=UrlStatus.BROKEN
            )
    html = home.get(path(alice.organization)).content.decode()
    assert [text for _, text in links(html, r'id="retailer-')] == list("HGFEDC")
    assert "Other retailers also have broken offers." in html


def test_an_inexact_range_is_labeled_so(home: Client, alice: Membership) -> None:
    weights = (7, 3, 1, 1, 9, 0, 2, 5, 3)
    CompletenessRule.objects.create(
        organization=alice.organization,
        threshold=67,
        **{fact.name: weight for fact, weight in zip(FACTS, weights, strict=True)},
    )
    blurred = [f.name for f in FACTS if lifted_range((f,), Rule(weights, threshold=67)) is None]
    for name in ("Oats", ""):
        product = ProductFactory(organization=alice.organization, described=True, name=name)
        OfferFactory(product=product)
    ProductImageFactory(product=product)
    html = home.get(path(alice.organization)).content.decode()
    for address, _ in links(html, r'id="fix-'):
        query = parse_qs(urlsplit(address).query)
        assert ("complete" in query) == (query["missing"][0] in blurred)
    assert assert_exact(alice.organization).total_products == 2


@pytest.mark.usefixtures("noon")
def test_trends_show_the_history_and_the_forecast(home: Client, alice: Membership) -> None:
    organization = alice.organization
    product = ProductFactory(organization=organization, described=True)
    ProductImageFactory(product=product)
    CertificationAssignmentFactory(product=product, expiry_date=TODAY + days(10))
    with time_machine.travel(NOON - days(20), tick=False):
        take_snapshots()
    Product.objects.of(organization).exclude(pk=product.pk).delete()
    ProductFactory(organization=organization)
    html = home.get(path(organization)).content.decode()
    words = {
        name: " ".join(re.sub("<[^>]*>", " ", text).split())
        for name, text in re.findall(
            r'id="trend-(\w+)".*?<p class="trend-words">(.*?)</p>', html, re.S
        )
    }
    assert words == {
        "total_products": "+1 since 4 Nov no change by 22 Feb",
        "complete_products": "no change since 4 Nov no change by 22 Feb",
        "avg_completeness": "\N{MINUS SIGN}37 since 4 Nov \N{MINUS SIGN}3 by 22 Feb",
        "active_offers": "no change since 4 Nov no change by 22 Feb",
        "broken_offers": "no change since 4 Nov no change by 22 Feb",
        "expiring_certifications": "no change since 4 Nov \N{MINUS SIGN}1 by 22 Feb",
        "missing_images": "+1 since 4 Nov no change by 22 Feb",
    }
    # Thirty days back and ninety ahead: today is at a quarter of the width.
    expiring = re.search(r'id="trend-expiring_certifications".*?</svg>', html, re.S)
    assert expiring
    assert re.findall(r'class="trend-(\w+)" d="([^"]*)"', expiring[0]) == [
        ("ahead", "M75 0H300V100H75Z"),
        ("past", "M25 8L75 8"),
        ("future", "M75 8H100V92H300"),
        ("now", "M75 8h0"),
    ]


def test_trend_lines_start_at_zero(home: Client, alice: Membership) -> None:
    for _ in range(4):
        ProductFactory(organization=alice.organization)
    with time_machine.travel(timezone.now() - days(20), tick=False):
        take_snapshots()
    Product.objects.filter(pk=Product.objects.latest("pk").pk).delete()
    html = home.get(path(alice.organization)).content.decode()
    drawn = re.search(r'id="trend-total_products".*?class="trend-past" d="([^"]*)"', html, re.S)
    assert drawn
    # From 4 to 3 is a quarter of the height between margins of 8 units.
    assert drawn[1] == "M25 8L75 29"
    assert "each line starts at zero" in html


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([0, 7, 1250], ["0", "7", "1,250"]),
        ([0, 7, 999, 9_999, 12_345], ["0", "<0.1k", "0.9k", "9.9k", "12.3k"]),
        ([0, 12_345, 700_000, 1_250_000], ["0", "<0.1M", "0.7M", "1.2M"]),
    ],
)
def test_counts_of_bands_share_one_unit(counts: list[int], expected: list[str]) -> None:
    assert [compact(count, max(counts)) for count in counts] == expected


@pytest.mark.slow
def test_a_printed_page_has_the_date_in_the_time_zone_of_the_organization(
    visit: Callable[..., Page], alice: Membership
) -> None:
    Organization.objects.filter(pk=alice.organization_id).update(time_zone="Asia/Tokyo")
    page = visit(alice.user, path(alice.organization))
    printed = page.get_by_text("Printed ")
    expect(printed).to_be_hidden()
    page.emulate_media(media="print")
    expect(printed).to_be_visible()
    today = timezone.localtime(timezone=zoneinfo.ZoneInfo("Asia/Tokyo"))
    expect(printed).to_contain_text(f"Printed {today.day} {today:%b %Y}, ")
    expect(printed).to_contain_text("JST")


def test_without_history_only_the_forecast_is_drawn(home: Client, alice: Membership) -> None:
    create_catalog(alice.organization)
    html = home.get(path(alice.organization)).content.decode()
    assert re.findall(r'class="trend-past" d="([^"]*)"', html) == [""] * len(NUMBERS)
    assert " since " not in re.sub(r"(?s)<table.*?</table>", "", html)


def recent(html: str, name: str) -> str:
    """Return the text of a card about yesterday and the last import."""
    card = html.split(f'id="trend-{name}"')[1].partition('id="trend-')[0]
    found = re.search(r'<p class="trend-words trend-recent">(.*?)</p>', card, re.S)
    return " ".join(re.sub("<[^>]*>", " ", found[1]).split()) if found else ""


@pytest.mark.usefixtures("noon")
def test_cards_show_the_change_since_yesterday(home: Client, alice: Membership) -> None:
    organization = alice.organization
    ProductFactory(organization=organization)
    for back in (3, 2):
        with time_machine.travel(NOON - days(back), tick=False):
            take_snapshots()
    ProductFactory.create_batch(3, organization=organization)
    # Without yesterday's snapshot there is no text about it.
    assert recent(home.get(path(organization)).content.decode(), "total_products") == ""
    with time_machine.travel(NOON - days(1), tick=False):
        take_snapshots()
    ProductFactory(organization=organization)
    Product.objects.filter(pk__in=Product.objects.values_list("pk")[:2]).delete()
    for page in ("", "panels"):
        html = home.get(path(organization, page)).content.decode()
        assert recent(html, "total_products") == "\N{MINUS SIGN}1 since yesterday"
        assert recent(html, "active_offers") == "no change since yesterday"


@pytest.mark.django_db(transaction=True)
def test_cards_show_the_change_since_the_last_import(
    home: Client, alice: Membership, settings: Settings, tmp_path: Path
) -> None:
    kept = settings.STORAGES["imports"]
    settings.STORAGES = settings.STORAGES | {
        "imports": {**kept, "OPTIONS": {**kept["OPTIONS"], "location": tmp_path}}
    }
    organization = alice.organization
    ProductFactory(organization=organization, gtin=gtin(900), name="Rye")

    def imported(*lines: str) -> ImportRun:
        text = "\n".join(["gtin,name", *lines])
        run = actions.start(organization, alice.user, ContentFile(text.encode()), "a.csv")
        assert work_on_next(threading.Event(), numbers=current_numbers)
        actions.confirm(run, skip_bad_rows=False)
        assert work_on_next(threading.Event(), numbers=current_numbers)
        run.refresh_from_db()
        assert run.status == "done", run.detail
        return run

    run = imported(*(f"{gtin(number)},Oats" for number in range(3)))
    ProductFactory(organization=organization, name="")
    at = timezone.localtime(run.started_at, zoneinfo.ZoneInfo(organization.time_zone))
    html = home.get(path(organization)).content.decode()
    assert recent(html, "total_products") == f"+4 since the import of {at:%H:%M}"
    assert recent(html, "active_offers") == f"no change since the import of {at:%H:%M}"
    # Imports without changes do not count.
    imported(f"{gtin(1)},Oats")
    html = home.get(path(organization)).content.decode()
    assert recent(html, "total_products") == f"+4 since the import of {at:%H:%M}"
    # Neither do imports of other days.
    ImportRun.objects.update(started_at=timezone.now() - days(1))
    assert recent(home.get(path(organization)).content.decode(), "total_products") == ""


def test_a_demo_history_is_labeled(home: Client, alice: Membership) -> None:
    mark = "Demo data: the history is generated"
    create_catalog(alice.organization)
    with time_machine.travel(timezone.now() - days(2), tick=False):
        take_snapshots()
    for page in ("", "history"):
        assert mark not in home.get(path(alice.organization, page)).content.decode()
    demo = MembershipFactory(user=alice.user, organization__time_zone="Asia/Tokyo").organization
    seed(demo, products=20, progress=tqdm(disable=True))
    for page in ("", "history"):
        html = home.get(path(demo, page)).content.decode()
        assert html.count(mark) == 1
    html = home.get(path(demo)).content.decode()
    assert len(re.findall(r'data-points="-90:\d+,-89:\d+,', html)) == len(NUMBERS)


@pytest.mark.usefixtures("noon")
def test_history_page_lists_all_values(home: Client, alice: Membership) -> None:
    organization = alice.organization
    create_catalog(organization)
    with time_machine.travel(NOON - days(20), tick=False):
        take_snapshots()
    ProductFactory(organization=organization)
    html = home.get(path(organization, "history")).content.decode()
    rows = [
        [
            " ".join(re.sub("<[^>]*>", " ", cell).split())
            for cell in re.findall(r"(?s)<t[hd].*?</t[hd]>", row)
        ]
        for row in re.findall(r"(?s)<tr>.*?</tr>", html)
    ]
    numbers = assert_exact(organization)
    assert rows[0] == [
        "Day",
        "Products",
        "Complete products",
        "Average completeness",
        "Active offers",
        "Broken offers",
        "Expiring certifications",
        "Products without images",
    ]
    assert rows[1][:3] == ["Today", str(numbers.total_products), str(numbers.complete_products)]
    assert rows[1][3] == f"{numbers.avg_completeness}%"
    assert rows[2][:2] == ["4 Nov 2096", str(numbers.total_products - 1)]
    # The forecast: three certificates expire, and two come within 60 days of expiry.
    coming = rows[4:]
    assert [row[0] for row in coming][:2] == ["25 Nov 2096", "27 Nov 2096"]
    assert all(len(row) == 8 for row in rows)


@pytest.mark.usefixtures("noon")
def test_a_number_that_was_not_recorded_is_unknown(home: Client, alice: Membership) -> None:
    organization = alice.organization
    create_catalog(organization)
    for ago in (20, 1):
        with time_machine.travel(NOON - days(ago), tick=False):
            take_snapshots()
    with connection.cursor() as cursor:
        # What the migration of a number without a full history does.
        cursor.execute("ALTER TABLE dashboard_snapshot ALTER COLUMN broken_offers DROP NOT NULL")
    Snapshot.objects.filter(date=TODAY - days(20)).update(broken_offers=None)

    response = client_of(organization).get(f"{stats_path(organization)}/history")
    assert [day["broken_offers"] for day in response.json()["days"]] == [None, 2]
    html = home.get(path(organization, "history")).content.decode()
    assert html.count("unknown") == 1
    html = home.get(path(organization)).content.decode()
    broken = html.split('id="trend-broken_offers"')[1].partition('id="trend-')[0]
    assert 'data-points="-1:2,0:2"' in broken
    assert "since 23 Nov" in broken
    assert "since 4 Nov" not in broken


def test_overdue_checks_are_counted(home: Client, alice: Membership) -> None:
    create_catalog(alice.organization)
    Offer.objects.update(url_check_at=None)
    assert "No address check is overdue." in home.get(path(alice.organization)).content.decode()
    Offer.objects.filter(retailer="Corner").update(url_check_at=timezone.now() - days(1))
    Offer.objects.filter(retailer="").update(url_check_at=timezone.now() - days(1))
    assert overdue_count(alice.organization, at_most=1) == 1
    Offer.objects.filter(retailer="").update(url_check_at=None)
    assert (
        "1 address check is overdue."
        in home.get(path(alice.organization, "panels")).content.decode()
    )


def test_home_uses_the_same_number_of_queries_at_any_size(home: Client, alice: Membership) -> None:
    organization = alice.organization
    create_catalog(organization)
    home.get(path(organization))
    counts = []
    for _ in range(2):
        taken = []
        for page in ("", "numbers", "panels"):
            with CaptureQueriesContext(connection) as captured:
                assert home.get(path(organization, page)).status_code == 200
            taken.append(len(captured))
        counts.append(taken)
        create_catalog(organization, copies=9)
        for back in range(1, 30):
            with time_machine.travel(timezone.now() - days(back), tick=False):
                take_snapshots()
    assert Snapshot.objects.of(organization).count() == 29
    # All: 1. the session; 2. the user; 3. the member with the organization and its rule;
    # 4. the numbers. Home and panels: 5. the snapshots; 6. the forecast; 7. the counts by mask;
    # 8. broken offers by retailer; 9. checks overdue; 10. certificates by day of expiry; 11. the
    # last import of today; 12. and 13. whether there are offers and certificates; 14. the first
    # steps. Home: 15. the organizations to switch between.
    assert counts == [[15, 4, 14]] * 2


# --- In a browser --------------------------------------------------------------------------------


def shown_numbers(page: Page) -> dict[str, str]:
    return {
        str(card.get_attribute("data-number")): card.inner_text()
        for card in page.locator("[data-number]").all()
    }


def test_browser_follows_each_card_to_its_list(
    visit: Callable[..., Page], alice: Membership
) -> None:
    create_catalog(alice.organization, copies=2)
    page = visit(alice.user, path(alice.organization))
    for name, shown in shown_numbers(page).items():
        page.locator(f"li.card:has([data-number={name}]) a").click()
        total = page.locator("[data-total]")
        expected_total = (
            str(assert_exact(alice.organization).total_products) if "%" in shown else shown
        )
        expect(total).to_have_text(expected_total)
        page.go_back()
        expect(page.get_by_role("heading", level=1)).to_have_text("Haferhof")


@pytest.mark.slow
def test_numbers_update_without_moving_focus_or_scroll(
    visit: Callable[..., Page], alice: Membership
) -> None:
    organization = alice.organization
    create_catalog(organization)
    page = visit(alice.user, path(organization), height=400)
    page.clock.install()
    page.reload()
    before = shown_numbers(page)
    card = page.locator("li.card:has([data-number=broken_offers]) a")
    card.focus()
    page.evaluate("document.querySelector('[data-number=broken_offers]').isTheSame = true")
    page.evaluate("window.scrollTo(0, 150)")

    Offer.objects.of(organization).filter(retailer="Corner").update(url_status=UrlStatus.BROKEN)
    assert assert_exact(organization).broken_offers == 3
    with page.expect_response(re.compile("/panels$")):
        page.clock.run_for(16_000)
    expect(page.locator("[data-number=broken_offers]")).to_have_text("3")
    expect(page.locator("#changes")).to_have_text("Broken offers: 3")
    expect(page.locator("[data-number=broken_offers]")).to_have_class("card-value changed")
    # The panels below the numbers update too.
    expect(page.get_by_role("link", name="Corner")).to_be_visible()
    assert shown_numbers(page) == {**before, "broken_offers": "3"}
    assert page.evaluate("document.querySelector('[data-number=broken_offers]').isTheSame")
    expect(card).to_be_focused()
    assert page.evaluate("window.scrollY") == 150
    page.clock.run_for(3_000)
    expect(page.locator("[data-number=broken_offers]")).to_have_class("card-value")


@pytest.mark.slow
def test_chart_values_show_on_hover_touch_and_arrow_keys(
    visit: Callable[..., Page], alice: Membership
) -> None:
    organization = alice.organization
    today = organization.today()
    for back in (40, 20, 1):
        ProductFactory(organization=organization)
        with time_machine.travel(timezone.now() - days(back), tick=False):
            take_snapshots()
    ProductFactory(organization=organization)

    def point_text(back: int, value: int) -> str:
        day = today - days(back)
        return f"{day.day} {day:%b}: {value}"

    page = visit(alice.user, path(organization))
    chart = page.get_by_role("slider", name="Products by day", exact=True)
    shown = page.locator("#trend-total_products .trend-point")
    expect(shown).to_be_hidden()
    box = chart.bounding_box()
    assert box
    # From 40 days back to 90 days ahead.
    at = box["width"] / 130
    chart.hover(position={"x": 21 * at, "y": 10})
    expect(shown).to_have_text(point_text(20, 2))
    chart.hover(position={"x": 1, "y": 10})
    expect(shown).to_have_text(point_text(40, 1))
    page.mouse.move(0, 0)
    expect(shown).to_be_hidden()
    page.locator(".card-total_products a").focus()
    page.keyboard.press("Tab")
    expect(chart).to_be_focused()
    expect(shown).to_have_text("Today: 4")
    page.keyboard.press("ArrowLeft")
    expect(shown).to_have_text(point_text(1, 3))
    page.keyboard.press("Home")
    expect(shown).to_have_text(point_text(40, 1))
    expect(chart).to_have_attribute("aria-valuetext", point_text(40, 1))
    assert_looks_right(page)
    page.keyboard.press("End")
    expect(shown).to_have_text("Today: 4")
    page.keyboard.press("Escape")
    expect(shown).to_be_hidden()
    # A click on the chart does not navigate; the rest of the card links to the list.
    touch = page.context.browser.new_context(  # type: ignore[union-attr]
        base_url=page.url.split("/dashboard")[0],
        storage_state=page.context.storage_state(),
        has_touch=True,
        viewport={"width": 390, "height": 844},
    )
    phone = touch.new_page()
    phone.goto(path(organization))
    line = phone.get_by_role("slider", name="Products by day", exact=True)
    line.tap(position={"x": 1, "y": 10})
    expect(phone.locator("#trend-total_products .trend-point")).to_have_text(point_text(40, 1))
    assert phone.url.endswith(path(organization))
    touch.close()


@pytest.mark.slow
def test_charts_keep_the_focus_when_the_numbers_change(
    visit: Callable[..., Page], alice: Membership
) -> None:
    create_catalog(alice.organization)
    page = visit(alice.user, path(alice.organization))
    page.clock.install()
    page.reload()
    chart = page.get_by_role("slider", name="Products by day", exact=True)
    chart.focus()
    ProductFactory(organization=alice.organization)
    with page.expect_response(re.compile("/panels$")):
        page.clock.run_for(16_000)
    expect(chart).to_have_attribute("aria-valuetext", "Today: 5")
    expect(chart).to_be_focused()


def test_bars_of_the_timeline_link_to_their_lists(
    visit: Callable[..., Page], alice: Membership
) -> None:
    create_catalog(alice.organization, copies=2)
    page = visit(alice.user, path(alice.organization))
    day = alice.organization.today() + days(30)
    bar = page.get_by_role("link", name=f"{day.day} {day:%b %Y}: 2 certificates")
    bar.click()
    expect(page.locator("[data-total]")).to_have_text("2")
    expect(page.get_by_role("listitem").filter(has_text="Expires on:")).to_be_visible()
    page.go_back()
    bar.press("Enter")
    page.wait_for_url(f"**/certifications?expires_on={day}")


@pytest.mark.slow
def test_a_hidden_tab_does_not_poll_until_it_is_visible(
    visit: Callable[..., Page], alice: Membership
) -> None:
    create_catalog(alice.organization)
    page = visit(alice.user, path(alice.organization))
    page.clock.install()
    page.reload()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(urlsplit(request.url).path))
    seen = """state => {
        Object.defineProperty(document, "visibilityState", {value: state, configurable: true});
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.evaluate(seen, "hidden")
    page.clock.run_for(300_000)
    assert [address for address in requests if address.startswith("/dashboard/")] == []
    with page.expect_response(re.compile("/numbers$")):
        page.evaluate(seen, "visible")


@pytest.mark.slow
def test_a_failed_background_update_shows_a_notice_until_it_works(
    visit: Callable[..., Page], alice: Membership
) -> None:
    create_catalog(alice.organization)
    page = visit(alice.user, path(alice.organization))
    page.clock.install()
    page.reload()
    toast = page.locator("#toast")
    page.evaluate(
        """() => {
            window.changes = 0;
            new MutationObserver(() => { window.changes += 1; })
                .observe(document.getElementById("toast"), {childList: true});
        }"""
    )
    requests = []

    def refuse(route: Route) -> None:
        requests.append(route.request.url)
        route.fulfill(status=429, headers={"HX-Trigger": '{"say": "Too many requests."}'})

    page.route("**/numbers", refuse)
    # After 15, 45 and 105 seconds; not after each 15.
    for _ in range(110):
        page.clock.run_for(1_000)
    expect(toast).to_have_class("toast toast-shown")
    expect(toast).to_have_text(re.compile("^This page is not up to date."))
    assert (len(requests), page.evaluate("window.changes")) == (3, 1)

    page.unroute("**/numbers")
    with page.expect_response(re.compile("/numbers$")):
        page.clock.run_for(120_000)
    expect(toast).to_have_class("toast")
    with page.expect_response(re.compile("/numbers$")):
        page.clock.run_for(16_000)
    # Back online, the page polls at once.
    refreshed = page.evaluate(
        """() => {
            const refreshed = [];
            document.addEventListener("refresh", (event) => refreshed.push(event.target.id));
            window.dispatchEvent(new Event("online"));
            return refreshed;
        }"""
    )
    assert refreshed == ["numbers", "panels"]


@pytest.mark.slow
def test_a_logout_in_another_tab_hides_the_numbers(
    visit: Callable[..., Page], alice: Membership
) -> None:
    create_catalog(alice.organization)
    page = visit(alice.user, path(alice.organization))
    page.clock.install()
    page.reload()
    other = page.context.new_page()
    other.goto(path(alice.organization))
    other.get_by_label("Account").click()
    other.get_by_role("button", name="Log out").click()
    expect(other.get_by_role("heading", name="Log in")).to_be_visible()
    page.clock.run_for(16_000)
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()


@pytest.mark.slow
def test_the_first_import_replaces_the_empty_page(
    visit: Callable[..., Page], alice: Membership
) -> None:
    page = visit(alice.user, path(alice.organization))
    page.clock.install()
    page.reload()
    expect(page.get_by_role("heading", name="No products yet")).to_be_visible()
    create_catalog(alice.organization)
    page.clock.run_for(16_000)
    expect(page.locator("[data-number=total_products]")).to_have_text("4")


@pytest.mark.slow
def test_a_band_is_opened_with_the_keyboard(visit: Callable[..., Page], alice: Membership) -> None:
    create_catalog(alice.organization)
    page = visit(alice.user, path(alice.organization))
    page.get_by_role("link", name="20\N{EN DASH}29%: 1 product").press("Enter")
    page.wait_for_url("**/products?min_completeness=20&max_completeness=29")
    expect(page.locator("[data-total]")).to_have_text("1")


@pytest.mark.slow
@pytest.mark.parametrize("is_empty", [False, True])
def test_home_is_accessible_and_fits(
    visit: Callable[..., Page], alice: Membership, is_empty: bool
) -> None:
    MembershipFactory(user=alice.user)
    Organization.objects.filter(pk=alice.organization_id).update(name="Wholefoodwholesalers " * 3)
    if not is_empty:
        create_catalog(alice.organization)
        take_snapshots()
    page = visit(alice.user, path(alice.organization))
    assert_looks_right(page)


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1440])
def test_numbers_in_millions_fit_their_cards(
    visit: Callable[..., Page], alice: Membership, width: int
) -> None:
    create_catalog(alice.organization)
    TallyEntry.objects.update(amount=F("amount") * 12_345_678)
    page = visit(alice.user, path(alice.organization), width=width)
    expect(page.locator("[data-number=total_products]")).to_have_text("49,382,712")
    too_wide = """numbers => numbers.filter((number) => {
        const right = (element) => element.getBoundingClientRect().right;
        return right(number) > right(number.parentElement);
    }).map((number) => number.textContent)"""
    assert page.locator("[data-number]").evaluate_all(too_wide) == []


def test_a_viewer_is_offered_to_see_instead_of_fix(client: Client, alice: Membership) -> None:
    create_catalog(alice.organization)
    for role, word in (("editor", "Fix"), ("viewer", "See")):
        client.force_login(MembershipFactory(organization=alice.organization, role=role).user)
        html = client.get(path(alice.organization)).content.decode()
        offered = [text for _, text in links(html, r'id="fix-')]
        assert offered[0] == f"{word} 1 product without images"
