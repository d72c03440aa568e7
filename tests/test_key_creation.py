"""API keys: format, creation, and commands."""

from __future__ import annotations

import datetime
import hashlib
import re
import zlib
from io import StringIO
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from pytest_django import DjangoAssertNumQueries

from catalog.completeness import DEFAULT_RULE, Rule
from catalog.models import CompletenessRule, effective_rule
from closient.accounts.api_keys import create_api_key
from closient.accounts.authentication import find_key_and_count
from closient.accounts.models import ApiKey, ApiKeyKind, ApiKeyRole, Organization
from closient.db.ids import format_id, parse_id
from closient.text import key_format
from tests.factories import OrganizationFactory, UserFactory

KEY_FORMAT = re.compile(r"(csb|csu|cpk)_([A-Za-z0-9]{32})_([0-9a-f]{8})")


def test_key_format_and_model_have_the_same_kinds() -> None:
    assert list(key_format.KINDS) == ApiKeyKind.values


@pytest.mark.parametrize("kind", ApiKeyKind.values)
def test_key_has_the_documented_format(kind: str) -> None:
    text = key_format.new_text(kind)
    match = KEY_FORMAT.fullmatch(text)
    assert match
    assert match[1] == kind
    assert match[3] == f"{zlib.crc32(match[2].encode()):08x}"
    assert key_format.is_well_formed(text)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: text[:-1],
        lambda text: text + "0",
        lambda text: text + "\n",
        lambda text: " " + text,
        lambda text: text.upper(),
        lambda text: "xyz" + text[3:],
        lambda text: text.replace("_", "-"),
        lambda text: text[:10] + "\x00" + text[11:],
        lambda text: text[:10] + "é" + text[11:],
        lambda text: text[:10] + "\uff11" + text[11:],
        lambda text: text[:10] + ("a" if text[10] != "a" else "b") + text[11:],
        lambda text: text[:-1] + ("0" if text[-1] != "0" else "1"),
        lambda text: text * 250,
    ],
)
def test_altered_key_is_malformed(spoil: Any) -> None:
    text = "csb_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA_" + key_format.checksum("A" * 32)
    assert key_format.is_well_formed(text)
    assert not key_format.is_well_formed(spoil(text))


def test_redaction_keeps_only_the_kind_of_each_key() -> None:
    one, other = key_format.new_text("csb"), key_format.new_text("csu")
    line = f"GET /x?key={one} from {other}: no"
    assert key_format.redact(line) == "GET /x?key=csb_[redacted] from csu_[redacted]: no"
    assert key_format.redact("csb_ is a prefix") == "csb_ is a prefix"


@pytest.mark.django_db
def test_create_api_key_stores_the_digest_and_not_the_text() -> None:
    organization = OrganizationFactory()
    key, text = create_api_key(name="Shop", organization=organization, role=ApiKeyRole.EDITOR)
    stored = ApiKey.objects.filter(id=key.id).values().get()
    assert stored["digest"] == hashlib.sha256(text.encode()).hexdigest()
    assert stored["prefix"] == text[4:12]
    assert text not in map(str, stored.values())
    assert (stored["kind"], stored["role"], stored["name"]) == ("csb", "editor", "Shop")
    assert (stored["organization_id"], stored["user_id"]) == (organization.id, None)
    assert stored["is_active"]


@pytest.mark.django_db
@pytest.mark.parametrize("kind", [ApiKeyKind.USER, ApiKeyKind.ORGANIZATION, ApiKeyKind.PUBLISHABLE])
def test_create_api_key_requires_the_right_holder(kind: ApiKeyKind) -> None:
    holder = (
        {"organization": OrganizationFactory()}
        if kind == ApiKeyKind.USER
        else {"user": UserFactory()}
    )
    with pytest.raises(ValidationError, match="needs a user and no organization"):
        create_api_key(name="Wrong", kind=kind, **holder)
    assert not ApiKey.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("has_rule", [False, True])
