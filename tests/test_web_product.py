"""The page of a product: missing facts, and the forms to complete them."""

from __future__ import annotations

import base64
import re
import zoneinfo
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from playwright.sync_api import Dialog, Page, expect

from catalog.completeness import DEFAULT_RULE
from catalog.models import Product, ProductImage
from closient.accounts.models import Membership
from closient.db.ids import format_id
from dashboard.pages.product_form import ProductForm
from tests.browser import assert_accessible, assert_looks_right, log_in
from tests.clients import browser_of
from tests.counting import assert_exact
from tests.factories import (
    BrandFactory,
    CertificationAssignmentFactory,
    MembershipFactory,
    OfferFactory,
    ProductFactory,
    ProductImageFactory,
)
from tests.pictures import picture
from tests.sessions import sessions

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("media")]


@pytest.fixture
def alice() -> Membership:
    return MembershipFactory(role="owner")


@pytest.fixture
def product(alice: Membership) -> Product:
    """A product with only a GTIN."""
    return ProductFactory(organization=alice.organization, gtin="04012345678901", name="")


def path_of(product: Product, rest: str = "") -> str:
    return f"/dashboard/{format_id(product.organization_id)}/products/{product.gtin}{rest}"


def sent(product: Product, **changes: Any) -> dict[str, Any]:
    """Return the form data of an unchanged product, with changes."""
    product.refresh_from_db()
    fields = ("name", "description", "category", "country_of_origin", "net_content", "status")
    context = {"rule": DEFAULT_RULE, "day": product.organization.today()}
    return {
        **{name: getattr(product, name) for name in fields},
        "brand": product.brand_name,
        "manufacturer": "",
        "gpc_brick_code": "",
        "nutrition__serving_size": "",
        "version": ProductForm(changes=product, context=context)["version"].value(),
        **changes,
    }


def percentage(page: Page) -> Any:
    return page.locator("[data-percentage]")


def test_missing_facts_link_to_their_fields(
    visit: Callable[..., Page], alice: Membership, product: Product
) -> None:
    page = visit(alice.user, path_of(product))
    expect(percentage(page)).to_have_text("0%")
    points = {
        line.get_attribute("data-fact"): line.locator(".fact-points").inner_text()
        for line in page.locator("[data-fact]").all()
    }
    assert points == {
        "name": "+15",
        "description": "+15",
        "brand": "+10",
        "category": "+10",
        "images": "+15",
        "nutrition": "+10",
        "certifications": "+5",
        "offers": "+10",
        "country": "+10",
    }
    for hint, place in (
        ("Describe the product.", "id_description"),
        ("Add at least one image.", "add-image"),
        ("Add at least one nutrient.", "add-nutrient"),
        ("Add at least one active offer.", "offers"),
        ("Assign a certification that is valid today.", "certifications"),
    ):
        page.get_by_role("link", name=hint).click()
        expect(page.locator(f"#{place}")).to_be_focused()

    page.get_by_role("link", name="Give the product a name.").click()
    page.keyboard.type("Oat drink")
    page.get_by_label("Country of origin").select_option(label="Germany")
    page.get_by_role("button", name="Save", exact=True).click()
    # The facts update without a reload.
    expect(percentage(page)).to_have_text("25%")
    expect(page.get_by_role("heading", level=1)).to_have_text("Oat drink")
    expect(page.locator("#toast")).to_have_text("Product saved.")
    expect(page.get_by_role("link", name="Give the product a name.")).to_have_count(0)
    product.refresh_from_db()
    assert (product.name, product.country_of_origin) == ("Oat drink", "DE")
    assert assert_exact(alice.organization).avg_completeness == 25


