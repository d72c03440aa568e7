"""Admin forms that are open while the row is changed elsewhere."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse

from catalog.models import Brand, CompletenessRule, Product, ProductImage
from certifications.models import Certification, CertificationAssignment
from closient.accounts.api_keys import create_api_key
from closient.accounts.models import ApiKey, MemberRole, Membership, Organization, User
from closient.admin.forms import EditForm, EditFormSet
from closient.db.ids import format_id
from offers.models import Offer
from tests.clients import API, client_of
from tests.factories import (
    CertificationAssignmentFactory,
    CertificationFactory,
    MembershipFactory,
    OfferFactory,
    OrganizationFactory,
    ProductFactory,
    ProductImageFactory,
    UserFactory,
)
from tests.html_forms import form_on, open_form

pytestmark = pytest.mark.django_db
Row = Any


def create_key() -> ApiKey:
    return create_api_key(name="Export", organization=OrganizationFactory())[0]


def create_rule() -> CompletenessRule:
    return CompletenessRule.objects.create(organization=OrganizationFactory())


@dataclasses.dataclass(frozen=True)
class Edit:
    """A row, the page it is edited on, and two of its columns with new values."""

    make: Callable[[], Row]
    elsewhere: tuple[str, Any]
    here: tuple[str, str]
    # For a row on the page of another row: the prefix of its fields, and that other row.
    prefix: str = ""
    page: Callable[[Row], Row] = lambda row: row

    def address(self, row: Row) -> str:
        shown = self.page(row)
        name = f"{shown._meta.app_label}_{shown._meta.model_name}"
        return reverse(f"admin:{name}_change", args=[shown.pk])


EDITS = {
    "product": Edit(
        lambda: ProductFactory(description="Two\nlines"),
        ("category", "Drinks"),
        ("manufacturer", "Haferhof"),
    ),
    "product's metadata": Edit(
        lambda: ProductFactory(metadata={"a": "b"}), ("metadata", {"c": "d"}), ("name", "Oat")
    ),
    "brand of a product": Edit(
        lambda: ProductFactory(described=True), ("brand", None), ("name", "Oat")
    ),
    "certification": Edit(CertificationFactory, ("body", "EU"), ("label", "Organic")),
    "assignment": Edit(
        CertificationAssignmentFactory,
        ("expiry_date", datetime.date(2099, 1, 1)),
        ("issuing_body", "Inspectors"),
    ),
    "offer": Edit(OfferFactory, ("status", "seasonal"), ("currency", "EUR")),
    "key": Edit(create_key, ("is_active", False), ("limit_per_day", "7")),
    "user": Edit(UserFactory, ("is_active", False), ("first_name", "Alice")),
    "organization": Edit(OrganizationFactory, ("time_zone", "Asia/Tokyo"), ("name", "Renamed")),
    "rule": Edit(
        create_rule,
        ("threshold", 55),
        ("brand", "33"),
        prefix="completeness_rule-0-",
        page=lambda row: row.organization,
    ),
    "image": Edit(
        lambda: ProductImageFactory(is_primary=True),
        ("priority", 9),
        ("title", "Front"),
        prefix="images-0-",
        page=lambda row: row.product,
    ),
}
each_edit = pytest.mark.parametrize("name", EDITS)


def reload(row: Row) -> Row:
    return type(row).objects.get(pk=row.pk)


def set_elsewhere(row: Row, column: str, value: Any) -> None:
    type(row).objects.filter(pk=row.pk).update(**{column: value})


def save(browser: Client, address: str, form: dict[str, Any], **changes: str) -> Any:
    return browser.post(address, {**form, "_save": "Save", **changes})


def errors_on(response: Any) -> list[str]:
    return [
        str(error)
        for errors in response.context["errors"]
        for error in ([errors] if isinstance(errors, str) else errors)
    ]


@each_edit
def test_stale_form_keeps_changes_made_elsewhere(name: str, staff: Client) -> None:
    edit = EDITS[name]
    row = edit.make()
    form = open_form(staff, edit.address(row))
    set_elsewhere(row, *edit.elsewhere)
    column, value = edit.here
    response = save(staff, edit.address(row), form, **{edit.prefix + column: value})
    assert response.status_code == 302, errors_on(response)
    saved = reload(row)
    assert (getattr(saved, edit.elsewhere[0]), str(getattr(saved, column))) == (
        edit.elsewhere[1],
        value,
    )


@each_edit
def test_conflicting_field_is_reported_and_nothing_is_saved(name: str, staff: Client) -> None:
    edit = EDITS[name]
    row = edit.make()
    address = edit.address(row)
    form = open_form(staff, address)
    column, value = edit.here
    other = {"currency": "USD"}.get(column, "1" if value.isdigit() else "Other")
    set_elsewhere(row, column, other)
    before = reload(row)
    sent = {edit.prefix + column: value}
    response = save(staff, address, form, **sent)
    assert response.status_code == 200
    assert errors_on(response) == [
        f"Changed to “{other}” while this form was open. Save again to replace that, or reload "
        "the page to keep it."
    ]
    assert columns(reload(row)) == columns(before)
    again = form_on(response)
    assert again[edit.prefix + column] == [value]
    assert save(staff, address, again).status_code == 302
    assert str(getattr(reload(row), column)) == value


def columns(row: Row) -> dict[str, Any]:
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


@each_edit
def test_identical_changes_are_no_conflict(name: str, staff: Client) -> None:
    edit = EDITS[name]
    row = edit.make()
    form = open_form(staff, edit.address(row))
    column, value = edit.here
    set_elsewhere(row, column, value)
    response = save(staff, edit.address(row), form, **{edit.prefix + column: value})
    assert response.status_code == 302, errors_on(response)
    assert str(getattr(reload(row), column)) == value


@each_edit
def test_unchanged_form_writes_nothing(name: str, staff: Client) -> None:
    edit = EDITS[name]
    row = edit.make()
    form = open_form(staff, edit.address(row))
    set_elsewhere(row, *edit.elsewhere)
    before = reload(row)
    assert save(staff, edit.address(row), form).status_code == 302
    assert columns(reload(row)) == columns(before)


def test_stale_form_keeps_a_change_by_the_api(staff: Client) -> None:
    product = ProductFactory(name="Old", category="Old")
    address = EDITS["product"].address(product)
    form = open_form(staff, address)
    path = f"{API}/trade-items/{format_id(product.organization_id)}/{product.gtin}"
    client = client_of(product.organization, role="editor")
    changed = client.patch(path, {"name": "New"}, content_type="application/json")
    assert changed.status_code == 200
    assert save(staff, address, form, category="Drinks").status_code == 302
    body = client.get(path).json()
    assert (body["name"], body["category"]) == ("New", "Drinks")


def test_stale_form_keeps_a_role_changed_elsewhere(staff: Client) -> None:
    owner = MembershipFactory(role=MemberRole.OWNER)
    member = MembershipFactory(organization=owner.organization, role=MemberRole.VIEWER)
    address = reverse("admin:accounts_organization_change", args=[owner.organization_id])
    form = open_form(staff, address)
    place = next(n for n in "01" if form[f"memberships-{n}-id"] == [str(member.pk)])
    set_elsewhere(member, "role", MemberRole.EDITOR)
    assert save(staff, address, form, name="Renamed").status_code == 302
    assert reload(member).role == MemberRole.EDITOR
    response = save(staff, address, form, **{f"memberships-{place}-role": MemberRole.MANAGER})
    assert response.status_code == 200
    assert errors_on(response)[0].startswith("Changed to “")
    assert reload(member).role == MemberRole.EDITOR


def test_stale_form_keeps_groups_added_elsewhere(staff: Client) -> None:
    user = UserFactory()
    group = Group.objects.create(name="Support")
    form = open_form(staff, EDITS["user"].address(user))
    user.groups.add(group)
    assert save(staff, EDITS["user"].address(user), form, last_name="B").status_code == 302
    assert list(reload(user).groups.all()) == [group]
    assert reload(user).last_name == "B"


def test_list_edit_keeps_other_columns(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin.site._registry[Certification], "list_editable", ("label", "body"))
    row = CertificationFactory(label="Old")
    address = reverse("admin:certifications_certification_changelist")
    form = open_form(staff, address)
    set_elsewhere(row, "body", "EU")
    assert save(staff, address, form, **{"form-0-label": "New"}).status_code == 302
    assert (reload(row).label, reload(row).body) == ("New", "EU")
    set_elsewhere(row, "label", "Newer")
    response = save(staff, address, form, **{"form-0-label": "Newest"})
    assert response.status_code == 200
    assert "Changed to “Newer” while this form was open." in response.content.decode()
    assert reload(row).label == "Newer"


def test_stale_form_keeps_the_primary_image_chosen_elsewhere(staff: Client) -> None:
    product = ProductFactory()
    first = ProductImageFactory(product=product, is_primary=True)
    second = ProductImageFactory(product=product)
    address = EDITS["product"].address(product)
    form = open_form(staff, address)
    set_elsewhere(first, "is_primary", False)
    set_elsewhere(second, "is_primary", True)
    assert save(staff, address, form, **{"images-0-title": "Front"}).status_code == 302
    assert reload(second).is_primary
    assert not reload(first).is_primary


def test_stale_form_keeps_a_primary_image_added_elsewhere(staff: Client) -> None:
    product = ProductFactory()
    first = ProductImageFactory(product=product, is_primary=True)
    other = ProductImageFactory(product=product)
    address = EDITS["product"].address(product)
    form = open_form(staff, address)
    set_elsewhere(first, "is_primary", False)
    new = ProductImageFactory(product=product, is_primary=True)
    assert save(staff, address, form, **{"images-0-title": "Front"}).status_code == 302
    assert reload(new).is_primary
    places = {form[f"images-{n}-id"][0]: n for n in "01"}
    tick = {f"images-{places[str(other.pk)]}-is_primary": "on"}
    untick = f"images-{places[str(first.pk)]}-is_primary"
    response = save(staff, address, {k: v for k, v in form.items() if k != untick}, **tick)
    assert response.status_code == 200
    assert errors_on(response) == [
        "Another image became the primary one while this form was open: reload the page."
    ]
    assert reload(new).is_primary


def test_stale_form_reports_a_deleted_row(staff: Client) -> None:
    product = ProductFactory()
    ProductImageFactory(product=product, is_primary=True)
    gone = ProductImageFactory(product=product)
    address = EDITS["product"].address(product)
    form = open_form(staff, address)
    gone.delete()
    response = save(staff, address, form, name="New", **{"images-1-title": "Back"})
    assert response.status_code == 200
    assert "A product image was deleted while this form was open: reload the page." in (
        errors_on(response)
    )
    assert reload(product).name != "New"


def test_stale_form_reports_a_reset_rule(staff: Client) -> None:
    own = create_rule()
    address = EDITS["rule"].address(own)
    form = open_form(staff, address)
    own.delete()
    response = save(staff, address, form, **{"completeness_rule-0-threshold": "70"})
    assert response.status_code == 200
    assert any("was deleted while this form was open" in error for error in errors_on(response))
    assert not CompletenessRule.objects.exists()


def test_every_admin_form_detects_conflicts() -> None:
    models = set(admin.site._registry)
    assert models >= {
        Brand,
        Product,
        Offer,
        Certification,
        CertificationAssignment,
        Organization,
        User,
        ApiKey,
    }
    inlines = set()
    for page in admin.site._registry.values():
        if page.model._meta.app_label != "auth":
            assert issubclass(page.form, EditForm), page
        for inline in (*page.inlines, *getattr(page, "extra_inlines", ())):
            assert issubclass(inline.form, EditForm), inline
            assert issubclass(inline.formset, EditFormSet), inline
            inlines.add(inline.model)
    assert inlines == {Membership, CompletenessRule, ProductImage}
