"""Values that the grid suggests: what most products like one have."""

from __future__ import annotations

import pytest

from catalog.models import Brand, Product
from closient.accounts.models import Organization
from dashboard.bulk_edits.likely_values import likely_values
from tests.factories import OrganizationFactory, ProductFactory

pytestmark = pytest.mark.django_db


def add(
    organization: Organization, name: str, brand: str = "", category: str = "", country: str = ""
) -> Product:
    """Add a product with only these values."""
    return ProductFactory(
        organization=organization,
        name=name,
        brand=Brand.objects.get_or_make(organization.pk, brand) if brand else None,
        category=category,
        country_of_origin=country,
    )


def suggested(organization: Organization, field: str, product: Product) -> tuple[str, str] | None:
    """Return the value that is suggested for a product, and why."""
    found = likely_values(organization, field, [product]).get(product.pk)
    return (found.value, found.reason) if found else None


def test_products_with_similar_names_count_more_than_the_brand(organization: Organization) -> None:
    for number in range(6):
        add(organization, f"Haferhof Rye bread {number}", "Haferhof", country="AT")
    for number in range(2):
        add(organization, f"Haferhof Oat drink {number}", "Haferhof", country="SE")
    drink = add(organization, "Haferhof oat drink barista", "Haferhof")
    assert suggested(organization, "country_of_origin", drink) == (
        "SE",
        "as 2 other products of Haferhof with a similar name",
    )
    cake = add(organization, "Haferhof Cake", "Haferhof")
    assert suggested(organization, "country_of_origin", cake) == (
        "AT",
        "as 6 other products of Haferhof",
    )


def test_products_of_the_category_count_without_a_brand(organization: Organization) -> None:
    for number in range(3):
        add(organization, f"Assam {number}", category="Tea", country="IN")
    add(organization, "Sencha", category="Tea", country="JP")
    tea = add(organization, "Darjeeling", category="Tea")
    assert suggested(organization, "country_of_origin", tea) == (
        "IN",
        "as 3 other products in Tea",
    )


def test_category_comes_from_products_of_the_brand_with_similar_names(
    organization: Organization,
) -> None:
    for number in range(2):
        add(organization, f"Haferhof Rye bread {number}", "Haferhof", category="Bread")
        add(organization, f"Haferhof Oat drink {number}", "Haferhof", category="Drinks")
    bread = add(organization, "Haferhof Rye crisps", "Haferhof")
    assert suggested(organization, "category", bread) == (
        "Bread",
        "as 2 other products of Haferhof with a similar name",
    )


def test_brand_comes_from_the_name_or_from_similar_products(organization: Organization) -> None:
    for number in range(2):
        add(organization, f"Oat drink {number}", "Haferhof", category="Drinks")
    named = add(organization, "haferhof muesli")
    unnamed = add(organization, "Oat drink barista", category="Drinks")
    found = likely_values(organization, "brand", [named, unnamed])
    assert {key: (one.value, one.reason) for key, one in found.items()} == {
        named.pk: ("Haferhof", "the name begins with it"),
        unnamed.pk: ("Haferhof", "as 2 other products in Drinks with a similar name"),
    }


def test_nothing_is_suggested_without_agreement_or_for_other_organizations(
    organization: Organization,
) -> None:
    other = OrganizationFactory()
    for number in range(3):
        add(other, f"Assam {number}", "Teehaus", category="Tea", country="IN")
    tea = add(organization, "Assam", "Teehaus", category="Tea")
    assert suggested(organization, "country_of_origin", tea) is None
    for country in ("IN", "IN", "JP", "CN"):
        add(organization, f"Other {country}", "Teehaus", category="Tea", country=country)
    assert suggested(organization, "country_of_origin", tea) is None
    assert suggested(organization, "name", add(organization, "")) is None
