"""The first steps: the checklist, sample data, and what empty pages say."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Page, expect

from catalog.models import Brand, CompletenessRule, Product, ProductImage
from certifications.models import CertificateAttachment, Certification, CertificationAssignment
from closient.accounts.api_keys import create_api_key
from closient.accounts.models import Membership, Organization
from closient.db.transactions import run_with_retry
from dashboard.demo.sample import PRODUCTS, add_sample
from dashboard.models import SampleRow, Snapshot
from dashboard.snapshots import take_snapshots
from offers.models import Offer
from tests.browser import assert_looks_right
from tests.clients import browser_of
from tests.counting import assert_exact
from tests.factories import (
    BrandFactory,
    CertificateAttachmentFactory,
    CertificationAssignmentFactory,
    MembershipFactory,
    OfferFactory,
    ProductFactory,
    ProductImageFactory,
)
from tests.sessions import sessions

pytestmark = pytest.mark.django_db(transaction=True)

OWN_APPS = ("catalog", "offers", "certifications", "dashboard")


@pytest.fixture
def owner() -> Membership:
    member: Membership = MembershipFactory.create(role="owner", organization__name="Haferhof")
    return member


@pytest.fixture
def organization(owner: Membership) -> Organization:
    return owner.organization


def page_of(organization: Organization, name: str = "page-home") -> str:
    return reverse(name, args=[organization.id])


def steps(client: Client, organization: Organization, page: str = "page-home") -> dict[str, bool]:
    """Return whether each step on the overview is done; empty without a checklist."""
    html = client.get(page_of(organization, page)).content.decode()
    found = re.findall(r'<li class="step( step-done)?" data-step="(\w+)"', html)
    return {name: bool(done) for done, name in found}


def rows() -> dict[str, Any]:
    """Return all rows of organizations but those of the tally, which ``assert_exact`` compares."""
    return {
        model._meta.label: list(model._default_manager.order_by("pk").values())
        for app in OWN_APPS
        for model in apps.get_app_config(app).get_models()
    }


def sample(client: Client, organization: Organization, action: str) -> str:
    """Add or remove the sample data, and return the message."""
    response = client.post(page_of(organization, "page-sample"), {"action": action}, follow=True)
    assert response.status_code == 200
    [message] = response.context["messages"]
    return str(message)


def test_steps_are_done_when_the_database_says_so(
    owner: Membership, organization: Organization
) -> None:
    client = browser_of(owner.user)
    done = dict.fromkeys(("import", "rule", "offers", "key"), False)
    assert steps(client, organization) == done
    # Sample data is no step.
    sample(client, organization, "add")
    assert steps(client, organization) == done

    def check(name: str) -> None:
        done[name] = True
        assert steps(client, organization) == done
        assert steps(client, organization, "page-panels") == done

    product = ProductFactory(organization=organization)
    check("import")
    rule = CompletenessRule.objects.create(organization=organization, threshold=70)
    check("rule")
    key, _ = create_api_key(organization=organization, name="Till")
    check("key")
    offer = OfferFactory(product=product)
    assert steps(client, organization) == {}
    # What is undone is open again.
    for row, name in ((offer, "offers"), (key, "key"), (rule, "rule"), (product, "import")):
        row.delete()
        done[name] = False
        assert steps(client, organization) == done
    # An offer of a sample product, and none of the sample, is one's own.
    OfferFactory(product=Product.objects.of(organization).first())
    assert steps(client, organization) == {**done, "offers": True}


@pytest.mark.parametrize(
    ("role", "names"),
    [("editor", ["import", "offers"]), ("viewer", []), ("billing", [])],
)
def test_members_see_the_steps_that_they_may_do(
    organization: Organization, role: str, names: list[str]
) -> None:
    member = MembershipFactory(organization=organization, role=role)
    client = browser_of(member.user)
    assert list(steps(client, organization)) == names
    html = client.get(page_of(organization)).content.decode()
    assert ("Add sample data" in html) == bool(names)
    OfferFactory(product__organization=organization)
    assert steps(client, organization) == {}


def test_the_checklist_is_hidden_for_the_organization(
    owner: Membership, organization: Organization
) -> None:
    other = MembershipFactory(role="owner")
    client, path = browser_of(owner.user), page_of(organization, "page-setup")
    for _ in range(2):
        assert client.post(path, {"action": "hide"}).status_code == 302
    colleague = browser_of(MembershipFactory(organization=organization, role="manager").user)
    assert steps(client, organization) == steps(colleague, organization) == {}
    assert steps(browser_of(other.user), other.organization) != {}
    assert "Show the first steps" in client.get(page_of(organization)).content.decode()
    ProductFactory(organization=organization)
    assert steps(client, organization) == {}
    assert client.post(path, {"action": "show"}).status_code == 302
    assert steps(client, organization)["import"]
    assert client.post(path, {"action": "x"}).status_code == 422


@pytest.mark.slow
def test_sample_data_is_recognizable_and_removed_without_a_trace(
    owner: Membership, organization: Organization
) -> None:
    other = MembershipFactory(role="owner").organization
    ProductFactory(organization=other, name="Sample: of another organization")
    BrandFactory(organization=organization, name="kornblume")
    client = browser_of(owner.user)
    before = rows()
    assert sample(client, organization, "add") == f"{PRODUCTS} sample products added."
    products = Product.objects.of(organization)
    assert products.count() == products.filter(name__startswith="Sample: ").count() == PRODUCTS
    assert set(products.values_list("metadata__sample", flat=True)) == {"true"}
    numbers = assert_exact(organization)
    # Something of everything that the overview shows.
    assert min(vars(numbers).values()) > 0, numbers
    html = client.get(page_of(organization)).content.decode()
    assert f"{PRODUCTS} of the products are samples" in html
    # The history is not that of the sample.
    take_snapshots()
    assert not Snapshot.objects.of(organization).exists()
    assert Snapshot.objects.of(other).count() == 1
    Snapshot.objects.all().delete()
    # A second click adds nothing.
    assert sample(client, organization, "add").startswith("Nothing was added")
    # Changed rows are removed as well.
    products.filter(status="active").update(name="Renamed", status="discontinued")
    Offer.objects.of(organization).update(retailer="Renamed")
    Offer.objects.of(organization).first().delete()
    message = sample(client, organization, "remove")
    assert message == f"Sample data removed: {PRODUCTS} products."
    assert rows() == before
    assert assert_exact(organization).total_products == 0


def test_what_people_added_to_the_sample_stays(
    owner: Membership, organization: Organization
) -> None:
    client = browser_of(owner.user)
    sample(client, organization, "add")
    sampled = list(Product.objects.of(organization).order_by("pk"))
    own = ProductFactory(organization=organization, brand=sampled[5].brand or Brand.objects.first())
    certification = Certification.objects.filter(organization=organization).first()
    kept = {
        OfferFactory(product=sampled[0]),
        ProductImageFactory(product=sampled[1]),
        CertificationAssignmentFactory(product=sampled[2], certification=certification),
        OfferFactory(product=own),
    }
    attached = CertificationAssignment.objects.exclude(pk__in=[row.pk for row in kept]).exclude(
        product__in=sampled[:3]
    )[0]
    file = CertificateAttachmentFactory(assignment=attached)
    kept.add(attached)
    message = sample(client, organization, "remove")
    assert message == (
        f"Sample data removed: {PRODUCTS - 4} products. 4 products stayed, with the offers, "
        "images, certificates or attachments that were added."
    )
    left = {
        *Offer.objects.all(),
        *ProductImage.objects.all(),
        *CertificationAssignment.objects.all(),
    }
    assert left == kept
    assert CertificateAttachment.objects.get() == file
    assert set(Product.objects.all()) == {own, *sampled[:3], attached.product}
    brands = {product.brand for product in Product.objects.all() if product.brand}
    assert set(Brand.objects.all()) == brands
    assert set(Certification.objects.all()) == {certification, attached.certification}
    assert not SampleRow.objects.exists()
    assert_exact(organization)
    # They are ordinary rows now.
    assert sample(client, organization, "remove") == "Sample data removed: 0 products."
    assert Product.objects.count() == 5


def test_an_offer_that_is_added_during_the_removal_stays(
    owner: Membership, organization: Organization
) -> None:
    run_with_retry(lambda: add_sample(organization))
    product = Product.objects.of(organization).first()
    assert product is not None
    # Otherwise the removal of its sample rows would wait for the new one already.
    for model in (Offer, ProductImage, CertificationAssignment):
        model._default_manager.filter(product=product).delete()
    with sessions(2) as (writer, remover):
        writer.begin()
        writer.run(lambda: OfferFactory(product=product).pk)
        client = browser_of(owner.user)
        removal = remover.start(lambda: sample(client, organization, "remove"))
        remover.wait_until_blocked()
        writer.end()
        assert "1 product stayed" in removal.result(timeout=30)
    assert Offer.objects.get().product_id == product.pk


@pytest.mark.slow
def test_the_first_steps_in_the_browser(
    visit: Callable[..., Page], owner: Membership, organization: Organization
) -> None:
    page = visit(owner.user, page_of(organization))
    assert_looks_right(page)
    page.get_by_role("button", name="Add sample data").click()
    expect(page.locator("[data-number=total_products]")).to_have_text(str(PRODUCTS))
    assert_looks_right(page)
    page.locator("summary", has_text="Remove the sample data").click()
    expect(page.get_by_text("What you have added stays")).to_be_visible()
    assert_looks_right(page)
    page.get_by_role("button", name="Remove it all").click()
    expect(page.get_by_role("heading", name="No products yet")).to_be_visible()
    page.get_by_role("button", name="Hide").click()
    expect(page.get_by_role("heading", name="First steps")).to_have_count(0)
    page.get_by_role("button", name="Show the first steps").click()
    page.get_by_role("link", name="Import a file").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Import products")


def test_empty_panels_and_lists_say_what_is_true_and_lead_on(
    owner: Membership, organization: Organization
) -> None:
    client = browser_of(owner.user)

    def text(name: str, query: str = "") -> str:
        html = client.get(page_of(organization, name) + query).content.decode()
        return re.sub(r"\s+", " ", html)

    # Offers and certificates need products.
    for name in ("page-offers", "page-certifications"):
        assert "Import products" in text(name)
    product = ProductFactory(organization=organization)
    assert "Add an offer</a>" in text("page-offers")
    home = text("page-home")
    assert "No offers yet." in home
    assert "No certificates yet." in home
    assert "No address check is overdue." not in home
    OfferFactory(product=product)
    CertificationAssignmentFactory(product=product)
    home = text("page-home")
    assert "No broken offers." in home
    assert "No certificate expires in the next 90 days." in home
    assert "No product matches this filter." in text("page-products", "?q=nothing")
    filtered = text("page-products", "?q=nothing&status=draft")
    assert "No product matches all of these filters." in filtered
