"""The import pages: upload, review and import of a file, with and without a browser."""

from __future__ import annotations

import csv
import datetime
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.files.uploadhandler import MemoryFileUploadHandler
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect
from pytest_django import Settings

from catalog.gtin import check_digit
from catalog.models import ImportRun, ImportStatus, Product
from closient.accounts.models import Membership, Organization
from closient.db.ids import format_id
from closient.db.locks import advisory_lock
from dashboard.imports.runs import actions
from dashboard.imports.runs.importer import work_on_next
from tests.browser import assert_accessible, assert_looks_right
from tests.clients import queries_of
from tests.counting import assert_exact
from tests.factories import MembershipFactory, OrganizationFactory, ProductFactory
from tests.import_fixtures import TWO, address, checked, counts, shown, uploaded
from tests.importing import EAN, UPC, offers, product, stored
from tests.sessions import Session, sessions
from tests.shared_data import OPEN_FOOD_FACTS, needs_shared_data
from tests.test_import_real_file import expected_stats, is_gtin, rows_of_file

pytestmark = pytest.mark.django_db(transaction=True)

ONE_BAD = f"gtin,name\n{EAN},a\n123,b\n{UPC},c\n"


def upload(text: str, name: str = "our products.csv") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, text.encode())


# --- From upload to import -----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("worker")
def test_an_exported_list_is_uploaded_without_changes(
    visit: Callable[..., Page], editor: Membership, organization: Organization, tmp_path: Path
) -> None:
    names = ["=1+1", "'=1+1", 'Öl, "kalt gepresst"; 1 l', "-5 °C", "@home"]
    for name in names:
        ProductFactory(organization=organization, described=True, name=name, metadata={"=k": "+v"})
    before = list(Product.objects.order_by("pk").values())
    page = visit(editor.user, reverse("page-products", args=[organization.id]))
    with page.expect_download() as download:
        page.get_by_text("Export", exact=True).click()
        page.locator(".menu-export a").nth(1).click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    assert "=1+1" not in [row["name"] for row in csv.DictReader(file.read_text().splitlines())]

    page.goto(address(organization))
    page.locator("#import-file").set_input_files(file)
    page.get_by_role("button", name="Check this file").click()
    shown(page, "checked")
    assert counts(page) == {
        "total": str(len(names)),
        "created": "0",
        "updated": "0",
        "unchanged": str(len(names)),
        "rejected": "0",
    }
    assert list(Product.objects.order_by("pk").values()) == before


@pytest.mark.slow
@needs_shared_data
@pytest.mark.usefixtures("worker")
def test_a_real_export_is_imported_with_correct_numbers(
    visit: Callable[..., Page], editor: Membership, organization: Organization
) -> None:
    rows = rows_of_file()
    good = [row for _, row in rows if is_gtin(row["code"])]
    bad = {line: row["code"] for line, row in rows if not is_gtin(row["code"])}
    page = visit(editor.user, address(organization))
    page.locator("#import-file").set_input_files(OPEN_FOOD_FACTS)
    page.get_by_role("button", name="Check this file").click()
    shown(page, "checked")
    would_be = {
        "total": "1,000",
        "created": str(len(good)),
        "updated": "0",
        "unchanged": "0",
        "rejected": str(len(bad)),
    }
    assert counts(page) == would_be
    expect(page.get_by_text("Open Food Facts export, UTF-8, separated by tabs")).to_be_visible()
    page.get_by_text("columns used").click()
    used = page.get_by_role("row").filter(has_text="product_name")
    expect(used.first).to_contain_text("name")
    problems = page.get_by_role("region", name="38 rejected rows")
    problems.get_by_text("The first 20 of 38 rejected rows").click()
    expect(problems.get_by_role("table").last.get_by_role("row")).to_have_count(21)
    assert not Product.objects.exists()

    with page.expect_download() as download:
        page.get_by_role("link", name="Download the rejected rows").click()
    assert download.value.suggested_filename == f"{OPEN_FOOD_FACTS.stem}.rejects.csv"
    with open(download.value.path(), encoding="utf-8", newline="") as file:
        rejected = list(csv.DictReader(file, delimiter="\t"))
    assert {int(row["_line"]): row["code"] for row in rejected} == bad

    page.get_by_label("Skip the 38 rejected rows").check()
    page.get_by_role("button", name=f"Import {len(good)} rows").click()
    shown(page, "done")
    assert counts(page) == would_be
    page.get_by_role("link", name="See the products").click()
    page.wait_for_url(f"**{reverse('page-products', args=[organization.id])}")

    page.goto(reverse("page-home", args=[organization.id]))
    numbers = {
        str(e.get_attribute("data-number")): int(e.inner_text().strip("%").replace(",", ""))
        for e in page.locator("[data-number]").all()
    }
    expected = expected_stats(good)
    assert numbers == {name: getattr(expected, name) for name in numbers}
    assert len(numbers) == 7
    assert assert_exact(organization) == expected


