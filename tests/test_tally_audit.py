"""The audit finds every kind of damage, and the repair fixes it."""

from __future__ import annotations

import datetime
import io

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection
from django.db.models import Model

from catalog.models import Product
from closient.accounts.models import Organization
from closient.db.ids import format_id
from closient.tally.audit import audit, repair
from closient.tally.models import Audit, TallyEntry
from tests import factories
from tests.counting import assert_exact

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def product() -> Product:
    product = factories.ProductFactory(described=True)
    factories.ProductImageFactory(product=product)
    factories.OfferFactory(product=product)
    factories.CertificationAssignmentFactory(
        product=product, expiry_date=product.organization.today() + datetime.timedelta(days=9)
    )
    return product


@pytest.fixture
def organization(product: Product) -> Organization:
    return product.organization


def without_triggers(sql: str) -> None:
    """Run a statement without triggers, like a data-only load."""
    tables = [model._meta.db_table for model in apps.get_models() if has_triggers(model)]
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        try:
            cursor.execute(sql)
        finally:
            for table in tables:
                cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


def has_triggers(model: type[Model]) -> bool:
    return bool(getattr(model._meta, "triggers", ()))


def run_audit(*args: str) -> tuple[int, list[str]]:
    out = io.StringIO()
    try:
        call_command("audit_tally", *args, stdout=out)
    except SystemExit as exit_:
        return exit_.code, out.getvalue().splitlines()
    return 0, out.getvalue().splitlines()


DAMAGE = {
    "image gone": "DELETE FROM catalog_productimage",
    "offer gone": "DELETE FROM offers_offer",
    "certificate gone": "DELETE FROM certifications_certificationassignment",
    "certificate changed": (
        "UPDATE certifications_certificationassignment SET expiry_date = expiry_date + 3"
    ),
    "offer changed": "UPDATE offers_offer SET status = 'seasonal', url_status = 'broken'",
    "counters wrong": "UPDATE catalog_productsummary SET image_count = 5, active_offer_count = 0",
    "days wrong": "UPDATE catalog_productsummary SET certified_during = '{}'",
    "copies wrong": "UPDATE catalog_productsummary SET own_facts = 0, status = 'draft'",
    "summary gone": "DELETE FROM catalog_productsummary",
    "summary of no product": (
        "INSERT INTO catalog_productsummary (product_id, organization_id, status, own_facts)"
        " SELECT gen_random_uuid(), organization_id, 'draft', 3 FROM catalog_product"
    ),
    "product gone": (
        "DELETE FROM catalog_productimage; DELETE FROM offers_offer;"
        " DELETE FROM certifications_certificationassignment; DELETE FROM catalog_product"
    ),
    "status changed": "UPDATE catalog_product SET status = 'discontinued'",
    "product changed": "UPDATE catalog_product SET name = '', description = ''",
    "entries gone": "DELETE FROM tally_tallyentry",
    "entries twice": (
        "INSERT INTO tally_tallyentry (organization_id, account, bucket, effective_on, amount)"
        " SELECT organization_id, account, bucket, effective_on, amount FROM tally_tallyentry"
    ),
    "future entry wrong": (
        "UPDATE tally_tallyentry SET effective_on = effective_on + 1"
        " WHERE effective_on > current_date"
    ),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_audit_finds_damage_and_repair_fixes_it(organization, product, damage):
    assert run_audit() == (0, ["1 organizations audited, 0 differences found"])
    without_triggers(damage)
    status, lines = run_audit()
    assert status == 1
    assert len(lines) > 1
    assert Audit.objects.get(pk=organization.pk).differences > 0
    status, repaired = run_audit("--repair")
    assert status == 1
    assert repaired[:-1] == lines[:-1]
    assert Audit.objects.get(pk=organization.pk).differences == 0
    assert run_audit() == (0, ["1 organizations audited, 0 differences found"])
    assert_exact(organization, [organization.today() + datetime.timedelta(days=d) for d in (9, 10)])


def test_audit_names_each_wrong_count(organization, product):
    without_triggers("UPDATE catalog_productsummary SET image_count = 3")
    without_triggers("DELETE FROM tally_tallyentry WHERE account = 'offers'")
    assert run_audit("--organization", format_id(organization.pk)) == (
        1,
        [
            f"{format_id(organization.pk)} product {format_id(product.pk)}: "
            "image_count is 3, counted 1",
            f"{format_id(organization.pk)} account offers bucket online/active/unchecked "
            "from 0001-01-01: tally 0, rows 1",
            "1 organizations audited, 2 differences found",
        ],
    )


def test_audit_names_products_without_summaries_and_summaries_without_products(
    organization, product
):
    other = factories.ProductFactory(organization=organization)
    without_triggers(f"DELETE FROM catalog_productsummary WHERE product_id = '{product.pk}'")
    without_triggers(f"DELETE FROM catalog_product WHERE id = '{other.pk}'")
    name = format_id(organization.pk)
    _, lines = run_audit()
    assert lines[:2] == [
        f"{name} product {format_id(product.pk)}: has no summary",
        f"{name} product {format_id(other.pk)}: is gone, but has a summary",
    ]


def test_repair_moves_a_summary_to_the_organization_of_its_product(organization, product):
    other = factories.ProductFactory().organization
    without_triggers(f"UPDATE catalog_productsummary SET organization_id = '{other.pk}'")
    _, lines = run_audit("--organization", str(organization.pk))
    assert lines[0].endswith(f"organization_id is {other.pk}, counted {organization.pk}")
    run_audit("--repair")
    assert run_audit() == (0, ["2 organizations audited, 0 differences found"])
    assert_exact(organization)
    assert_exact(other)


def test_audit_checks_only_the_named_organization(organization):
    other = factories.ProductFactory().organization
    without_triggers(f"DELETE FROM tally_tallyentry WHERE organization_id = '{organization.pk}'")
    assert run_audit("--organization", str(other.pk))[0] == 0
    assert run_audit("--organization", str(organization.pk))[0] == 1


def test_audit_finds_entries_of_an_organization_without_rows():
    organization = factories.OrganizationFactory()
    TallyEntry.objects.create(
        organization_id=organization.pk,
        account="products",
        bucket="0",
        effective_on=datetime.date.min,
        amount=1,
    )
    assert audit(organization.pk)
    repair(organization.pk)
    assert not audit(organization.pk)


def test_repair_recounts_each_product_under_its_lock(organization, product):
    """The repair does not write the audit's counts: it recounts the current rows."""
    without_triggers("UPDATE catalog_productsummary SET image_count = 9")
    factories.ProductImageFactory(product=product)
    repair(organization.pk)
    product.refresh_from_db()
    assert product.summary.image_count == 2
    assert_exact(organization)


@pytest.mark.parametrize("command", ["compact_tally", "fold_tally"])
def test_compact_command_prints_its_result(organization, command):
    out = io.StringIO()
    call_command(command, stdout=out)
    assert out.getvalue().startswith("compacted 1 organizations, ")
    assert_exact(organization)
