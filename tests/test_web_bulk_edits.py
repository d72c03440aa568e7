"""Fixing many products at once: from the overview to the undo, and the grid."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection
from playwright.sync_api import Page, expect

from catalog.models import Product
from closient.accounts.models import Membership, Organization
from closient.db.ids import format_id
from dashboard.bulk_edits.runs import edit_next
from dashboard.models import BulkEdit
from dashboard.numbers import current_numbers
from tests.browser import assert_accessible, assert_looks_right
from tests.clients import browser_of
from tests.factories import (
    BrandFactory,
    MembershipFactory,
    ProductFactory,
    ProductImageFactory,
    gtin,
)
from tests.pictures import picture

pytestmark = pytest.mark.django_db(transaction=True)

PRODUCTS = 42


@pytest.fixture
def anna() -> Membership:
    return MembershipFactory(role="owner", user__first_name="Anna")


@pytest.fixture
def acme(anna: Membership) -> Organization:
    """Products that a country completes, by a rule that needs it."""
    organization = anna.organization
    brand = BrandFactory(organization=organization, name="Haferhof")
    for number in range(PRODUCTS):
        product = ProductFactory(
            organization=organization,
            name=f"Haferhof Oat {number}",
            brand=brand,
            described=True,
            country_of_origin="",
        )
        ProductImageFactory(product=product)
    return organization


def path_of(organization: Organization, rest: str = "") -> str:
    return f"/dashboard/{format_id(organization.pk)}/{rest}"


@pytest.mark.slow
def test_all_products_get_a_country_and_undo_takes_it_back(
    visit: Callable[..., Page], anna: Membership, acme: Organization
) -> None:
    before = current_numbers(acme)
    page = visit(anna.user, path_of(acme))
    # Five actions: the button, the field, preview, change, undo.
    page.locator("a[href*='missing=country'][href*='edit']").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Edit {PRODUCTS} products")
    expect(page.get_by_label("Field", exact=True)).to_have_value("country_of_origin")
    assert_accessible(page)
    assert_looks_right(page)
    page.locator("[name='value.country_of_origin']").fill("Germany")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("#bulk-effect")).to_contain_text(
        re.compile(rf"{PRODUCTS} products would change.*average \+10\.00 points")
    )
    assert Product.objects.filter(country_of_origin="").count() == PRODUCTS
    page.get_by_role("button", name=f"Change all {PRODUCTS}").click()
    expect(page.get_by_role("heading", level=2).first).to_have_text(f"{PRODUCTS} products changed")
    assert_accessible(page)
    assert not Product.objects.exclude(country_of_origin="DE").exists()
    assert current_numbers(acme) != before
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("heading", level=2).first).to_have_text(f"{PRODUCTS} rows put back")
    assert current_numbers(acme) == before
    page.goto(page.url.rsplit("/bulk-edits", 1)[0] + "/activity")
    expect(page.locator("tbody tr").first).to_contain_text("Undo")
    expect(page.locator("tbody tr").nth(1)).to_contain_text("Anna")
    assert_accessible(page)
    assert_looks_right(page)


@pytest.mark.slow
def test_grid_takes_pasted_cells_and_saves_all_or_none(
    visit: Callable[..., Page], anna: Membership, acme: Organization
) -> None:
    page = visit(
        anna.user,
        path_of(acme, "products/edit?missing=country&fields=country_of_origin&fields=category"),
    )
    cells = page.locator("[data-cell]")
    pasted = "Germany\tTea\nXX\tCoffee\nFR\tMilk"
    cells.first.evaluate(
        """(cell, text) => {
            const data = new DataTransfer();
            data.setData("text/plain", text);
            cell.dispatchEvent(new ClipboardEvent("paste", {
                clipboardData: data, bubbles: true, cancelable: true,
            }));
        }""",
        pasted,
    )
    expect(cells.nth(4)).to_have_value("FR")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("[data-form-status]")).to_have_text("Not saved: 1 cell to correct")
    expect(page.locator("[data-grid] .errorlist")).to_contain_text(
        "XX is not an ISO 3166-1 country"
    )
    assert not Product.objects.exclude(country_of_origin="").exists()
    cells.nth(2).fill("AT")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".saved-note")).to_contain_text("Saved 3 products. 39 left in this list.")
    found = Product.objects.exclude(country_of_origin="").order_by("-pk")
    assert list(found.values_list("country_of_origin", "category")) == [
        ("DE", "Tea"),
        ("AT", "Coffee"),
        ("FR", "Milk"),
    ]
    page.locator(".saved-note").get_by_role("button", name="Undo").click()
    expect(page.get_by_role("heading", level=2).first).to_have_text("3 rows put back")


def test_grid_does_not_overwrite_what_another_person_saved(
    anna: Membership, acme: Organization
) -> None:
    product = Product.objects.order_by("-pk").first()
    browser = browser_of(anna.user)
    name = f"cell.{product.pk}.category"
    form = {
        "action": "save",
        "scope": "fields=category",
        "shown": str(product.pk),
        name: "Mine",
        f"was.{name}": product.category,
    }
    Product.objects.filter(pk=product.pk).update(category="Theirs", updated_by="Berta")
    answer = browser.post(path_of(acme, "products/edit"), form)
    assert answer.status_code == 422
    assert "Changed by Berta meanwhile, to: Theirs" in answer.content.decode()
    product.refresh_from_db()
    assert product.category == "Theirs"


def test_grid_shows_pictures_and_fills_in_suggestions(
    visit: Callable[..., Page], anna: Membership
) -> None:
    organization = anna.organization
    oats = BrandFactory(organization=organization, name="Haferhof")
    for number in range(2):
        ProductFactory(
            organization=organization, brand=oats, name=f"Oat {number}", category="Cereals"
        )
    for number in range(2):
        product = ProductFactory(organization=organization, brand=oats, name=f"Oat flakes {number}")
        name = default_storage.save(f"products/{number}.png", ContentFile(picture("PNG")))
        ProductImageFactory(
            product=product, external_url="", image=name, thumbnail=name, is_primary=True
        )
    lone = ProductFactory(organization=organization, name="Pear")
    page = visit(anna.user, path_of(organization, "products/edit?missing=category&fields=category"))
    rows = page.locator("[data-grid] tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.locator("img.thumbnail")).to_have_count(2)
    # The search in the header is no suggestion.
    page.locator("#find").click()
    suggestions = rows.get_by_role("button", name="Cereals as 2 other products of Haferhof")
    expect(suggestions).to_have_count(2)
    suggestions.first.click()
    expect(suggestions).to_have_count(1)
    page.get_by_role("button", name="Use all suggestions").click()
    expect(page.get_by_text("1 suggestion is filled in, and not saved yet.")).to_be_attached()
    expect(page.get_by_role("button", name="Use all suggestions")).to_be_hidden()
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".saved-note")).to_contain_text("Saved 2 products. 1 left in this list.")
    assert list(Product.objects.filter(category="").values_list("pk", flat=True)) == [lone.pk]
    expect(page.get_by_role("button", name="Use all suggestions")).to_be_hidden()
    expect(page.get_by_role("button", name="Change 1 product")).to_be_visible()


def test_large_bulk_edit_runs_in_the_worker(anna: Membership) -> None:
    organization = anna.organization
    Product.objects.bulk_create(
        Product(organization=organization, gtin=gtin(n), name=f"Tea {n}") for n in range(1_500)
    )
    browser = browser_of(anna.user)
    form = {"action": "all", "scope": "q=tea", "set": "brand", "value.brand": "Haferhof"}
    answer = browser.post(path_of(organization, "products/edit"), form)
    edit = BulkEdit.objects.get()
    assert answer["Location"].endswith(f"/bulk-edits/{format_id(edit.pk)}")
    assert "Waiting for the worker" in browser.get(answer["Location"]).content.decode()
    assert edit_next()
    assert not edit_next()
    edit.refresh_from_db()
    assert (edit.status, edit.changed, edit.done) == ("done", 1_500, 1_500)
    assert Product.objects.filter(brand__name="Haferhof").count() == 1_500
    browser.post(path_of(organization, f"activity/{format_id(edit.pk)}/undo"))
    assert edit_next()
    assert Product.objects.filter(brand=None).count() == 1_500


@pytest.mark.slow
@pytest.mark.campaign
def test_fifty_thousand_products_get_a_country_with_progress_and_undo(
    visit: Callable[..., Page], anna: Membership
) -> None:
    organization = anna.organization
    Product.objects.bulk_create(
        Product(organization=organization, gtin=gtin(n), name=f"Tea {n}") for n in range(50_000)
    )
    before = current_numbers(organization)
    page = visit(anna.user, path_of(organization, "products?missing=country"))
    page.get_by_role("link", name="Edit all 50,000").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Edit 50,000 products")
    page.get_by_label("Field", exact=True).select_option("Country")
    page.locator("[name='value.country_of_origin']").fill("Germany")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("#bulk-effect")).to_contain_text(
        "50,000 products would change, average +10.00 points."
    )
    page.get_by_role("button", name="Change all 50,000").click()
    run_in_worker_and_watch(page)
    expect(page.get_by_role("heading", level=2).first).to_have_text("50,000 products changed")
    assert not Product.objects.exclude(country_of_origin="DE").exists()
    page.get_by_role("button", name="Undo").click()
    run_in_worker_and_watch(page)
    expect(page.get_by_role("heading", level=2).first).to_have_text("50,000 rows put back")
    assert not Product.objects.exclude(country_of_origin="").exists()
    assert current_numbers(organization) == before


def run_in_worker_and_watch(page: Page) -> None:
    """Run what waits as the worker does; the page must show the progress and then the result."""
    expect(page.locator("progress")).to_be_visible()

    def work() -> None:
        edit_next()
        connection.close()

    worker = threading.Thread(target=work)
    worker.start()
    expect(page.locator("progress")).not_to_have_attribute("value", "0", timeout=60_000)
    expect(page.locator("progress")).to_have_count(0, timeout=120_000)
    worker.join()
