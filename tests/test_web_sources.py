"""The pages of sources: paste an address, see what happens, decide, pause."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Dialog, Page, expect

from catalog.models import ImportSource, Product
from closient.accounts.models import Membership, Organization
from closient.db.transactions import run_with_retry
from dashboard.imports.runs.importer import work_on_next
from dashboard.imports.sources.editing import create_source
from dashboard.imports.sources.worker import fetch_next
from tests.browser import assert_accessible, assert_looks_right
from tests.factories import ImportSourceFactory, gtin
from tests.feed_server import FeedServer, status

pytestmark = pytest.mark.django_db(transaction=True)

# With a folder here, the tests in the browser save what they see.
SCREENSHOTS = os.environ.get("SCREENSHOTS")


def page_of(organization: Organization, name: str = "page-sources", *more: Any) -> str:
    return reverse(name, args=[organization.id, *more])


def rows(*numbers: int) -> str:
    return "gtin,name\n" + "".join(f"{gtin(n)},Oat drink {n}\n" for n in numbers)


def make(organization: Organization, url: str, **values: Any) -> ImportSource:
    return run_with_retry(lambda: create_source(organization, {"url": url, **values}))


def work() -> None:
    """Fetch and import all that is due, in a thread: the browser's has an event loop."""

    def run() -> None:
        stop = threading.Event()
        while fetch_next(stop) or work_on_next(stop):
            pass
        connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


def save(page: Page, name: str) -> None:
    if SCREENSHOTS:
        page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png", full_page=True)


@pytest.mark.usefixtures("worker")
@pytest.mark.slow
def test_pasted_address_becomes_products(
    visit: Callable[..., Page], editor: Membership, server: FeedServer
) -> None:
    server.serve(rows(1, 2, 3))
    page = visit(editor.user, page_of(editor.organization, "page-imports"))
    page.get_by_label("Address of the file").fill(server.url())
    page.get_by_role("button", name="Add a source").click()
    expect(page.get_by_label("Address of the file")).to_have_value(server.url())
    assert_looks_right(page)
    save(page, "new")
    page.get_by_role("button", name="Add the source").click()
    expect(page.get_by_text("Source added. Its file is fetched now.")).to_be_visible()
    row = page.locator("tbody tr")
    expect(row).to_contain_text("Up to date")
    expect(row).to_contain_text("3 new, 0 changed")
    assert Product.objects.of(editor.organization).count() == 3
    assert_looks_right(page)
    # Run again: nothing has changed.
    row.get_by_role("button", name="Run now").click()
    expect(page.locator("tbody tr")).to_contain_text("Nothing: the file is the same")
    page.locator("tbody tr").get_by_role("button", name="Pause").click()
    expect(page.locator("tbody tr")).to_contain_text("Paused")
    page.locator("tbody tr").get_by_role("link", name="feeds.test").click()
    page.get_by_role("link", name="Delete").click()
    page.get_by_role("button", name="Delete the source").click()
    expect(page.get_by_text("No sources yet")).to_be_visible()


@pytest.mark.slow
def test_file_that_asks_is_reviewed_and_imported(
    visit: Callable[..., Page], editor: Membership, server: FeedServer
) -> None:
    organization = editor.organization
    server.serve(rows(1, 2, 3, 4, 5))
    asking = make(organization, server.url(), name="Shop feed", when_gone="discontinue")
    server.answers["/broken.csv"] = status(404)
    make(organization, server.url("/broken.csv"), name="ERP export", interval_hours=1)
    server.serve(rows(7), "/good.csv")
    make(organization, server.url("/good.csv"), name="Certificates", interval_hours=6)
    paused = make(organization, server.url("/good.csv"), name="Archive", is_paused=True)
    work()
    server.serve(rows(1) + f"{gtin(2)},{'x' * 300}\n")
    ImportSource.objects.filter(pk=asking.pk).update(next_run_at=timezone.now())
    work()
    assert paused.runs.count() == 0

    page = visit(editor.user, page_of(organization))
    failing = page.locator("tbody tr", has_text="ERP export")
    expect(failing).to_contain_text("Failing")
    expect(failing).to_contain_text("The server returned 404 Not Found.")
    expect(page.locator("tbody tr", has_text="Archive")).to_contain_text("Paused")
    assert_looks_right(page)
    assert_accessible(page)
    save(page, "list")
    row = page.locator("tbody tr", has_text="Shop feed")
    expect(row).to_contain_text("Needs confirmation")
    row.get_by_role("link", name="Review").click()
    reason = "The file has 1 row to import, less than half of the last import's 5."
    expect(page.get_by_text(reason)).to_be_visible()
    expect(page.locator("[data-count=gone]")).to_have_text("3")
    assert_looks_right(page)
    save(page, "asking")
    page.get_by_label("Skip the 1 rejected row").check()
    page.get_by_role("button", name="Import 1 row").click()
    expect(page.get_by_text("Waiting for the worker")).to_be_visible()
    work()
    expect(page.get_by_role("heading", name="Imported")).to_be_visible()
    assert Product.objects.of(organization).filter(status="discontinued").count() == 3
    save(page, "done")


