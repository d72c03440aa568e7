"""The pages of certificates: the list, one certificate, and its export."""

from __future__ import annotations

import csv
import datetime
import html
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from playwright.sync_api import Page, expect

from certifications.models import Certification, CertificationAssignment
from closient.accounts.models import Membership
from closient.db.ids import format_id
from tests.browser import assert_looks_right
from tests.clients import queries_of
from tests.counting import assert_exact
from tests.factories import (
    CertificationAssignmentFactory,
    CertificationFactory,
    MembershipFactory,
    ProductFactory,
    gtin,
)
from tests.sessions import sessions
from tests.test_web_offers import errors_at, text_of, total_of

pytestmark = pytest.mark.django_db
in_browser = pytest.mark.django_db(transaction=True)


@pytest.fixture
def alice() -> Membership:
    return MembershipFactory(role="owner")


@pytest.fixture
def member(client: Client, alice: Membership) -> Client:
    client.force_login(alice.user)
    return client


@pytest.fixture
def product(alice: Membership) -> Any:
    return ProductFactory(organization=alice.organization, gtin=gtin(7), name="Oat Flakes")


@pytest.fixture
def organic(alice: Membership) -> Certification:
    return CertificationFactory(
        organization=alice.organization, code="eu-organic", label="EU Organic"
    )


def path_of(alice: Membership, *more: object) -> str:
    parts = [
        format_id(part.pk) if isinstance(part, CertificationAssignment) else str(part)
        for part in more
    ]
    return "/".join(["/dashboard", format_id(alice.organization.id), "certifications", *parts])


def in_days(alice: Membership, days: int) -> datetime.date:
    return alice.organization.today() + datetime.timedelta(days=days)


# The list


@pytest.mark.parametrize(
    ("days", "label"),
    [
        ((None, None), "No start date Never Valid"),
        ((None, -1), "Expired"),
        ((None, 0), "Expires today"),
        ((None, 1), "Expires tomorrow"),
        ((None, 60), "Expires in 60 days"),
        ((None, 61), "Valid"),
        ((1, 5), "Not valid yet"),
    ],
)
def test_list_shows_the_validity_of_a_certificate(
    member: Client,
    alice: Membership,
    organic: Certification,
    days: tuple[int | None, int | None],
    label: str,
) -> None:
    begins, ends = (None if day is None else in_days(alice, day) for day in days)
    CertificationAssignmentFactory(
        product=ProductFactory(organization=alice.organization, gtin=gtin(7), name="Oat Flakes"),
        certification=organic,
        certificate_number="N-1",
        issuing_body="Example Inspection",
        valid_from=begins,
        expiry_date=ends,
        verification_status="verified",
    )
    shown = text_of(member.get(path_of(alice)))
    assert f"Oat Flakes {gtin(7)} EU Organic N-1 Example Inspection" in shown
    assert f"{label} Verified" in shown


@pytest.fixture
def several(alice: Membership, product: Any, organic: Certification) -> None:
    for days in (-10, -1, 0, 1, 60, 61):
        CertificationAssignmentFactory(
            product=product, certification=organic, expiry_date=in_days(alice, days)
        )
    other = CertificationFactory(organization=alice.organization, code="fair")
    CertificationAssignmentFactory(
        product=product, certification=other, verification_status="verified"
    )
    CertificationAssignmentFactory(expiry_date=in_days(alice, 5))


@pytest.mark.usefixtures("several")
@pytest.mark.parametrize(
    ("query", "total", "chips"),
    [
        ("", 7, []),
        ("?expiring_within=60", 2, ["Expiring within 60 days"]),
        ("?expired=true", 2, ["Expired"]),
        ("?expired=false", 5, ["Not expired"]),
        ("?certification=eu-organic", 6, ["Certification: eu-organic"]),
        ("?certification=unknown", 0, ["Certification: unknown"]),
        ("?verification_status=verified", 1, ["Verification: Verified"]),
    ],
)
def test_list_and_export_contain_exactly_the_filtered_rows(
    member: Client,
    alice: Membership,
    query: str,
    total: int,
    chips: list[str],
) -> None:
    page = member.get(path_of(alice) + query)
    assert total_of(page) == total
    assert page.content.decode().split("<tbody>")[-1].count("<tr>") == total
    assert [chip.text for chip in page.context["chips"]] == chips
    export = member.get(path_of(alice, "export") + query)
    rows = b"".join(export.streaming_content).decode("utf-8-sig").splitlines()
    assert len(rows) - 1 == total