DAMAGED = [
    "gtin,name,country_of_origin,image_url",
    "1234565,Gum,DE,",
    "36000291452,Tissues,Deutschland,//cdn.example.com/front view.jpg",
    f"\u00a0{EAN},Oats,DE,",
    *(f"{n:012d}{(int(check_digit(f'{n:012d}')) + 1) % 10},wrong,DE," for n in range(31)),
    *(f"{n:015d},long,DE," for n in range(7)),
    "4.00638E+12,cut,Atlantis,",
]


@pytest.mark.slow
@pytest.mark.usefixtures("worker")
def test_repairs_and_groups_of_rejected_rows_are_shown(
    visit: Callable[..., Page], editor: Membership, organization: Organization, tmp_path: Path
) -> None:
    path = tmp_path / "damaged.csv"
    path.write_text("\n".join(DAMAGED), encoding="utf-8")
    page = visit(editor.user, address(organization))
    page.locator("#import-file").set_input_files(path)
    page.get_by_role("button", name="Check this file").click()
    shown(page, "checked")
    repairs = page.get_by_role("region", name="Repaired, please check")
    rows = [row.inner_text().split("\t") for row in repairs.get_by_role("row").all()]
    # The most frequent first.
    assert rows[1] == ["Leading zeros put back", "2"]
    assert sorted(rows[2:]) == [
        ["Addresses that begin with // read as https", "1"],
        ["Blanks and invisible characters removed from GTINs", "1"],
        ["Blanks in addresses encoded", "1"],
    ]
    problems = page.get_by_role("region", name="39 rejected rows")
    groups = problems.get_by_role("table").first.get_by_role("row").all()[1:]
    assert [row.inner_text().split("\t")[:3] for row in groups] == [
        ["gtin: wrong check digit", "31", "5"],
        ["gtin: too long", "7", "36"],
        ["country_of_origin: not a country", "1", "43"],
        ["gtin: digits cut by a spreadsheet", "1", "43"],
    ]
    expect(groups[3]).to_contain_text("A spreadsheet has cut the digits: format the column as text")
    expect(groups[3]).not_to_contain_text("must be a country")
    assert_looks_right(page)
    page.get_by_label("Skip the 39 rejected rows").check()
    page.get_by_role("button", name="Import 3 rows").click()
    shown(page, "done")
    expect(page.get_by_role("region", name="Repaired", exact=True)).to_be_visible()
    run = ImportRun.objects.get()
    assert run.tables == {"products": {"created": 3, "updated": 0}}
    assert sum(group["count"] for group in run.problem_groups) == 40