def test_form_shows_errors_at_their_fields(
    visit: Callable[..., Page], alice: Membership, product: Product
) -> None:
    page = visit(alice.user, path_of(product))
    page.get_by_label("GPC brick code").fill("12")
    page.get_by_label("Nutrient", exact=True).fill("fat")
    page.get_by_label("Amount", exact=True).fill("much")
    page.get_by_label("Name", exact=True).fill("kept")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".field", has=page.get_by_label("GPC brick code"))).to_contain_text(
        "A GPC brick code has eight digits."
    )
    expect(page.get_by_label("GPC brick code")).to_have_attribute("aria-invalid", "true")
    expect(page.locator(".row-nutrient").first).to_contain_text(
        "Amount: Must be a number of 0 or more, for example 1.5."
    )
    expect(page.get_by_label("Name", exact=True)).to_have_value("kept")
    expect(page.get_by_label("Amount", exact=True).first).to_have_value("much")
    assert_accessible(page)
    product.refresh_from_db()
    assert product.name == ""

    page.get_by_label("GPC brick code").fill("10000025")
    page.get_by_label("Amount", exact=True).first.fill("1.50")
    page.get_by_label("Unit", exact=True).first.fill("g")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(percentage(page)).to_have_text("25%")
    product.refresh_from_db()
    assert product.nutrition == {"nutrients": [{"name": "fat", "amount": "1.5", "unit": "g"}]}


@pytest.mark.slow
def test_rows_are_added_and_removed(
    visit: Callable[..., Page], alice: Membership, product: Product
) -> None:
    nutrient = {"name": "salt", "amount": "1", "unit": "g"}
    product.nutrition = {"serving_size": "100 g", "nutrients": [nutrient]}
    product.metadata = {"season": "summer", "colour": "red"}
    product.save()
    page = visit(alice.user, path_of(product))
    page.get_by_role("button", name="Add a nutrient").click()
    page.keyboard.type("fat")
    page.get_by_label("Amount", exact=True).nth(2).fill("2")
    page.get_by_role("button", name="Remove this nutrient").first.click()
    page.get_by_role("button", name="Remove this key").first.click()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#toast")).to_have_text("Product saved.")
    product.refresh_from_db()
    fat = {"name": "fat", "amount": "2", "unit": ""}
    assert product.nutrition == {"serving_size": "100 g", "nutrients": [fat]}
    assert product.metadata == {"season": "summer"}
    assert_exact(alice.organization)


@pytest.mark.slow
def test_an_image_is_previewed_and_counts_after_the_upload(
    visit: Callable[..., Page], alice: Membership, product: Product, tmp_path: Path
) -> None:
    files = [tmp_path / "front.png", tmp_path / "back.png"]
    for file in files:
        file.write_bytes(picture("PNG"))
    page = visit(alice.user, path_of(product))
    page.get_by_label("Add images").set_input_files(files)
    preview = page.get_by_alt_text("Preview of front.png")
    expect(preview).to_be_visible()
    assert preview.evaluate("image => image.decode().then(() => image.naturalWidth > 0)")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("#toast")).to_have_text("2 images added.")
    expect(percentage(page)).to_have_text("15%")
    expect(page.locator("[data-image]")).to_have_count(2)
    shown = page.locator("[data-image] img").first
    assert shown.evaluate("image => image.decode().then(() => image.naturalWidth > 0)")
    assert_accessible(page)

    first, second = (one.get_attribute("data-image") for one in page.locator("[data-image]").all())
    page.get_by_role("button", name="Move image 2 one place earlier").click()
    expect(page.locator("[data-image]").first).to_have_attribute("data-image", second or "")
    expect(page.locator("[data-image]").first).to_contain_text("Main image")
    page.get_by_label("More for image 2").click()
    page.get_by_role("button", name="Set as main image").click()
    expect(page.locator("[data-image]").first).to_have_attribute("data-image", first or "")
    page.get_by_label("More for image 1").click()
    page.get_by_label("Image description").first.fill("Front <b>")
    page.get_by_role("button", name="Save").locator("visible=true").last.click()
    expect(page.locator(".shot-title").first).to_contain_text("Front <b>")
    assert [
        (image.title, image.is_primary) for image in ProductImage.objects.of_product(product)
    ] == [("Front <b>", True), ("", False)]
    for left in (1, 0):
        page.get_by_label("More for image 1").click()
        page.get_by_role("button", name="Delete the image").locator("visible=true").click()
        expect(page.locator("[data-image]")).to_have_count(left)
    expect(percentage(page)).to_have_text("0%")
    assert assert_exact(alice.organization).missing_images == 1