def test_list_is_sorted_by_the_requested_order(
    member: Client, alice: Membership, several: None
) -> None:
    def days(query: str) -> list[int | None]:
        rows = member.get(path_of(alice) + query).context["rows"]
        today = alice.organization.today()
        return [row.expiry_date and (row.expiry_date - today).days for row in rows]

    assert days("") == [-10, -1, 0, 1, 60, 61, None]
    assert days("?ordering=-expiry_date") == [None, 61, 60, 1, 0, -1, -10]


def test_list_uses_the_same_number_of_queries_for_3_and_30_rows(
    member: Client, alice: Membership, product: Any, organic: Certification
) -> None:
    member.get(path_of(alice))  # remembers the organization in the session
    counts = []
    for more in (3, 27):
        CertificationAssignmentFactory.create_batch(
            more, product=product, certification=organic, expiry_date=in_days(alice, 5)
        )
        response, queries = queries_of(member, path_of(alice) + "?page_size=100")
        assert total_of(response) == CertificationAssignment.objects.count()
        counts.append(len(queries))
    # Session, user, membership with the organization and its rule, the display; counts of dated and
    # of endless ones, keys, rows; the organizations of the switcher.
    assert counts == [11, 11], queries


def test_list_without_certificates_shows_the_first_step(member: Client, alice: Membership) -> None:
    assert "No certificates yet" in text_of(member.get(path_of(alice)))
    nothing = member.get(path_of(alice) + "?expired=true")
    assert "No results" in text_of(nothing)


# One certificate


def filled(**more: str) -> dict[str, str]:
    return {
        "gtin": gtin(7),
        "certification__code": "eu-organic",
        "certification__label": "EU Organic",
        "certification__body": "European Union",
        "certificate_number": "DE-1",
        "issuing_body": "",
        "valid_from": "2026-01-01",
        "expiry_date": "2096-12-31",
        "verification_status": "verified",
        "verification_url": "",
        **more,
    }


def test_a_new_certificate_creates_its_certification_and_is_counted(
    member: Client, alice: Membership, product: Any
) -> None:
    form = member.get(path_of(alice, "new"), {"gtin": gtin(7)})
    assert form.context["form"]["gtin"].value() == gtin(7)
    response = member.post(path_of(alice, "new"), filled())
    assert (response.status_code, response.headers["Location"]) == (302, path_of(alice))
    (certificate,) = CertificationAssignment.objects.all()
    assert certificate.product == product
    assert (certificate.valid_from, certificate.expiry_date) == (
        datetime.date(2026, 1, 1),
        datetime.date(2096, 12, 31),
    )
    (certification,) = Certification.objects.all()
    assert (certification.code, certification.label, certification.body) == (
        "eu-organic",
        "EU Organic",
        "European Union",
    )
    assert_exact(alice.organization, [datetime.date(2096, 12, 31), datetime.date(2097, 1, 1)])


@pytest.mark.parametrize(
    ("change", "errors"),
    [
        (
            {"gtin": gtin(10**10)},
            {
                "gtin": f"The organization has no product with the GTIN {gtin(10**10)}: add it "
                "first."
            },
        ),
        ({"certification__code": ""}, {"certification__code": "This field may not be blank."}),
        (
            {"valid_from": "2026-02-30", "verification_url": "ftp://example.com/"},
            {
                "valid_from": "Must be a date, YYYY-MM-DD.",
                "verification_url": "Enter a complete http or https address: https://shop.example.com/item.",
            },
        ),
        (
            {"expiry_date": "2025-12-31"},
            {"expiry_date": "The expiry date cannot be before the start date."},
        ),
    ],
)
def test_form_shows_errors_at_their_fields_and_writes_nothing(
    member: Client,
    alice: Membership,
    product: Any,
    change: dict[str, str],
    errors: dict[str, str],
) -> None:
    response = member.post(path_of(alice, "new"), filled(**change))
    assert errors_at(response) == errors
    for name, sentence in errors.items():
        assert sentence in text_of(response)
        assert response.context["form"][name].value() == change[name]
    assert (CertificationAssignment.objects.count(), Certification.objects.count()) == (0, 0)


