"""The export menu and the download of everything, in a browser."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect
from python_calamine import CalamineWorkbook

from closient.accounts.models import Membership
from tests.browser import assert_looks_right
from tests.factories import (
    CertificationAssignmentFactory,
    MembershipFactory,
    OfferFactory,
    ProductFactory,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def alice() -> Membership:
    member: Membership = MembershipFactory(role="owner", organization__name="Alpine Foods")
    for name, status in (("Oat drink", "active"), ("Oat flakes", "active"), ("Muesli", "draft")):
        product = ProductFactory(organization=member.organization, name=name, status=status)
        OfferFactory(product=product)
        CertificationAssignmentFactory(product=product)
    return member


def test_menu_downloads_the_filtered_rows_by_keyboard(
    visit: Callable[..., Page], alice: Membership
) -> None:
    address = reverse("page-products", args=[alice.organization.id])
    page = visit(alice.user, f"{address}?status=active")
    menu = page.locator("summary", has_text="Export")
    menu.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("The 2 products that match the filters, as")).to_be_visible()
    links = page.locator(".menu-export a")
    assert [link.split("\n")[0] for link in links.all_inner_texts()] == [
        "Excel workbook",
        "CSV",
        "CSV with semicolons",
        "JSON Lines",
        "Download everything",
    ]
    assert_looks_right(page, widths=(360, 1440))
    page.keyboard.press("Tab")
    expect(links.first).to_be_focused()
    with page.expect_download() as started:
        page.keyboard.press("Enter")
    content = Path(started.value.path()).read_bytes()
    today = alice.organization.today()
    assert started.value.suggested_filename == f"products-alpine-foods-{today}.xlsx"
    sheet = CalamineWorkbook.from_filelike(io.BytesIO(content)).get_sheet_by_index(0)
    assert [row[1] for row in sheet.to_python()] == ["name", "Oat flakes", "Oat drink"]
    # The menu is closed, and the page still there.
    expect(links.first).to_be_hidden()
    menu.focus()
    page.keyboard.press("Enter")
    expect(links.first).to_be_visible()
    page.keyboard.press("Escape")
    expect(links.first).to_be_hidden()
    expect(menu).to_be_focused()


@pytest.mark.parametrize("name", ["offers", "certifications"])
@pytest.mark.slow
def test_other_lists_have_the_menu(
    visit: Callable[..., Page], alice: Membership, name: str
) -> None:
    page = visit(alice.user, reverse(f"page-{name}", args=[alice.organization.id]))
    page.locator("summary", has_text="Export").click()
    with page.expect_download() as started:
        page.get_by_role("link", name="JSON Lines").click()
    assert Path(started.value.path()).read_bytes().count(b"\n") == 3
    assert_looks_right(page, widths=(360, 1440))


@pytest.mark.slow
def test_owner_downloads_everything(visit: Callable[..., Page], alice: Membership) -> None:
    page = visit(alice.user, reverse("page-products", args=[alice.organization.id]))
    page.locator("summary", has_text="Export").click()
    page.get_by_role("link", name="Download everything").click()
    page.wait_for_url("**/imports#archive")
    assert_looks_right(page)
    with page.expect_download() as started:
        page.get_by_role("link", name="Download the archive").click()
    with zipfile.ZipFile(started.value.path()) as archive:
        assert archive.read("trade-items.jsonl").count(b"\n") == 3
    editor = MembershipFactory(organization=alice.organization, role="editor")
    page = visit(editor.user, reverse("page-imports", args=[alice.organization.id]))
    expect(page.get_by_role("link", name="Download the archive")).to_have_count(0)