@pytest.mark.slow
def test_images_are_dragged_into_order_and_dropped_files_are_added(
    visit: Callable[..., Page], alice: Membership, product: Product
) -> None:
    for number, title in enumerate(("one", "two", "three")):
        ProductImageFactory(product=product, title=title, priority=number, is_primary=number == 0)
    page = visit(alice.user, path_of(product))
    items = page.locator("[data-image]")
    toast = page.locator("#toast")
    items.nth(2).locator("[data-drag]").drag_to(items.nth(0).locator("[data-drag]"))
    expect(toast).to_have_text("Images moved.")
    expect(items.first).to_contain_text("three")
    expect(items.first).to_contain_text("Main image")
    images = ProductImage.objects.of_product(product)
    assert [image.title for image in images.all()] == ["three", "one", "two"]
    # The keyboard does the same, and stays on the image.
    page.get_by_role("button", name="Move image 1 one place later").focus()
    page.keyboard.press("Enter")
    expect(toast).to_have_text("The image is number 2 of 3 now.")
    expect(page.get_by_role("button", name="Move image 2 one place later")).to_be_focused()
    assert [image.title for image in images.all()] == ["one", "three", "two"]
    # A dropped file is added at once.
    content = base64.b64encode(picture("PNG")).decode()
    dropped = page.evaluate_handle(
        """(content) => {
          const bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0));
          const transfer = new DataTransfer();
          transfer.items.add(new File([bytes], "new.png", {type: "image/png"}));
          return transfer;
        }""",
        content,
    )
    page.locator("#images h2").dispatch_event("drop", {"dataTransfer": dropped})
    expect(toast).to_have_text("1 image added.")
    expect(items).to_have_count(4)
    # What has changed meanwhile is not overwritten.
    images.get(title="two").delete()
    items.nth(1).locator("[data-drag]").drag_to(items.nth(0).locator("[data-drag]"))
    expect(page.locator("#images").get_by_role("alert")).to_contain_text("move them again")
    expect(items).to_have_count(3)
    assert [image.title for image in images.all()] == ["one", "three", ""]
    assert_accessible(page)


def test_images_uploaded_together_keep_their_order(alice: Membership, product: Product) -> None:
    client = browser_of(alice.user)
    ProductImageFactory(product=product, title="before", is_primary=True)
    for widths in ([20, 21, 22], [23, 24]):
        files = [
            SimpleUploadedFile(f"{width}.png", picture("PNG", size=(width, 20))) for width in widths
        ]
        assert client.post(path_of(product, "/images"), {"image": files}).status_code == 302
    images = ProductImage.objects.of_product(product)
    assert [image.width for image in images][1:] == [20, 21, 22, 23, 24]
    assert images[0].title == "before"
    _, _, images_panel = client.get(path_of(product)).content.decode().partition('id="images"')
    assert re.findall(r'width="(2\d)"', images_panel) == ["20", "21", "22", "23", "24"]


@pytest.mark.slow
def test_a_rejected_image_is_reported_and_others_are_kept(
    visit: Callable[..., Page], alice: Membership, product: Product, tmp_path: Path
) -> None:
    good, bad = tmp_path / "good.png", tmp_path / "bad.svg"
    good.write_bytes(picture("PNG"))
    bad.write_text("<svg onload='x'>")
    page = visit(alice.user, path_of(product))
    page.get_by_label("Add images").set_input_files([good, bad])
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("#images").get_by_role("alert")).to_have_text(
        "bad.svg: The file is SVG, which can contain scripts: use a "
        "JPEG, PNG, GIF, WebP, HEIC, AVIF or BMP image."
    )
    expect(page.locator("[data-image]")).to_have_count(1)
    expect(percentage(page)).to_have_text("15%")


def test_the_number_of_images_per_upload_is_limited(alice: Membership, product: Product) -> None:
    files = [SimpleUploadedFile(f"{number}.png", picture("PNG")) for number in range(7)]
    client = browser_of(alice.user)
    part = {"HX-Request": "true"}
    for sent_files, message in (
        (files, "You chose 7 images: add at most 6 at a time."),
        ([], "Choose an image first."),
    ):
        response = client.post(path_of(product, "/images"), {"image": sent_files}, headers=part)
        assert message in response.content.decode()
        assert "HX-Trigger" not in response.headers
    assert not ProductImage.objects.of_product(product).exists()


