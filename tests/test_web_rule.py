"""The rule editor: preview, save and reset."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from playwright.sync_api import Page, expect

from catalog.completeness import DEFAULT_RULE, FACTS, Rule
from catalog.models import CompletenessRule, effective_rule
from catalog.rule_editing import reset_rule, set_rule
from closient.accounts.models import Membership, Organization
from closient.db.ids import format_id
from dashboard.numbers import StatsQuery, recount
from tests.browser import assert_looks_right
from tests.counting import assert_exact
from tests.factories import (
    CertificationAssignmentFactory,
    MembershipFactory,
    OfferFactory,
    ProductFactory,
    ProductImageFactory,
)
from tests.sessions import TIMEOUT_SECONDS, sessions

pytestmark = pytest.mark.django_db

PUBLISHED: dict[str, Any] = {f"weights__{fact.name}": fact.weight for fact in FACTS} | {
    "threshold": 80
}
# A rule with weight only for images.
IMAGES_ONLY = {**dict.fromkeys(PUBLISHED, 0), "weights__images": 3, "threshold": 100}


@pytest.fixture
def alice() -> Membership:
    return MembershipFactory(role="owner", user__email="alice@example.com")


@pytest.fixture
def organization(alice: Membership) -> Organization:
    """Four products: one lacks only nutrition and a certificate, one has an image."""
    organization = alice.organization
    full = ProductFactory(organization=organization, described=True, nutrition={})
    ProductImageFactory(product=full)
    OfferFactory(product=full)
    described = ProductFactory(organization=organization, described=True)
    CertificationAssignmentFactory(product=described)
    pictured = ProductFactory(organization=organization)
    ProductImageFactory(product=pictured)
    ProductFactory(organization=organization)
    return organization


@pytest.fixture
def editor(client: Client, alice: Membership) -> Client:
    client.force_login(alice.user)
    return client


def path(organization: Organization, step: str = "") -> str:
    return f"/dashboard/{format_id(organization.id)}/rule{step}"


def version_in(html: str, form: str = "/rule") -> str:
    """Return the version of the rule in the form with a URL ending."""
    [version] = re.findall(rf'action="[^"]*{form}".*?name="version" value="([^"]*)"', html, re.S)
    return unescape(version)


def fresh(organization: Organization) -> Organization:
    return Organization.objects.get(pk=organization.pk)


def changes(html: str) -> dict[str, list[str]]:
    """Return the rows of the preview's table: now, then and change."""
    row = re.compile(r'<tr>\s*<th scope="row">(Complete products|Average.*?)</th>(.*?)</tr>', re.S)
    rows = row.findall(html)
    return {name: re.findall(r"<td[^>]*>(.*?)</td>", cells) for name, cells in rows}


def with_rule(organization: Organization, rule: Rule) -> list[int]:
    """Return the complete products and the average, recounted from the rows."""
    numbers = recount(StatsQuery(organization.pk, rule, organization.today()))
    return [numbers.complete_products, numbers.avg_completeness]


def test_preview_shows_the_effect_and_writes_nothing(
    editor: Client, organization: Organization
) -> None:
    rule = Rule(weights=tuple(3 if fact.name == "images" else 0 for fact in FACTS), threshold=100)
    now, then = with_rule(organization, DEFAULT_RULE), with_rule(organization, rule)
    assert (now, then) == ([1, 51], [2, 50])
    editor.get(path(organization))
    with CaptureQueriesContext(connection) as captured:
        response = editor.get(path(organization, "/preview"), IMAGES_ONLY)
    assert changes(response.content.decode()) == {
        "Complete products": ["1", "2", "+1"],
        "Average completeness": ["51%", "50%", "\N{MINUS SIGN}1"],
    }
    # Under the new threshold only the last band is complete.
    after = re.findall(r'class="bar-(fill|open)" x="2"', response.content.decode())
    assert after == ["open"] * 10 + ["fill"]
    # 1. the session; 2. the user; 3. the member with organization and rule; 4. the counts by mask.
    queries = [query["sql"] for query in captured if "SAVEPOINT" not in query["sql"]]
    assert [sql.split()[0] for sql in queries] == ["SELECT"] * 4
    assert not CompletenessRule.objects.exists()
    assert_exact(organization)


def test_preview_shows_the_share_of_each_fact(editor: Client, organization: Organization) -> None:
    query = {**PUBLISHED, "weights__nutrition": 0}
    html = editor.get(path(organization, "/preview"), query).content.decode()
    share = re.compile(
        r'id="share-(\w+)"[^>]*>\s*<span[^>]*><span[^>]*>[^<]*</span>([\d.]+)%</span>'
    )
    shares = dict(share.findall(html))
    assert shares == {
        "name": "16.7",
        "description": "16.7",
        "brand": "11.1",
        "category": "11.1",
        "images": "16.7",
        "nutrition": "0",
        "certifications": "5.6",
        "offers": "11.1",
        "country": "11.1",
    }