def test_key_lookup_returns_the_rows_of_the_orm_in_one_query(
    has_rule: bool, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    organization = OrganizationFactory(time_zone="Asia/Tokyo")
    if has_rule:
        CompletenessRule.objects.create(organization=organization, threshold=55, name=3)
    made, text = create_api_key(name="x", organization=organization, limit_per_day=5)
    # The first request of a minute also stamps the key.
    with django_assert_num_queries(2):
        assert find_key_and_count(key_format.digest(text), ("completeness_rule",))
    expected = ApiKey.objects.get(id=made.id)
    with django_assert_num_queries(1):
        found = find_key_and_count(key_format.digest(text), ("completeness_rule",))
        assert found is not None
        key, _ = found
        read, rule = key.organization, effective_rule(key.organization)
    assert fields(key) == fields(expected)
    assert fields(read) == fields(Organization.objects.get(id=organization.id))
    assert rule == (
        Rule(weights=(3, *DEFAULT_RULE.weights[1:]), threshold=55) if has_rule else DEFAULT_RULE
    )
    assert find_key_and_count("0" * 64) is None


@pytest.mark.django_db
def test_user_key_is_admitted_while_the_user_is_active() -> None:
    user = UserFactory()
    _, text = create_api_key(name="x", user=user, kind=ApiKeyKind.USER)
    assert find_key_and_count(key_format.digest(text))
    found = find_key_and_count(key_format.digest(text), ("completeness_rule",))
    assert found is not None
    key, _ = found
    assert key.organization is None
    assert fields(key) == fields(ApiKey.objects.get())
    type(user).objects.update(is_active=False)
    assert find_key_and_count(key_format.digest(text), ("completeness_rule",)) is None


def fields(row: Any) -> dict[str, Any]:
    """Return every column of a row with the value it was loaded with."""
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


def run(*arguments: str) -> str:
    """Return the last line that a command printed."""
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue().splitlines()[-1]


@pytest.mark.django_db
def test_commands_print_an_id_and_a_key_that_work() -> None:
    printed = run("create_organization", "Acme Foods", "--time-zone", "Asia/Tokyo")
    organization = Organization.objects.get(id=parse_id(printed))
    assert (organization.name, organization.time_zone) == ("Acme Foods", "Asia/Tokyo")
    text = run("create_api_key", printed, "--role", "editor", "--expires", "2090-12-31")
    key = ApiKey.objects.get(digest=key_format.digest(text))
    assert (key.organization, key.role) == (organization, "editor")
    # The last day ends at midnight in Tokyo, which is 15:00 UTC.
    assert key.expires_at == datetime.datetime(2090, 12, 31, 15, tzinfo=datetime.UTC)


@pytest.mark.django_db
def test_create_api_key_command_creates_user_keys() -> None:
    user = UserFactory(email="jo@example.com")
    text = run("create_api_key", "--kind", "csu", "--user", "JO@example.com")
    assert ApiKey.objects.get(digest=key_format.digest(text)).user == user


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["create_api_key"], "Give the organization's id"),
        (["create_api_key", "z" * 22], f"no organization with the id {'z' * 22}"),
        (["create_api_key", "<id>", "--expires", "2020-01-01"], "2020-01-01 is in the past"),
        (["create_api_key", "<id>", "--expires", "tomorrow"], "tomorrow is not a date"),
        (["create_api_key", "<id>", "--kind", "csu"], "omit the organization"),
        (["create_api_key", "--kind", "csu"], "give --user EMAIL"),
        (
            ["create_api_key", "--kind", "csu", "--user", "no@example.com"],
            "no user with the email",
        ),
        (["create_organization", ""], "cannot be blank"),
        (
            ["create_organization", "A", "--time-zone", "Mars/Base"],
            "Mars/Base is not an IANA time zone",
        ),
    ],
)
def test_commands_reject_invalid_arguments_with_a_message(
    arguments: list[str], complaint: str
) -> None:
    organization = OrganizationFactory()
    filled = [format_id(organization.id) if a == "<id>" else a for a in arguments]
    with pytest.raises(CommandError, match=complaint):
        run(*filled)
    assert list(Organization.objects.all()) == [organization]
    assert not ApiKey.objects.exists()