@pytest.mark.slow
@pytest.mark.usefixtures("worker")
def test_a_file_is_uploaded_by_drag_and_drop(
    visit: Callable[..., Page], editor: Membership, organization: Organization
) -> None:
    page = visit(editor.user, address(organization))
    drop = """
        ([name, text]) => {
            const carried = new DataTransfer();
            carried.items.add(new File([text], name));
            const over = new DragEvent("dragover", {dataTransfer: carried, bubbles: true,
                cancelable: true});
            document.body.dispatchEvent(over);
            const dropped = new DragEvent("drop", {dataTransfer: carried, bubbles: true,
                cancelable: true});
            document.body.dispatchEvent(dropped);
            return [over.defaultPrevented, dropped.defaultPrevented];
        }
    """
    assert page.evaluate(drop, ["dropped.csv", TWO]) == [True, True]
    page.get_by_role("button", name="Check this file").click()
    shown(page, "checked")
    expect(page.get_by_role("heading", level=1)).to_have_text("dropped.csv")
    expect(page.get_by_text("1 column ignored")).to_be_visible()
    page.get_by_role("button", name="Import 2 rows").click()
    shown(page, "done")
    # Screen readers hear the new state.
    expect(page.get_by_role("status").filter(has_text="Imported")).to_be_attached()
    assert [p["name"] for p in stored(organization)] == ["b", "a"]


def test_import_works_without_javascript(as_editor: Client, organization: Organization) -> None:
    ProductFactory(organization=organization, gtin="04006381333931", name="old", category="c")
    text = f"gtin,name,category\n{EAN},,\n{UPC},b,\n"
    response = as_editor.post(address(organization), {"file": upload(text)})
    run = ImportRun.objects.get()
    assert (response.status_code, response.headers["Location"]) == (302, address(organization, run))
    assert (run.name, run.asked_by.email) == ("our products.csv", "ed@example.com")
    assert b"Waiting for the worker." in as_editor.get(address(organization, run)).content

    assert work_on_next(threading.Event())
    page = as_editor.get(address(organization, run)).content.decode()
    assert "Checked, not imported yet" in page
    assert "leave the field as it is" in page
    # With empty cells clearing fields the counts change, so the file is checked again.
    again = {"overwrite_blank": "yes"}
    assert as_editor.post(address(organization, run, "-check"), again).status_code == 302
    assert work_on_next(threading.Event())
    page = as_editor.get(address(organization, run)).content.decode()
    assert "<strong>clear</strong> the field" in page
    assert '<dd data-count="updated">1</dd>' in page

    assert as_editor.post(address(organization, run, "-confirm")).status_code == 302
    assert work_on_next(threading.Event())
    assert b"See the products" in as_editor.get(address(organization, run)).content
    assert stored(organization) == [
        product(gtin="00036000291452", name="b"),
        product(gtin="04006381333931"),
    ]
    assert_exact(organization)


@pytest.mark.slow
def test_closing_the_tab_loses_nothing(
    visit: Callable[..., Page], editor: Membership, organization: Organization
) -> None:
    page = visit(editor.user, address(organization))
    page.locator("#import-file").set_input_files(
        {"name": "oats.csv", "mimeType": "text/csv", "buffer": TWO.encode()}
    )
    page.get_by_role("button", name="Check this file").click()
    shown(page, "waiting")
    page.close()
    assert work_on_next(threading.Event())
    page = visit(editor.user, address(organization))
    row = page.get_by_role("row").filter(has_text="oats.csv")
    expect(row).to_contain_text("Needs confirmation")
    expect(row).to_contain_text("ed@example.com")
    row.get_by_role("link").click()
    shown(page, "checked")


@pytest.mark.slow
def test_the_list_updates_while_imports_run(
    visit: Callable[..., Page], editor: Membership, organization: Organization
) -> None:
    uploaded(organization, name="oats.csv")
    page = visit(editor.user, address(organization))
    row = page.get_by_role("row").filter(has_text="oats.csv")
    expect(row).to_contain_text("Waiting to be checked")
    assert work_on_next(threading.Event())
    expect(row).to_contain_text("Needs confirmation")
    # No import is running any more, so the page stops polling.
    expect(page.locator("#imports")).not_to_have_attribute("data-refresh", "3")


# --- While it runs -------------------------------------------------------------------------------