@pytest.mark.parametrize(
    ("wrong", "sentences"),
    [
        ({"weights__images": "101"}, ["Must be from 0 to 100."]),
        ({"weights__images": "-1"}, ["Enter a whole number."]),
        ({"weights__images": "1.5", "threshold": ""}, ["Enter a whole number."] * 2),
        ({"weights__name": "9" * 5000}, ["Enter a whole number."]),
        ({"threshold": "0"}, ["Must be from 1 to 100."]),
        (
            {f"weights__{fact.name}": "0" for fact in FACTS},
            ["At least one fact needs a weight above 0."],
        ),
    ],
)
def test_form_shows_errors_at_their_fields_and_saves_nothing(
    editor: Client, organization: Organization, wrong: dict[str, str], sentences: list[str]
) -> None:
    given: dict[str, Any] = {**PUBLISHED, **wrong}
    for response in (
        editor.post(path(organization), given),
        editor.get(path(organization, "/preview"), given),
    ):
        html = response.content.decode()
        assert response.status_code == 422
        for sentence in set(sentences):
            assert html.count(sentence) == sentences.count(sentence)
        # The numbers of the current rule.
        assert changes(html) == {"Complete products": ["1"], "Average completeness": ["51%"]}
    assert not CompletenessRule.objects.exists()


def test_save_reports_the_effect(editor: Client, organization: Organization) -> None:
    seen = version_in(editor.get(path(organization)).content.decode())
    response = editor.post(path(organization), {**IMAGES_ONLY, "version": seen}, follow=True)
    html = response.content.decode()
    assert (
        "Rule saved. Complete products: 1 before, 2 now. "
        "Average completeness: 51% before, 50% now." in html
    )
    assert "This organization uses its own rule." in html
    assert effective_rule(fresh(organization)).threshold == 100
    assert assert_exact(organization).complete_products == 2


def test_conflicts_are_reported_and_keep_the_values(
    editor: Client, organization: Organization
) -> None:
    mine = {**IMAGES_ONLY, "version": version_in(editor.get(path(organization)).content.decode())}
    set_rule(organization, Rule(threshold=55))
    response = editor.post(path(organization), mine)
    html = response.content.decode()
    assert response.status_code == 422
    # The entered values are kept; only the threshold was changed by both.
    shown = {name: response.context["form"][name].value() for name in IMAGES_ONLY}
    assert shown == {name: str(number) for name, number in IMAGES_ONLY.items()}
    [conflict] = response.context["form"].conflicts
    assert (conflict.label, conflict.mine, conflict.theirs) == ("Complete at", "100", "55")
    assert "this rule was changed at" in " ".join(html.split())
    # A second click saves nothing, and neither does a choice for another value.
    again = {**mine, "version": version_in(html)}
    for choice in ({}, {"keep__threshold": "mine", "seen__threshold": "60"}):
        assert editor.post(path(organization), {**again, **choice}).status_code == 422
        assert effective_rule(fresh(organization)).threshold == 55
    choice = {"seen__threshold": conflict.seen, "keep__threshold": "theirs"}
    assert editor.post(path(organization), {**again, **choice}).status_code == 302
    assert effective_rule(fresh(organization)) == Rule(
        weights=tuple(IMAGES_ONLY[f"weights__{fact.name}"] for fact in FACTS), threshold=55
    )


def test_a_double_click_saves_once_without_a_conflict(
    editor: Client, organization: Organization
) -> None:
    mine = {**IMAGES_ONLY, "version": version_in(editor.get(path(organization)).content.decode())}
    for _ in range(2):
        assert editor.post(path(organization), mine).status_code == 302


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("theirs", [Rule(threshold=55), None])
def test_a_concurrent_save_is_reported_as_a_conflict(
    editor: Client, organization: Organization, theirs: Rule | None
) -> None:
    set_rule(organization, Rule(threshold=60))
    mine = {**IMAGES_ONLY, "version": version_in(editor.get(path(organization)).content.decode())}
    with sessions(2) as [quick, slow]:
        quick.begin()
        quick.run(lambda: set_rule(organization, theirs) if theirs else reset_rule(organization))
        saved = slow.start(lambda: editor.post(path(organization), mine))
        slow.wait_until_blocked()
        quick.end()
        response = saved.result(timeout=TIMEOUT_SECONDS)
    assert response.status_code == 422
    threshold = theirs.threshold if theirs else 80
    assert [one.theirs for one in response.context["form"].conflicts] == [str(threshold)]
    # The rest of the page also shows the current rule.
    assert response.context["rule"].threshold == threshold
    html = response.content.decode()
    current = " ".join(map(str, [*(fact.weight for fact in FACTS), threshold]))
    assert response.context["version"] == current
    assert ("Reset to the default rule" in html) == (theirs is not None)
    assert effective_rule(fresh(organization)).threshold == threshold