def test_images_on_other_hosts_are_not_loaded(
    visit: Callable[..., Page], alice: Membership, product: Product
) -> None:
    ProductImageFactory(product=product, external_url="https://images.example.com/a.jpg")
    ProductImageFactory(product=product, external_url="javascript:alert(1)")
    # `visit` fails on any request to another host.
    page = visit(alice.user, path_of(product))
    link = page.get_by_role("link", name="Open the image on its website")
    expect(link).to_have_attribute("href", "https://images.example.com/a.jpg")
    expect(link).to_have_attribute("rel", "noopener noreferrer nofollow")
    assert page.locator("[href^=javascript]").count() == 0


@pytest.mark.slow
def test_the_form_shows_whether_it_is_saved(
    visit: Callable[..., Page], alice: Membership, product: Product
) -> None:
    page = visit(alice.user, path_of(product), height=600)
    form_status = page.locator("[data-form-status]")
    save = page.get_by_role("button", name="Save", exact=True)
    name = page.get_by_label("Name", exact=True)
    name.fill("Oat drink")
    expect(form_status).to_have_text("Unsaved changes")
    save.click()
    expect(form_status).to_have_text("Saved.")
    expect(page.locator("#toast")).to_have_class("toast toast-shown")
    # A rejected save removes the older message and focuses the first invalid field.
    page.get_by_label("GPC brick code").fill("123")
    expect(form_status).to_have_text("Unsaved changes")
    page.get_by_label("Nutrient", exact=True).fill("fat")
    page.get_by_label("Amount", exact=True).fill("much")
    save.click()
    expect(form_status).to_have_text("Not saved: 2 fields to correct. Correct the nutrients.")
    expect(page.get_by_label("GPC brick code")).to_be_focused()
    # At once, without waiting for its timeout.
    assert page.locator("#toast").get_attribute("class") == "toast"
    expect(page.get_by_label("GPC brick code")).to_be_in_viewport()
    assert_accessible(page)
    page.get_by_label("GPC brick code").fill("10000025")
    expect(form_status).to_have_text("Unsaved changes")
    page.get_by_role("button", name="Remove this nutrient").first.click()
    page.context.set_offline(True)
    save.click()
    expect(form_status).to_have_text("Not saved: no connection")
    dialogs: list[str] = []

    def stay(dialog: Dialog) -> None:
        dialogs.append(dialog.type)
        dialog.dismiss()

    page.on("dialog", stay)
    page.get_by_role("link", name="Overview").click()
    expect(page.get_by_label("GPC brick code")).to_have_value("10000025")
    assert dialogs == ["beforeunload"]
    page.context.set_offline(False)
    save.click()
    expect(form_status).to_have_text("Saved.")
    page.get_by_role("link", name="Overview").click()
    page.wait_for_url(re.compile("/dashboard/[^/]*/$"))
    assert dialogs == ["beforeunload"]
    product.refresh_from_db()
    assert (product.name, product.gpc_brick_code) == ("Oat drink", "10000025")


def test_a_change_of_another_field_is_kept_and_reported(
    alice: Membership, product: Product
) -> None:
    client = browser_of(alice.user)
    mine = sent(product, name="mine")
    anna = MembershipFactory(
        organization=alice.organization, role="editor", user__first_name="Anna"
    )
    theirs = sent(product, category="theirs")
    assert browser_of(anna.user).post(path_of(product), theirs).status_code == 302
    response = client.post(path_of(product), mine, follow=True)
    assert (
        "Product saved. Changes made by Anna in the meantime were kept: Category."
        in response.content.decode()
    )
    product.refresh_from_db()
    assert (product.name, product.category) == ("mine", "theirs")
    assert product.updated_by == alice.user.email


