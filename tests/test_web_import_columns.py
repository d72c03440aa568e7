"""The page on which a person says what the columns of a file mean."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Page, expect

from catalog.models import ImportRun, ImportStatus
from closient.accounts.models import Membership, Organization
from dashboard.models import ImportMapping
from offers.models import Offer
from tests.browser import assert_looks_right
from tests.import_fixtures import address, checked, counts, shown, uploaded, work
from tests.importing import EAN, EAN_14, UPC, UPC_14, product, stored

pytestmark = pytest.mark.django_db(transaction=True)

UNKNOWN = f"Ref;Nummer;Was;Farbe\nA1;{EAN};Hafer;gelb\nA2;{UPC};Tücher;weiß\n"


def columns_page(run: ImportRun) -> str:
    return reverse("page-import-columns", args=[run.organization_id, run.id])


@pytest.mark.usefixtures("worker")
@pytest.mark.slow
def test_unknown_columns_are_mapped_and_imported(
    visit: Callable[..., Page], editor: Membership, organization: Organization, tmp_path: Path
) -> None:
    file = tmp_path / "liste.csv"
    file.write_text(UNKNOWN)
    page = visit(editor.user, address(organization))
    page.locator("#import-file").set_input_files(file)
    page.get_by_role("button", name="Check this file").click()
    shown(page, "mapping")
    expect(page.locator(".message")).to_contain_text("The columns of this file are not known yet")
    page.get_by_role("link", name="Choose the columns").click()

    # The values are GTINs, so this column is suggested.
    expect(page.get_by_label("Nummer")).to_have_value("gtin")
    expect(page.get_by_label("Was")).to_have_value("")
    expect(page.get_by_text("Hafer")).to_be_visible()
    page.get_by_label("Was").select_option("Name")
    page.get_by_label("Farbe").select_option("Keep as metadata")
    assert_looks_right(page)
    if folder := os.environ.get("SHOTS"):
        page.set_viewport_size({"width": 1280, "height": 900})
        page.screenshot(path=f"{folder}/columns.png", full_page=True)
    page.get_by_role("button", name="Check the file with these columns").click()

    shown(page, "checked")
    assert counts(page)["created"] == "2"
    expect(page.get_by_role("row", name="Hafer")).to_contain_text("new")
    assert_looks_right(page)
    if folder:
        page.set_viewport_size({"width": 1280, "height": 900})
        page.screenshot(path=f"{folder}/checked.png", full_page=True)
    page.get_by_role("button", name="Import 2 rows").click()
    shown(page, "done")
    assert stored(organization) == [
        product(gtin=UPC_14, name="Tücher", metadata={"Farbe": "weiß"}),
        product(gtin=EAN_14, name="Hafer", metadata={"Farbe": "gelb"}),
    ]

    # The next file with these columns needs no question.
    assert ImportMapping.objects.of(organization).count() == 1
    page.goto(address(organization, uploaded(organization, UNKNOWN.replace("Hafer", "Oats"))))
    shown(page, "checked")
    assert counts(page)["updated"] == "1"


def test_new_products_without_names_are_asked_about(
    as_editor: Client, organization: Organization
) -> None:
    run = checked(organization, f"gtin,Bezeichnung lang,brand\n{EAN},Hafer,Acme\n")
    assert run.status == ImportStatus.MAPPING
    assert "no column" in run.detail.lower()
    form = {"column-0": "gtin", "column-2": "brand"}
    response = as_editor.post(columns_page(run), form)
    assert response["Location"] == address(organization, run)
    run = checked_again(run)
    # A person has said that there are none.
    assert (run.status, run.created) == (ImportStatus.CHECKED, 1)
    assert not ImportMapping.objects.exists()


def test_values_for_all_rows_belong_to_each_offer(
    as_editor: Client, organization: Organization
) -> None:
    run = checked(organization, f"Nr,Titel,Seite,Betrag\n{EAN},Oats,https://s.example.com/1,1.5\n")
    form = {
        "column-0": "gtin",
        "column-1": "name",
        "column-2": "offer_url",
        "column-3": "offer_price",
        "all-offer_retailer": "My Shop",
        "all-offer_currency": "EUR",
    }
    as_editor.post(columns_page(run), form)
    run = checked_again(run)
    assert (run.status, run.created, run.preview[0]["offers"]) == (ImportStatus.CHECKED, 1, 1)
    as_editor.post(address(organization, run, "-confirm"))
    checked_again(run)
    offer = Offer.objects.get()
    assert (offer.retailer, offer.url, offer.shown_price, offer.currency) == (
        "My Shop",
        "https://s.example.com/1",
        "1.50",
        "EUR",
    )


def test_columns_without_a_title_do_not_make_the_next_file_unknown(
    as_editor: Client, organization: Organization
) -> None:
    # Many programs write a delimiter after the last cell.
    text = f"Nr,Titel,\n{EAN},Oats,\n"
    form = {"column-0": "gtin", "column-1": "name", "remember": "on"}
    as_editor.post(columns_page(checked(organization, text)), form)
    assert checked(organization, text).status == ImportStatus.CHECKED


def test_impossible_mapping_keeps_the_choices_and_says_why(
    as_editor: Client, organization: Organization
) -> None:
    run = checked(organization, UNKNOWN)
    response = as_editor.post(columns_page(run), {"column-2": "name"})
    assert response.status_code == 422
    text = response.content.decode()
    assert "No column is mapped to gtin" in text
    assert '<option value="name" selected>' in text
    # The page scrolls to it.
    assert "data-rejection" in text
    run.refresh_from_db()
    assert run.status == ImportStatus.MAPPING


def test_mapping_of_the_api_is_kept_by_the_page(
    as_editor: Client, organization: Organization
) -> None:
    mapping = {
        **{"Nr": "gtin", "Titel": "name", "Farbe": "metadata:color", "Fett": "nutrient:fat:g"},
        "=DE": "country_of_origin",
    }
    table = f"Nr,Titel,Farbe,Fett\n{EAN},Oats,red,1.5\n"
    run = checked(organization, table, mapping={**mapping, "Neu": "brand"})
    assert run.status == ImportStatus.MAPPING
    text = as_editor.get(columns_page(run)).content.decode()
    assert '<option value="metadata:color" selected>Metadata color</option>' in text
    assert '<option value="nutrient:fat:g" selected>Nutrient fat in g</option>' in text
    assert 'name="all-country_of_origin" value="DE"' in text
    form = dict(zip([f"column-{n}" for n in range(4)], list(mapping.values())[:4], strict=True))
    as_editor.post(columns_page(run), {**form, "all-country_of_origin": "DE"})
    run.refresh_from_db()
    assert run.mapping == mapping
    assert checked_again(run).status == ImportStatus.CHECKED


def test_two_fields_cannot_have_the_same_value_for_all_rows(
    as_editor: Client, organization: Organization
) -> None:
    run = checked(organization, UNKNOWN)
    form = {"column-0": "gtin", "all-certification": "Demeter", "all-issuing_body": "Demeter"}
    response = as_editor.post(columns_page(run), form)
    assert response.status_code == 422
    assert "have the same value for all rows" in response.content.decode()


def test_columns_of_an_imported_file_cannot_be_chosen(
    as_editor: Client, organization: Organization
) -> None:
    run = checked(organization, status=ImportStatus.DONE)
    assert as_editor.get(columns_page(run))["Location"] == address(organization, run)


def checked_again(run: ImportRun) -> ImportRun:
    """Let a worker do what is queued, and return the run."""
    work()
    return ImportRun.objects.get(pk=run.pk)