def test_form_rejects_an_empty_certificate_and_accepts_an_unchanged_one(
    member: Client, alice: Membership, product: Any
) -> None:
    required = "This field is required."
    assert errors_at(member.post(path_of(alice, "new"))) == {
        "gtin": required,
        "": required,
    }
    certificate = CertificationAssignmentFactory(product=product)
    version = member.get(path_of(alice, certificate)).context["form"]["version"].value()
    response = member.post(path_of(alice, certificate), {"version": version})
    assert response.status_code == 302
    response = member.post(path_of(alice, certificate), {"certification__body": "Another body"})
    assert errors_at(response) == {"certification__code": required}


def test_form_renews_a_certificate_and_keeps_the_name_of_its_certification(
    member: Client, alice: Membership, product: Any, organic: Certification
) -> None:
    certificate = CertificationAssignmentFactory(
        product=product,
        certification=organic,
        expiry_date=in_days(alice, 5),
        metadata={"audit": "2026"},
    )
    assert assert_exact(alice.organization).expiring_certifications == 1
    form = member.get(path_of(alice, certificate)).context["form"]
    # The label is set and cannot change; the empty certification body can be set.
    assert "certification__label" not in form.fields
    sent = {name: form[name].value() or "" for name in form.fields}
    later = in_days(alice, 500).isoformat()
    sent |= {"expiry_date": later, "certification__body": "European Union"}
    back = path_of(alice) + "?expiring_within=60"
    response = member.post(path_of(alice, certificate), {**sent, "back": back})
    assert (response.status_code, response.headers["Location"]) == (302, back)
    certificate.refresh_from_db()
    organic.refresh_from_db()
    assert (certificate.expiry_date.isoformat(), certificate.metadata) == (later, {"audit": "2026"})
    assert (organic.label, organic.body) == ("EU Organic", "European Union")
    assert assert_exact(alice.organization).expiring_certifications == 0


def test_delete_page_asks_for_confirmation(member: Client, alice: Membership, product: Any) -> None:
    certificate = CertificationAssignmentFactory(product=product, expiry_date=in_days(alice, 5))
    assert "Delete this certificate?" in text_of(member.get(path_of(alice, certificate, "delete")))
    assert CertificationAssignment.objects.count() == 1
    response = member.post(path_of(alice, certificate, "delete"))
    assert response.headers["Location"] == path_of(alice)
    assert CertificationAssignment.objects.count() == 0
    assert assert_exact(alice.organization).expiring_certifications == 0


@in_browser
def test_form_merges_a_certification_created_while_the_save_waited(
    member: Client, alice: Membership, product: Any, organic: Certification
) -> None:
    certificate = CertificationAssignmentFactory(product=product, certification=organic)
    form = member.get(path_of(alice, certificate)).context["form"]
    sent = {name: form[name].value() or "" for name in form.fields}
    sent["certificate_number"] = "N-2"

    def change() -> None:
        certificate.certification = CertificationFactory(
            organization=alice.organization, code="fair"
        )
        certificate.save()

    with sessions(2) as (first, second):
        first.begin()
        first.run(change)
        late = second.start(lambda: member.post(path_of(alice, certificate), sent))
        second.wait_until_blocked()
        first.end()
        assert late.result(timeout=30).status_code == 302
    certificate.refresh_from_db()
    assert (certificate.certification.code, certificate.certificate_number) == ("fair", "N-2")


# Access


def test_a_viewer_can_read_but_not_write(
    client: Client, alice: Membership, product: Any, organic: Certification
) -> None:
    certificate = CertificationAssignmentFactory(
        product=product, certification=organic, expiry_date=datetime.date(2096, 3, 1)
    )
    client.force_login(MembershipFactory(organization=alice.organization, role="viewer").user)
    for path in (path_of(alice), path_of(alice, certificate)):
        page = client.get(path)
        assert "EU Organic" in text_of(page)
        assert "1 Mar 2096" in text_of(page)
        # The only forms say how the list is shown.
        main = page.content.decode().split("<main")[1]
        assert main.count('method="post"') == main.count('/display">')
    for path in (path_of(alice, "new"), path_of(alice, certificate, "delete")):
        assert client.get(path).status_code == 403
        assert client.post(path, filled()).status_code == 403
    assert client.post(path_of(alice, certificate), filled()).status_code == 403
    assert CertificationAssignment.objects.get().verification_status == "unverified"