@pytest.mark.slow
@pytest.mark.parametrize(
    ("choice", "saved"), [("mine", "Oat milk"), ("theirs", "Oat drink, organic")]
)
def test_conflicts_are_in_view_with_a_choice_for_each_field(
    visit: Callable[..., Page], alice: Membership, product: Product, choice: str, saved: str
) -> None:
    Product.objects.filter(pk=product.pk).update(
        name="Oat drink", metadata={"season": "summer", "shelf": "3"}
    )
    anna = MembershipFactory(
        organization=alice.organization, role="editor", user__first_name="Anna"
    )
    page = visit(alice.user, path_of(product), height=600)
    page.get_by_label("Name", exact=True).fill("Oat milk")
    page.get_by_text("Metadata (2)").click()
    page.get_by_text("Metadata (2)").click()
    # The key "shelf" is removed.
    page.get_by_role("button", name="Remove this key").first.click()
    product.refresh_from_db()
    theirs = sent(
        product,
        name="Oat drink, organic",
        category="Drinks",
        metadata_key=["season", "shelf", "origin"],
        metadata_value=["summer", "4", "Hof"],
        metadata_shown=["season", "shelf"],
    )
    assert browser_of(anna.user).post(path_of(product), theirs).status_code == 302
    product.refresh_from_db()
    at = timezone.localtime(product.updated_at, zoneinfo.ZoneInfo("UTC"))

    for _ in range(2):
        # A second click does not overwrite anything.
        with page.expect_response(lambda response: response.request.method == "POST"):
            page.get_by_role("button", name="Save", exact=True).click()
        conflicts = page.locator(".conflicts")
        expect(conflicts).to_be_in_viewport()
        expect(conflicts).to_be_focused()
        expect(conflicts.get_by_role("alert")).to_have_text(
            f"Not saved: Anna changed this product at {at:%H:%M} after you opened it."
        )
        expect(page.get_by_role("button", name="Save", exact=True)).to_be_in_viewport()
        product.refresh_from_db()
        assert product.name == "Oat drink, organic"
    assert conflicts.locator("legend").all_inner_texts() == ["Name", "Metadata shelf"]
    expect(page.locator("[data-form-status]")).to_have_text(
        "Not saved: choose a value for 2 fields above"
    )
    assert_accessible(page)
    name, shelf = conflicts.get_by_role("group").all()
    name.get_by_label("Keep mine" if choice == "mine" else "Take theirs").check()
    shelf.get_by_label("Keep mine").check()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#toast")).to_contain_text("Product saved. Changes made by Anna")
    product.refresh_from_db()
    assert (product.name, product.category) == (saved, "Drinks")
    assert product.metadata == {"season": "summer", "origin": "Hof"}


@pytest.mark.slow
def test_a_logout_while_typing_loses_nothing(
    visit: Callable[..., Page], alice: Membership, product: Product
) -> None:
    page = visit(alice.user, path_of(product))
    page.get_by_label("Name", exact=True).fill("Oat drink")
    page.context.clear_cookies(name="sessionid")
    page.get_by_role("button", name="Save", exact=True).click()
    toast = page.locator("#toast")
    expect(toast).to_contain_text("You were logged out, so nothing was saved.")
    assert_accessible(page)
    with page.expect_popup() as opened:
        toast.get_by_role("link", name="log in again").click()
    # This also changes the CSRF token.
    log_in(opened.value, alice.user)
    page.get_by_role("button", name="Save", exact=True).click()
    expect(toast).to_have_text("Product saved.")
    # The message replaces the notice and is not removed with it.
    expect(toast).to_have_class("toast toast-shown")
    expect(toast).to_have_class("toast")
    product.refresh_from_db()
    assert product.name == "Oat drink"


@pytest.mark.slow
def test_a_new_product_is_created_and_shown(
    visit: Callable[..., Page], alice: Membership, product: Product
) -> None:
    page = visit(alice.user, f"/dashboard/{format_id(alice.organization.id)}/products")
    page.get_by_role("link", name="Add a product").click()
    page.get_by_label("GTIN").fill("4012345678902")
    page.get_by_label("Name", exact=True).fill("Rye bread")
    page.get_by_role("button", name="Add the product").click()
    expect(page.locator(".field", has=page.get_by_label("GTIN"))).to_contain_text("check digit")
    page.get_by_label("GTIN").fill("4012345678901")
    page.get_by_role("button", name="Add the product").click()
    expect(page.locator("[data-form-status]")).to_have_text(
        "Not saved: The organization has a product with this GTIN already."
    )
    assert_accessible(page)
    page.get_by_label("GTIN").fill("5012345678900")
    page.get_by_role("button", name="Add the product").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Rye bread")
    expect(page.get_by_text("Product added.")).to_be_visible()
    assert assert_exact(alice.organization).total_products == 2
    # The old message does not stay above unsaved changes.
    page.get_by_label("GPC brick code").fill("123")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("[data-form-status]")).to_have_text("Not saved: 1 field to correct")
    expect(page.get_by_text("Product added.")).to_have_count(0)


