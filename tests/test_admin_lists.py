"""Queries of the admin's lists and pages do not grow with the rows."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from catalog.models import Brand, Product
from certifications.models import Certification, CertificationAssignment
from closient.accounts.api_keys import create_api_key
from closient.accounts.models import ApiKey, Organization, User
from closient.accounts.tenant_admin import changelist_url
from offers.models import Offer
from tests.factories import (
    CertificationAssignmentFactory,
    MembershipFactory,
    OfferFactory,
    OrganizationFactory,
    ProductFactory,
    ProductImageFactory,
)

pytestmark = pytest.mark.django_db


def fill(organization: Organization, rows: int) -> None:
    """Create a number of rows of each model."""
    for number in range(rows):
        product = ProductFactory(organization=organization, described=True)
        ProductImageFactory(product=product)
        OfferFactory(product=product)
        CertificationAssignmentFactory(product=product)
        MembershipFactory(organization=organization, role="owner", user__password=None)
        create_api_key(organization=organization, name=f"key {number}")


def queries_of(browser: Client, address: str) -> int:
    with CaptureQueriesContext(connection) as queries:
        response = browser.get(address)
    assert response.status_code == 200, address
    return len(queries)


# Every list: session, user, count up to the limit, rows.
LISTS = [
    (Organization, {}, 4),
    (User, {}, 4),
    (ApiKey, {}, 4),
    (Brand, {}, 4),
    (Product, {}, 4),
    (Offer, {}, 4),
    (Certification, {}, 4),
    (CertificationAssignment, {}, 4),
    # A search takes no more, except for the query of the products of the rows.
    (Product, {"q": "product"}, 4),
    (Offer, {"q": "retailer"}, 5),
    (CertificationAssignment, {"q": "product"}, 5),
    # Plus the organization's name for the filter.
    (Product, {"organization": ...}, 5),
    (ApiKey, {"organization": ...}, 5),
    # Plus the organization with its rule, for its time zone and its threshold.
    (Product, {"organization": ..., "has": "brand", "complete": "false"}, 6),
    (CertificationAssignment, {"organization": ..., "expiry": "never"}, 6),
]


@pytest.mark.parametrize(("model", "parameters", "expected"), LISTS)
@pytest.mark.slow
def test_list_uses_a_constant_number_of_queries(staff, model, parameters, expected) -> None:
    organization = OrganizationFactory()
    address = changelist_url(
        model, **{name: organization.pk if v is ... else v for name, v in parameters.items()}
    )
    fill(organization, 2)
    queries_of(staff, address)
    few = queries_of(staff, address)
    fill(organization, 10)
    many = queries_of(staff, address)

    assert (few, many) == (expected, expected)


# Every page: session, user, the row with related rows.
PAGES = [
    # Members, the rule for its form, the organization with its rule, the seven numbers.
    (Organization, 7),
    (ApiKey, 3),
    (Brand, 3),
    # Images, the chosen brand.
    (Product, 5),
    # The chosen product.
    (Offer, 4),
    (Certification, 3),
    # The chosen product and certification.
    (CertificationAssignment, 5),
]


@pytest.mark.parametrize(("model", "expected"), PAGES)
@pytest.mark.slow
def test_page_uses_a_constant_number_of_queries(staff, model, expected) -> None:
    organization = OrganizationFactory()
    fill(organization, 2)
    row = organization if model is Organization else model.objects.first()
    opts = model._meta
    address = reverse(f"admin:{opts.app_label}_{opts.model_name}_change", args=[row.pk])
    queries_of(staff, address)
    few = queries_of(staff, address)
    fill(organization, 10)
    for _ in range(20 if model is Product else 0):
        ProductImageFactory(product=row)
    many = queries_of(staff, address)

    assert (few, many) == (expected, expected)