def test_certificates_of_other_organizations_are_not_found(
    member: Client, alice: Membership
) -> None:
    theirs = CertificationAssignmentFactory()
    for path in (path_of(alice, theirs), path_of(alice, theirs, "delete")):
        assert member.get(path).status_code == 404
        assert member.post(path, filled()).status_code == 404
    assert member.get(path_of(alice, "strange")).status_code == 404
    assert CertificationAssignment.objects.count() == 1


def test_hostile_texts_are_escaped(member: Client, alice: Membership, product: Any) -> None:
    hostile = "<script>alert(1)</script>\"'&"
    certificate = CertificationAssignmentFactory(
        product=product,
        certificate_number=hostile,
        issuing_body=hostile,
        verification_url="javascript:alert(1)",
        certification=CertificationFactory(
            organization=alice.organization, code=hostile, label=hostile, body=hostile
        ),
    )
    for path in (
        path_of(alice),
        path_of(alice, certificate),
        path_of(alice, certificate, "delete"),
    ):
        page = member.get(path).content.decode()
        assert "<script>alert" not in page
        assert 'href="javascript' not in page
        assert hostile in html.unescape(page)


# The export


def test_export_contains_every_field_and_no_formula(
    member: Client, alice: Membership, product: Any, organic: Certification
) -> None:
    CertificationAssignmentFactory(
        product=product,
        certification=organic,
        certificate_number="=cmd|' /C calc'!A0",
        issuing_body="Ökö",
        valid_from=datetime.date(2026, 1, 1),
        metadata={"audit": "2026"},
    )
    CertificationAssignmentFactory()
    export = member.get(path_of(alice, "export"))
    today = alice.organization.today()
    assert f"-{today}.csv" in export.headers["Content-Disposition"]
    text = b"".join(export.streaming_content).decode("utf-8-sig")
    assert list(csv.DictReader(text.splitlines())) == [
        {
            "gtin": gtin(7),
            "product_name": "Oat Flakes",
            "certification": "eu-organic",
            "certification_label": "EU Organic",
            "certification_body": "",
            "certificate_number": "'=cmd|' /C calc'!A0",
            "issuing_body": "Ökö",
            "valid_from": "2026-01-01",
            "expiry_date": "",
            "verification_status": "unverified",
            "verification_url": "",
            "is_active": "true",
            "metadata": '{"audit": "2026"}',
        }
    ]
    assert member.get(path_of(alice, "export") + "?expired=perhaps").status_code == 422


# In a browser


@in_browser
def test_browser_finds_and_renews_an_expiring_certificate(
    visit: Callable[..., Page], alice: Membership, product: Any, organic: Certification
) -> None:
    CertificationAssignmentFactory(
        product=product, certification=organic, expiry_date=in_days(alice, 5)
    )
    page = visit(alice.user, path_of(alice) + "?expiring_within=60")
    expect(page.get_by_text("Expires in 5 days")).to_be_visible()
    page.get_by_role("link", name="Edit EU").click()
    page.get_by_label("Expires").fill(in_days(alice, 400).isoformat())
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Certificate saved.")).to_be_visible()
    expect(page.get_by_role("heading", name="No results")).to_be_visible()
    assert page.url.endswith("?expiring_within=60")
    assert assert_exact(alice.organization).expiring_certifications == 0


@pytest.mark.slow
@in_browser
def test_pages_of_certificates_are_accessible_and_fit(
    visit: Callable[..., Page],
    alice: Membership,
    product: Any,
    organic: Certification,
) -> None:
    certificate = CertificationAssignmentFactory(
        product=product,
        certification=organic,
        certificate_number="W" * 100,
        issuing_body="W" * 255,
        expiry_date=in_days(alice, 5),
        verification_url="https://certificates.example.com/1",
    )
    page = visit(alice.user, path_of(alice) + "?expired=false")
    paths = (
        path_of(alice, certificate),
        path_of(alice, "new"),
        path_of(alice, certificate, "delete"),
    )
    for path in ("", *paths):
        if path:
            page.goto(path)
        assert_looks_right(page, widths=(360, 768, 1024, 1440))
