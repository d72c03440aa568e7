"""`updated_by` after each kind of change."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from django.core.files.base import ContentFile
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from catalog.models import CompletenessRule, Product
from closient.accounts.models import Membership
from closient.db.ids import format_id
from dashboard.imports.runs import actions
from dashboard.imports.runs.importer import work_on_next
from tests.clients import API, client_of
from tests.factories import (
    CertificationAssignmentFactory,
    MembershipFactory,
    OfferFactory,
    ProductFactory,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def anna() -> Membership:
    return MembershipFactory(role="owner", user__first_name="Anna", user__last_name="Berg")


@pytest.fixture
def product(anna: Membership) -> Product:
    return ProductFactory(organization=anna.organization, name="Oat drink")


@pytest.fixture
def page(anna: Membership) -> Client:
    client = Client()
    client.force_login(anna.user)
    return client


def saved_by(product: Product) -> str:
    product.refresh_from_db()
    return str(product.updated_by)


def by_form(page: Client, product: Product, **_: object) -> str:
    address = reverse("page-product", args=[product.organization_id, product.gtin])
    version = page.get(address).context["form"]["version"].value()
    assert page.post(address, {"name": "Oats", "version": version}).status_code == 302
    return "Anna Berg"


def by_bulk_edit(page: Client, product: Product, **_: object) -> str:
    address = reverse("page-products-bulk", args=[product.organization_id])
    ticked = {"action": "discontinued", "row": format_id(product.pk)}
    assert page.post(address, ticked).status_code == 302
    return "Anna Berg"


def by_key(page: Client, product: Product, anna: Membership, **_: object) -> str:
    client = client_of(anna.organization, role="editor", name="Webshop")
    address = f"{API}/trade-items/{format_id(anna.organization_id)}/{product.gtin}"
    response = client.patch(address, {"name": "Oats"}, content_type="application/json")
    assert response.status_code == 200, response.content
    return "API key Webshop"


def by_import(page: Client, product: Product, anna: Membership, **_: object) -> str:
    text = f"gtin,name\n{product.gtin},Oats\n"
    run = actions.start(anna.organization, anna.user, ContentFile(text.encode()), "spring.csv")
    assert work_on_next(threading.Event())
    actions.confirm(run)
    assert work_on_next(threading.Event())
    return "Anna Berg, import of spring.csv"


def by_admin(page: Client, product: Product, anna: Membership, **_: object) -> str:
    user = MembershipFactory(user__is_staff=True, user__is_superuser=True).user
    client = Client()
    client.force_login(user)
    address = reverse("admin:catalog_product_change", args=[product.pk])
    shown = client.get(address).context
    data = {**shown["adminform"].form.initial, "name": "Oats"}
    for formset in shown["inline_admin_formsets"]:
        data |= {
            f"{formset.formset.prefix}-{name}": value
            for name, value in formset.formset.management_form.initial.items()
        }
    data = {name: "" if value is None else value for name, value in data.items()}
    data |= {"nutrition": "{}", "metadata": "{}"}
    response = client.post(address, data)
    assert response.status_code == 302, response.context["errors"]
    return str(user.email)


@pytest.mark.parametrize("change", [by_form, by_bulk_edit, by_key, by_import, by_admin])
def test_each_change_of_a_product_records_its_author(  # noqa: PLR0917 - fixtures
    page: Client,
    product: Product,
    anna: Membership,
    change: Callable[..., str],
    settings: Settings,
    tmp_path: object,
) -> None:
    kept = settings.STORAGES["imports"]
    settings.STORAGES = settings.STORAGES | {
        "imports": {**kept, "OPTIONS": {**kept["OPTIONS"], "location": tmp_path}}
    }
    before = product.updated_at
    expected = change(page=page, product=product, anna=anna)
    assert saved_by(product) == expected
    assert product.updated_at > before
    # A change outside of requests and imports clears the previous author.
    product.name = "by a script"
    product.save()
    assert saved_by(product) == ""


def test_changes_of_offers_certificates_and_the_rule_record_their_author(
    page: Client, product: Product, anna: Membership
) -> None:
    offer = OfferFactory(product=product)
    certificate = CertificationAssignmentFactory(product=product)
    for name, row, change in (
        ("page-offer", offer, {"price": "3", "currency": "EUR"}),
        ("page-certificate", certificate, {"certificate_number": "3"}),
    ):
        address = reverse(name, args=[anna.organization_id, row.pk])
        version = page.get(address).context["form"]["version"].value()
        response = page.post(address, {**change, "version": version})
        assert response.status_code == 302, response.context["form"].errors
        row.refresh_from_db()
        assert row.updated_by == "Anna Berg"
    address = reverse("page-rule", args=[anna.organization_id])
    form = page.get(address).context["form"]
    given = {field.name: field.value() for field in form}
    assert page.post(address, {**given, "threshold": "70"}).status_code == 302
    assert CompletenessRule.objects.get().updated_by == "Anna Berg"