def test_form_shows_errors_and_never_the_password(
    as_editor: Client, organization: Organization
) -> None:
    path = page_of(organization, "page-source-new")
    wrong = as_editor.post(path, {"url": "http://a.example.com/", "interval_hours": "24"})
    assert wrong.status_code == 422
    assert b"The address must start with https://." in wrong.content
    values = {
        **{"url": "https://a.example.com/f", "interval_hours": "6", "when_gone": "keep"},
        **{"name": "", "username": "brand", "password": "s3cret-word", "layout": "auto"},
        **{"retailer": "", "shop": ""},
    }
    assert as_editor.post(path, values).status_code == 302
    source = ImportSource.objects.get()
    assert (source.name, source.interval_hours, source.password) == (
        "a.example.com",
        6,
        "s3cret-word",
    )
    edit = page_of(organization, "page-source", source.pk)
    shown = as_editor.get(edit)
    assert b"s3cret-word" not in shown.content
    version = shown.context["form"].initial["version"]
    # An empty password keeps the stored one; another host needs it again.
    changed = {**values, "password": "", "name": "Renamed", "version": version}
    assert as_editor.post(edit, changed).status_code == 302
    source.refresh_from_db()
    assert (source.name, source.password) == ("Renamed", "s3cret-word")
    version = as_editor.get(edit).context["form"].initial["version"]
    moved = {**changed, "url": "https://b.example.com/f", "version": version}
    refused = as_editor.post(edit, moved)
    assert refused.status_code == 422
    assert b"enter the password again, or remove the user" in refused.content


def test_saving_does_not_ask_whether_to_leave(
    visit: Callable[..., Page], editor: Membership
) -> None:
    page = visit(editor.user, page_of(editor.organization, "page-source-new"))
    asked: list[str] = []

    def answer(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.accept()

    page.on("dialog", answer)
    page.get_by_label("Address of the file").fill("http://a.example.com/feed")
    page.get_by_role("button", name="Add the source").click()
    # Refused: leaving now discards what was typed.
    status = page.locator("[data-form-status]")
    expect(status).to_have_text("Not saved: 1 field to correct")
    expect(page.get_by_label("Address of the file")).to_be_focused()
    page.get_by_label("Address of the file").fill("https://a.example.com/feed")
    page.get_by_role("button", name="Add the source").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sources")
    assert asked == []
    page.get_by_role("link", name="a.example.com").click()
    page.get_by_label("Address of the file").fill("https://b.example.com/feed")
    page.get_by_role("link", name="Cancel").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sources")
    assert asked == ["beforeunload"]


def test_form_says_how_the_file_is_read(as_editor: Client, organization: Organization) -> None:
    values = {
        **{"url": "https://a.example.com/f", "interval_hours": "24", "when_gone": "keep"},
        **{"layout": "auto", "currency": "EUR", "overwrite_blank": "True"},
        "skip_bad_rows": "False",
        "mapping": "EAN-Code=gtin\r\n\r\n Was = name\r\n=My=Shop=offer_retailer\r\nSeite=offer_url",
    }
    path = page_of(organization, "page-source-new")
    for field, value, sentence in (
        ("mapping", "EAN-Code", b"write it as &quot;COLUMN=FIELD&quot;."),
        ("mapping", "Was=name", b"No column is mapped to gtin"),
        ("layout", "google", b"A mapping takes the place of the layout: use the layout auto."),
        ("currency", "eur", b"A currency is three capital letters (ISO 4217)."),
    ):
        refused = as_editor.post(path, {**values, field: value})
        assert (refused.status_code, sentence in refused.content) == (422, True), field
    assert as_editor.post(path, values).status_code == 302
    source = ImportSource.objects.get()
    mapping = {
        **{"EAN-Code": "gtin", "Was": "name", "=My=Shop": "offer_retailer"},
        "Seite": "offer_url",
    }
    assert (source.mapping, source.currency) == (mapping, "EUR")
    assert (source.overwrite_blank, source.skip_bad_rows) == (True, False)

    # What the form shows can be saved again, and changes nothing.
    edit = page_of(organization, "page-source", source.pk)
    form = as_editor.get(edit).context["form"]
    assert form.has_more
    again = {field.name: field.value() for field in form.visible_fields() if field.value()}
    again |= {"skip_bad_rows": "False", "version": form.initial["version"]}
    assert as_editor.post(edit, again).status_code == 302
    before, source = source, ImportSource.objects.get()
    assert (source.mapping, source.updated_at) == (mapping, before.updated_at)
    cleared = {**again, "mapping": "", "layout": "google", "skip_bad_rows": "True"}
    assert as_editor.post(edit, cleared).status_code == 302
    source.refresh_from_db()
    assert (source.mapping, source.layout, source.skip_bad_rows) == (None, "google", True)


def test_changes_of_two_people_are_merged(as_editor: Client, organization: Organization) -> None:
    source = ImportSourceFactory(organization=organization, name="Feed")
    edit = page_of(organization, "page-source", source.pk)
    form = as_editor.get(edit).context["form"]
    ImportSource.objects.filter(pk=source.pk).update(retailer="Example Market")
    values = {
        name: form[name].value() or ""
        for name in ("url", "interval_hours", "when_gone", "name", "layout", "retailer", "shop")
    }
    values |= {"username": "", "password": "", "version": form.initial["version"]}
    assert as_editor.post(edit, {**values, "name": "Mine"}).status_code == 302
    source.refresh_from_db()
    assert (source.name, source.retailer) == ("Mine", "Example Market")


def test_list_takes_as_many_queries_for_one_source_as_for_many(
    as_editor: Client, organization: Organization, django_assert_num_queries: Any
) -> None:
    path = page_of(organization)
    ImportSourceFactory(organization=organization)
    as_editor.get(path)
    # Session, user, access, organizations, sources, their last runs.
    with django_assert_num_queries(6):
        as_editor.get(path)
    for _ in range(3):
        ImportSourceFactory(organization=organization)
    with django_assert_num_queries(6):
        as_editor.get(path)