def working(run: ImportRun, **values: Any) -> None:
    ImportRun.objects.filter(pk=run.pk).update(
        **{"status": ImportStatus.IMPORTING, "started_at": timezone.now(), **values}
    )


@pytest.fixture
def held() -> Iterator[Session]:
    """A database session that holds the locks of a worker."""
    with sessions(1) as (other,):
        yield other


def hold(session: Session, run: ImportRun) -> Any:
    lock = advisory_lock(actions.lock_name(run))
    assert session.run(lock.__enter__)
    return lock


@pytest.mark.slow
def test_the_page_shows_progress_and_updates_itself(
    visit: Callable[..., Page], editor: Membership, organization: Organization, held: Session
) -> None:
    run = uploaded(organization)
    working(run, rows_done=12_000, bytes_done=run.size * 2 // 5)
    lock = hold(held, run)
    page = visit(editor.user, address(organization, run))
    expect(page.get_by_text("12,000 rows read, 39% of the file.")).to_be_visible()
    assert page.get_by_role("progressbar").get_attribute("value") == "39"
    cancel = page.get_by_role("button", name="Cancel")
    cancel.focus()
    working(run, rows_done=20_000, bytes_done=run.size)
    expect(page.get_by_text("Read all 20,000 rows.")).to_be_visible()
    # Progress updates do not replace the focused button.
    expect(cancel).to_be_focused()
    working(run, status="done", total=2, created=2, updated=0, unchanged=0, rejected=0)
    shown(page, "done")
    held.run(lambda: lock.__exit__(None, None, None))


def test_a_fragment_has_only_the_progress_until_the_state_changes(
    as_editor: Client, organization: Organization
) -> None:
    run = uploaded(organization)
    htmx = {"HX-Request": "true"}
    same = as_editor.get(address(organization, run) + "?was=waiting", headers=htmx)
    assert "HX-Retarget" not in same.headers
    assert same.content.decode().startswith('<div id="import-progress"')
    assert b"<form" not in same.content
    other = as_editor.get(address(organization, run) + "?was=checking", headers=htmx)
    assert (other.headers["HX-Retarget"], other.headers["HX-Reswap"]) == ("#import", "outerHTML")
    assert other.content.decode().startswith('<div id="import" ')


def test_a_page_says_when_no_worker_is_running(
    as_editor: Client, organization: Organization
) -> None:
    run = uploaded(organization)
    assert b"No worker has" not in as_editor.get(address(organization, run)).content
    ImportRun.objects.update(queued_at=timezone.now() - datetime.timedelta(seconds=16))
    page = as_editor.get(address(organization, run)).content
    assert b"<strong>No worker has picked it up yet.</strong>" in page
    assert b"ask your administrator whether the worker is running" in page


@pytest.mark.slow
def test_an_interrupted_import_is_restarted(
    visit: Callable[..., Page], editor: Membership, organization: Organization
) -> None:
    run = checked(organization)
    working(run)  # without its lock, as after a crash
    page = visit(editor.user, address(organization))
    row = page.get_by_role("row").filter(has_text="c.csv")
    expect(row).to_contain_text("Failed")
    row.get_by_role("link").click()
    expect(page.get_by_text("The worker stopped during the import; nothing was")).to_be_visible()
    page.get_by_role("button", name="Start again").click()
    shown(page, "waiting")
    assert work_on_next(threading.Event())
    shown(page, "checked")
    page.get_by_role("button", name="Import 2 rows").click()
    shown(page, "confirmed")
    assert work_on_next(threading.Event())
    shown(page, "done")
    assert assert_exact(organization).total_products == 2


def test_cancelling_a_queued_import_ends_it(as_editor: Client, organization: Organization) -> None:
    run = checked(organization)
    response = as_editor.post(address(organization, run, "-cancel"), follow=True)
    assert "Canceled; nothing was imported." in response.content.decode()
    # A page opened earlier may still show the button.
    late = as_editor.post(address(organization, run, "-confirm"), follow=True)
    assert "This run is canceled, so it cannot be imported now." in late.content.decode()
    assert not work_on_next(threading.Event())
    assert stored(organization) == []


def test_cancelling_a_running_import_is_shown_until_it_stops(
    as_editor: Client, organization: Organization, held: Session
) -> None:
    run = uploaded(organization)
    working(run)
    lock = hold(held, run)
    response = as_editor.post(address(organization, run, "-cancel"), follow=True)
    assert "Canceling" in response.content.decode()
    held.run(lambda: lock.__exit__(None, None, None))


def test_counts_by_table_and_notices_are_shown(
    as_editor: Client, organization: Organization
) -> None:
    ProductFactory(organization=organization, gtin=f"0{EAN}")
    offers = (
        f"gtin,sku,url\n{EAN},1,https://shop.example.com/1\n{EAN},2,https://shop.example.com/2\n"
    )
    run = checked(organization, offers)
    assert run.tables == {
        "products": {"created": 0, "updated": 0},
        "offers": {"created": 2, "updated": 0},
    }
    run.found["notices"] = ["Read as Windows-1252."]
    run.save(update_fields=["found"])
    page = " ".join(as_editor.get(address(organization, run)).content.decode().split())
    for table, created in (("Offers", 2), ("Products", 0)):
        assert (
            f'<th scope="row">{table}</th> <td class="number">{created}</td> '
            '<td class="number">0</td>'
        ) in page
    assert '<p class="message">Read as Windows-1252.</p>' in page


# --- Rejected files ------------------------------------------------------------------------------


def test_rejected_rows_must_be_skipped_explicitly(
    as_editor: Client, organization: Organization
) -> None:
    run = checked(organization, ONE_BAD)
    page = as_editor.get(address(organization, run)).content.decode()
    assert "A GTIN has 8, 12, 13 or 14 digits; this one has 3 (found &#x27;123&#x27;)" in page
    response = as_editor.post(address(organization, run, "-confirm"), follow=True)
    assert "Rejected rows: 1. Correct them and upload" in response.content.decode()
    assert actions.refresh(run).status == "checked"
    as_editor.post(address(organization, run, "-confirm"), {"skip_bad_rows": "on"})
    assert work_on_next(threading.Event())
    assert actions.refresh(run).status == "done"
    rejects = as_editor.get(address(organization, run, "-rejects"))
    assert rejects.headers["Content-Disposition"] == 'attachment; filename="c.rejects.csv"'
    assert rejects.headers["Content-Type"] == "application/octet-stream"
    assert b"".join(rejects.streaming_content).decode().startswith("gtin,name,_line,_reason\n123,b")


@pytest.mark.slow
def test_an_unreadable_file_shows_the_reason(
    visit: Callable[..., Page], editor: Membership, organization: Organization
) -> None:
    run = checked(organization, "PK\x03\x04...")
    page = visit(editor.user, address(organization, run))
    expect(page.get_by_text("The ZIP archive is damaged or cut short.")).to_be_visible()
    assert_accessible(page)


def test_options_of_the_upload_apply_to_the_file(
    as_editor: Client, organization: Organization
) -> None:
    table = f"title;gtin;link;price\nTea;{EAN};https://shop.example.com/tea;1.50\n"
    given = {"layout": "google", "retailer": "Example Market", "currency": "EUR"}
    refused = as_editor.post(
        address(organization), {"file": upload(table), **given, "currency": "eur"}
    )
    assert refused.status_code == 422
    content = refused.content.decode()
    assert '<details class="more-about" open>' in content
    assert "ISO 4217" in content
    assert "Correct the options below, and choose the file again." in content
    assert 'value="Example Market"' in content
    assert not ImportRun.objects.exists()

    response = as_editor.post(address(organization), {"file": upload(table), **given})
    assert response.status_code == 302
    assert work_on_next(threading.Event())
    run = ImportRun.objects.get()
    assert (run.layout, run.retailer, run.currency) == ("google", "Example Market", "EUR")
    assert as_editor.post(address(organization, run, "-confirm")).status_code == 302
    assert work_on_next(threading.Event())
    assert offers(organization) == [
        {
            "gtin": "04006381333931",
            "retailer": "Example Market",
            "url": "https://shop.example.com/tea",
            "price": "1.50",
            "currency": "EUR",
            "status": "active",
        }
    ]


def test_the_form_requires_a_file(
    visit: Callable[..., Page], as_editor: Client, editor: Membership, organization: Organization
) -> None:
    response = as_editor.post(address(organization), {})
    assert response.status_code == 422
    assert "Choose a file first." in response.content.decode()
    page = visit(editor.user, address(organization))
    page.locator("#import-file").set_input_files(
        {"name": "empty.csv", "mimeType": "text/csv", "buffer": b""}
    )
    page.get_by_role("button", name="Check this file").click()
    expect(page.get_by_role("alert")).to_have_text("The file is empty.")
    expect(page.locator("#import-file")).to_be_focused()
    # The form still works.
    page.locator("#import-file").set_input_files(
        {"name": "c.csv", "mimeType": "text/csv", "buffer": TWO.encode()}
    )
    page.get_by_role("button", name="Check this file").click()
    shown(page, "waiting")


class Noted(MemoryFileUploadHandler):
    """Records that an uploaded file starts to be read."""

    names: ClassVar[list[str]] = []

    def new_file(self, field_name: str, file_name: str, *args: Any, **kwargs: Any) -> None:
        self.names.append(file_name)
        super().new_file(field_name, file_name, *args, **kwargs)


@pytest.fixture
def read_files(settings: Settings) -> list[str]:
    """The names of the files that were read."""
    settings.FILE_UPLOAD_HANDLERS = [f"{__name__}.Noted"]
    Noted.names.clear()
    return Noted.names


def test_a_file_is_read_only_if_the_user_may_upload(
    as_editor: Client, editor: Membership, organization: Organization, read_files: list[str]
) -> None:
    def hand_in(client: Client, **headers: Any) -> Any:
        return client.post(address(organization), {"file": upload(TWO)}, headers=headers)

    # An anonymous user, a user of another organization, a viewer.
    assert hand_in(Client()).headers["Location"].startswith("/account/login?next=")
    outsider, viewer = Client(), Client()
    outsider.force_login(MembershipFactory(role="owner").user)
    viewer.force_login(MembershipFactory(role="viewer", organization=organization).user)
    assert hand_in(outsider).status_code == 404
    assert hand_in(viewer).status_code == 403
    # A form on another site that posts with the editor's cookies.
    checking = Client(enforce_csrf_checks=True)
    checking.force_login(editor.user)
    assert hand_in(checking, origin="https://evil.example").status_code == 403
    # With the CSRF cookie the form would be read, as it may contain the token.
    checking.cookies.pop("csrftoken")
    assert hand_in(checking).status_code == 403
    assert (read_files, ImportRun.objects.exists()) == ([], False)

    assert hand_in(as_editor).status_code == 302
    assert read_files == ["our products.csv"]


def test_a_csrf_token_of_another_session_is_rejected(
    editor: Membership, organization: Organization
) -> None:
    checking = Client(enforce_csrf_checks=True)
    checking.force_login(editor.user)
    checking.get(address(organization))
    form = {"file": upload(TWO), "csrfmiddlewaretoken": "a" * 64}
    assert checking.post(address(organization), form).status_code == 403
    token = checking.cookies["csrftoken"].value
    form = {"file": upload(TWO), "csrfmiddlewaretoken": token}
    assert checking.post(address(organization), form).status_code == 302


def test_a_file_that_is_too_large_is_rejected_before_reading(  # noqa: PLR0917 - fixtures
    visit: Callable[..., Page],
    as_editor: Client,
    editor: Membership,
    organization: Organization,
    settings: Settings,
    read_files: list[str],
) -> None:
    settings.IMPORT_LARGEST_FILE = 100_000
    sentence = "The file is larger than 97.7\xa0KB: compress it with gzip, or split it."
    response = as_editor.post(address(organization), {"file": upload("x" * 200_000)})
    assert response.status_code == 413
    assert sentence in response.content.decode()
    assert read_files == []
    # The rest of the form hides the last bytes, so the file itself is measured.
    response = as_editor.post(address(organization), {"file": upload("x" * 100_001)})
    assert response.status_code == 422
    assert "at most 97.7" in response.content.decode()

    page = visit(editor.user, address(organization))
    page.locator("#import-file").set_input_files(
        {"name": "big.csv", "mimeType": "text/csv", "buffer": b"x" * 100_001}
    )
    expect(page.get_by_role("alert")).to_have_text(sentence)
    read_files.clear()
    page.get_by_role("button", name="Check this file").click()
    page.locator("#import-file").set_input_files(
        {"name": "good.csv", "mimeType": "text/csv", "buffer": TWO.encode()}
    )
    expect(page.get_by_role("alert")).to_have_text("")
    page.get_by_role("button", name="Check this file").click()
    shown(page, "waiting")
    assert read_files == ["good.csv"]


def test_other_pages_reject_large_bodies(as_editor: Client, settings: Settings) -> None:
    settings.PAGE_LARGEST_BODY = 10_000
    for path in ("/account/login", "/account/password", "/admin/login/"):
        for who in (Client(), as_editor):
            response = who.post(path, {"file": upload("x" * 20_000)})
            assert response.status_code == 413, path
            assert "Upload too large" in response.content.decode()


# --- Access --------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["", "-confirm", "-check", "-cancel", "-rejects"])
def test_imports_of_other_organizations_are_not_found(
    as_editor: Client, organization: Organization, step: str
) -> None:
    foreign = checked(OrganizationFactory.create(), ONE_BAD)
    ask = as_editor.get if step in ("", "-rejects") else as_editor.post
    for run_id in (format_id(foreign.id), "2222222222222222222222", "x"):
        path = address(organization, foreign, step).replace(format_id(foreign.id), run_id)
        assert ask(path).status_code == 404
    assert actions.refresh(foreign).status == "checked"


def test_viewers_cannot_import(client: Client, organization: Organization) -> None:
    client.force_login(MembershipFactory(role="viewer", organization=organization).user)
    run = checked(organization, ONE_BAD)
    for path in (address(organization), address(organization, run)):
        assert client.get(path).status_code == 403
    assert client.get(address(organization, run, "-rejects")).status_code == 403
    for step in ("-confirm", "-check", "-cancel"):
        assert client.post(address(organization, run, step)).status_code == 403
    assert actions.refresh(run).status == "checked"


@pytest.mark.parametrize("number", [3, 30])
def test_the_list_uses_a_constant_number_of_queries(
    as_editor: Client, editor: Membership, organization: Organization, number: int
) -> None:
    for n in range(number):
        ImportRun.objects.create(
            organization=organization, asked_by=editor.user, name=f"{n}.csv", size=1, file="x"
        )
    as_editor.get(address(organization))
    response, queries = queries_of(as_editor, address(organization))
    assert response.content.decode().count("by ed@example.com") == number
    # The session, its user, the membership with the organization and its rule, the imports with
    # their users, and the organizations of the switcher.
    assert len(queries) == 5


# --- Appearance ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_pages_are_accessible_and_fit(
    visit: Callable[..., Page],
    editor: Membership,
    organization: Organization,
) -> None:
    page = visit(editor.user, address(organization))
    expect(page.get_by_text("No file yet")).to_be_visible()
    page.get_by_text("File format").click()
    assert_looks_right(page)
    faces = [
        checked(organization, ONE_BAD),
        checked(organization, status="done"),
        checked(organization, "gtin\n"),
        uploaded(organization, name="a_very_long_name_without_any_place_to_break_" * 5),
    ]
    for run in faces:
        page.goto(address(organization, run))
        assert_looks_right(page)
    page.goto(address(organization))
    assert_looks_right(page)
