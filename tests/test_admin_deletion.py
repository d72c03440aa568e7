"""Deletion in the admin: the confirmation lists all rows, one statement deletes them."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from catalog.models import Brand, Product
from closient.accounts.models import Organization, User
from closient.accounts.tenant_admin import changelist_url
from closient.admin import counting
from offers.models import Offer
from tests.factories import (
    CertificationAssignmentFactory,
    MembershipFactory,
    OfferFactory,
    ProductFactory,
    ProductImageFactory,
    UserFactory,
)

pytestmark = pytest.mark.django_db


def fill(organization: Organization, count: int) -> list[Product]:
    products = [ProductFactory(organization=organization, described=True) for _ in range(count)]
    for product in products:
        ProductImageFactory(product=product)
        OfferFactory(product=product)
        CertificationAssignmentFactory(product=product)
    return products


def delete_url(row) -> str:
    opts = row._meta
    return reverse(f"admin:{opts.app_label}_{opts.model_name}_delete", args=[row.pk])


def summary(response) -> dict[str, str]:
    """Return the number of rows to delete by model, as the confirmation shows them."""
    return {name: str(count) for name, count in response.context["model_count"]}


def selection_form(rows, **more) -> dict:
    return {"action": "delete_selected", "_selected_action": [row.pk for row in rows], **more}


def test_deleting_an_organization_deletes_everything_in_it(staff: Client, organization) -> None:
    fill(organization, 2)
    MembershipFactory(organization=organization, role="owner", user__password=None)
    kept = ProductFactory()

    confirmation = staff.get(delete_url(organization))
    with CaptureQueriesContext(connection) as queries:
        staff.post(delete_url(organization), {"post": "yes"})

    assert summary(confirmation) == {
        "organizations": "1",
        "memberships": "1",
        "brands": "2",
        "products": "2",
        "product images": "2",
        "offers": "2",
        "certifications": "2",
        "certification assignments": "2",
        # Of the rows above, all made in one transaction.
        "changes": "1",
    }
    assert list(Product.objects.all()) == [kept]
    deletes = [query["sql"] for query in queries if query["sql"].startswith("DELETE")]
    assert len(deletes) == 1


def test_confirmation_page_uses_a_constant_number_of_queries(staff, organization) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            staff.get(delete_url(organization))
        return len(captured)

    fill(organization, 1)
    queries()
    few = queries()
    fill(organization, 10)

    # Session, user, the organization, and a count for each of the ten things related to it.
    related = len(Organization._meta.related_objects)
    assert (few, queries()) == (3 + related, 3 + related)


def test_deleting_a_brand_keeps_its_products(staff: Client, organization) -> None:
    [product] = fill(organization, 1)
    other = ProductFactory(organization=organization, described=True)

    confirmation = staff.get(delete_url(product.brand))
    staff.post(delete_url(product.brand), {"post": "yes"})

    assert summary(confirmation) == {"brands": "1", "products that stay, without their brand": "1"}
    product.refresh_from_db()
    assert (product.brand, list(Brand.objects.all())) == (None, [other.brand])


def test_selected_products_are_deleted_after_confirmation(staff: Client, organization) -> None:
    first, second, kept = fill(organization, 3)
    address = changelist_url(Product)

    confirmation = staff.post(address, selection_form([first, second]))
    response = staff.post(address, selection_form([first, second], post="yes"), follow=True)

    assert summary(confirmation) == {
        "products": "2",
        "product images": "2",
        "offers": "2",
        "certification assignments": "2",
    }
    assert confirmation.content.decode().count('name="_selected_action"') == 2
    assert [str(message) for message in response.context["messages"]] == ["Deleted 2 products."]
    assert (list(Product.objects.all()), Offer.objects.count()) == ([kept], 1)
    assert set(LogEntry.objects.filter(action_flag=DELETION).values_list("object_repr")) == {
        (str(first),),
        (str(second),),
    }


def test_whole_filtered_list_is_deleted_without_loading_it(staff: Client, organization) -> None:
    products = fill(organization, 12)
    kept = ProductFactory()
    address = changelist_url(Product, organization=organization.pk)
    form = selection_form(products[:1], select_across="1")

    confirmation = staff.post(address, form)
    with CaptureQueriesContext(connection) as queries:
        staff.post(address, form | {"post": "yes"})

    assert summary(confirmation)["products"] == "12"
    assert '<input type="hidden" name="select_across" value="1">' in confirmation.content.decode()
    assert list(Product.objects.all()) == [kept]
    assert sum(query["sql"].startswith("DELETE") for query in queries) == 1
    assert list(LogEntry.objects.values_list("object_repr", "action_flag")) == [
        ("12 products", DELETION)
    ]


def test_counts_are_capped_at_the_limit(staff: Client, organization, monkeypatch) -> None:
    monkeypatch.setattr(counting, "COUNT_LIMIT", 3)
    fill(organization, 4)

    listed = staff.get(changelist_url(Product, q="product")).content.decode()
    confirmation = staff.get(delete_url(organization))

    assert "3+ results" in listed
    assert summary(confirmation)["products"] == "3+"


def test_deletion_requires_permission_for_related_rows(client: Client, organization) -> None:
    [product] = fill(organization, 1)
    user = UserFactory(is_staff=True, password=None)
    user.user_permissions.set(
        Permission.objects.filter(codename__in=["view_product", "delete_product"])
    )
    client.force_login(user)

    confirmation = client.get(delete_url(product))
    response = client.post(delete_url(product), {"post": "yes"})

    assert confirmation.context["perms_lacking"] == {"offers", "certification assignments"}
    assert (response.status_code, Product.objects.count()) == (403, 1)


def test_deleting_a_user_deletes_memberships(staff: Client, organization) -> None:
    MembershipFactory(organization=organization, role="owner", user__password=None)
    user = MembershipFactory(organization=organization, user__password=None).user

    confirmation = staff.get(delete_url(user))
    staff.post(delete_url(user), {"post": "yes"})

    assert summary(confirmation) == {"users": "1", "memberships": "1"}
    assert not User.objects.filter(pk=user.pk).exists()