def test_a_rule_changed_by_another_user_is_not_reset(
    editor: Client, organization: Organization
) -> None:
    set_rule(organization, Rule(threshold=60))
    seen = version_in(editor.get(path(organization)).content.decode(), "/published")
    set_rule(organization, Rule(threshold=55))
    response = editor.post(path(organization, "/published"), {"version": seen}, follow=True)
    assert "The rule was changed after you opened this page" in response.content.decode()
    assert response.context["form"]["threshold"].value() == 55
    assert CompletenessRule.objects.exists()


def test_the_rule_is_reset_to_the_default(editor: Client, organization: Organization) -> None:
    assert "Reset to the default rule" not in editor.get(path(organization)).content.decode()
    seen = version_in(editor.get(path(organization)).content.decode())
    editor.post(path(organization), {**IMAGES_ONLY, "version": seen})
    html = editor.get(path(organization)).content.decode()
    assert "Reset to the default rule" in html
    # A GET request does not reset anything.
    editor.get(path(organization, "/published"))
    assert CompletenessRule.objects.exists()
    seen = {"version": version_in(html, "/published")}
    html = editor.post(path(organization, "/published"), seen, follow=True).content.decode()
    assert "Rule reset to the default. Complete products: 2 before, 1 now." in html
    assert not CompletenessRule.objects.exists()
    # A second click changes nothing.
    html = editor.post(path(organization, "/published"), seen, follow=True).content.decode()
    assert "Rule reset to the default." in html
    assert "was changed after" not in html
    assert_exact(organization)


@pytest.mark.parametrize("role", ["editor", "billing", "viewer"])
def test_members_below_manager_can_only_read_the_rule(
    client: Client, organization: Organization, role: str
) -> None:
    client.force_login(MembershipFactory(role=role, organization=organization).user)
    html = client.get(path(organization)).content.decode()
    assert "Owners and managers can change the rule." in html
    assert 'type="range"' not in html
    assert "Save the rule" not in html
    for step in ("", "/published"):
        assert client.post(path(organization, step), IMAGES_ONLY).status_code == 403
    assert not CompletenessRule.objects.exists()


def test_managers_can_change_the_rule(client: Client, organization: Organization) -> None:
    client.force_login(MembershipFactory(role="manager", organization=organization).user)
    seen = version_in(client.get(path(organization)).content.decode())
    assert client.post(path(organization), {**IMAGES_ONLY, "version": seen}).status_code == 302
    assert CompletenessRule.objects.exists()


# --- In a browser --------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_slider_updates_the_preview_and_saving_the_numbers(
    visit: Callable[..., Page], alice: Membership, organization: Organization
) -> None:
    page = visit(alice.user, path(organization))
    then = page.locator(".rule-then").first
    expect(then).to_have_count(0)
    slider = page.get_by_label("Nutrition, slider")
    slider.fill("0")
    field = page.get_by_label("Nutrition", exact=True)
    expect(field).to_have_value("0")
    expect(page.locator("#share-nutrition")).to_contain_text("0%")
    page.get_by_label("Complete at", exact=True).fill("94")
    expect(page.get_by_label("Complete at, slider")).to_have_value("94")
    rule = Rule(
        weights=tuple(0 if fact.name == "nutrition" else fact.weight for fact in FACTS),
        threshold=94,
    )
    complete, average = with_rule(organization, rule)
    expect(then).to_have_text(str(complete))
    expect(page.locator(".rule-then").nth(1)).to_have_text(f"{average}%")
    assert not CompletenessRule.objects.exists()

    page.get_by_role("button", name="Save the rule").click()
    expect(page.locator(".message-success")).to_contain_text("Rule saved.")
    page.get_by_role("link", name="Overview").click()
    expect(page.locator("[data-number=complete_products]")).to_have_text(str(complete))
    expect(page.locator("[data-number=avg_completeness]")).to_have_text(f"{average}%")
    numbers = assert_exact(organization)
    assert (numbers.complete_products, numbers.avg_completeness) == (complete, average)

    page.get_by_role("link", name="Rule", exact=True).click()
    page.get_by_text("Reset to the default rule").click()
    page.get_by_role("button", name="Use the default rule").click()
    expect(page.locator(".message-success")).to_contain_text("Rule reset to the default.")
    expect(field).to_have_value("10")


@pytest.mark.slow
def test_a_wrong_number_is_marked_while_typing(
    visit: Callable[..., Page], alice: Membership, organization: Organization
) -> None:
    page = visit(alice.user, path(organization))
    field = page.get_by_label("Images", exact=True)
    field.fill("500")
    expect(page.locator("#share-images")).to_have_text("Must be from 0 to 100.")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_be_focused()
    field.fill("50")
    expect(page.locator("#share-images")).to_contain_text("37%")
    expect(field).to_have_attribute("aria-invalid", "false")


@pytest.mark.slow
def test_the_editor_is_accessible_and_fits(
    visit: Callable[..., Page],
    alice: Membership,
    organization: Organization,
) -> None:
    set_rule(organization, Rule(threshold=60))
    page = visit(alice.user, path(organization))
    page.get_by_label("Images", exact=True).fill("50")
    expect(page.locator(".rule-then").first).to_be_visible()
    assert_looks_right(page)