@pytest.mark.slow
def test_deletion_asks_for_confirmation(
    visit: Callable[..., Page], alice: Membership, product: Product
) -> None:
    OfferFactory(product=product)
    page = visit(alice.user, path_of(product))
    expect(page.get_by_role("button", name="Delete this product")).to_be_hidden()
    page.locator(".page-head summary").click()
    page.get_by_role("button", name="Delete this product").click()
    expect(page.get_by_text("04012345678901 deleted.")).to_be_visible()
    expect(page.get_by_role("heading", name="No products yet")).to_be_visible()
    assert assert_exact(alice.organization).total_products == 0


def test_a_locked_row_shows_a_retryable_error(
    alice: Membership, product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("closient.db.transactions.LOCK_TIMEOUT", "100ms")
    client = browser_of(alice.user)
    with sessions(1) as [other]:
        other.begin()
        other.run(lambda: list(Product.objects.select_for_update().filter(pk=product.pk)))
        response = client.post(path_of(product), sent(product, name="x"))
        part = client.post(
            path_of(product), sent(product, name="x"), headers={"HX-Request": "true"}
        )
    assert response.status_code == part.status_code == 503
    assert response.headers["Retry-After"] == part.headers["Retry-After"] == "1"
    assert "Try again in a moment" in response.content.decode()
    assert "try again shortly" in part.headers["HX-Trigger"]


def test_form_merges_a_brand_created_while_the_save_waited(
    alice: Membership, product: Product
) -> None:
    product.brand = BrandFactory(organization=alice.organization, name="Haferhof")
    product.save()
    client = browser_of(alice.user)
    form = sent(product, name="Oat drink", brand="Mühle")

    def rename() -> None:
        product.brand = BrandFactory(organization=alice.organization, name="Kornhof")
        product.save()

    with sessions(2) as (first, second):
        first.begin()
        first.run(rename)
        late = second.start(lambda: client.post(path_of(product), form))
        second.wait_until_blocked()
        first.end()
        response = late.result(timeout=30)
    [conflict] = response.context["form"].conflicts
    assert (conflict.label, conflict.mine, conflict.theirs) == ("Brand", "Mühle", "Kornhof")


def test_a_viewer_gets_no_forms(
    visit: Callable[..., Page], alice: Membership, product: Product
) -> None:
    product.description = "<script>alert(1)</script>\nsecond"
    product.country_of_origin = "IT"
    product.save()
    viewer = MembershipFactory(organization=alice.organization, role="viewer")
    page = visit(viewer.user, path_of(product))
    expect(page.locator("main")).to_contain_text("<script>alert(1)</script>")
    expect(page.locator("main dl")).to_contain_text("Italy")
    assert page.locator("main form").count() == 0
    assert_accessible(page)


@pytest.mark.slow
def test_the_page_is_accessible_and_fits(
    visit: Callable[..., Page], alice: Membership, product: Product
) -> None:
    product.name = "x" * 255
    product.metadata = {"k" * 40: "v" * 500}
    product.save()
    OfferFactory(product=product)
    CertificationAssignmentFactory(product=product)
    ProductImageFactory(product=product, title="y" * 255)
    page = visit(alice.user, path_of(product))
    assert_looks_right(page)


@pytest.mark.parametrize("count", [1, 10])
def test_page_uses_a_constant_number_of_queries(
    alice: Membership, product: Product, count: int
) -> None:
    product.brand = BrandFactory(organization=alice.organization)
    product.save()
    for factory in (OfferFactory, CertificationAssignmentFactory, ProductImageFactory):
        factory.create_batch(count, product=product)
    client = browser_of(alice.user)
    client.get(path_of(product))
    with CaptureQueriesContext(connection) as captured:
        assert client.get(path_of(product)).status_code == 200
    # Session, user, membership with organization and rule; the product with its brand, its offers,
    # certificates and images; the organizations of the switcher.
    assert len(captured) == 8, [query["sql"] for query in captured.captured_queries]
