"""Deleting an organization leaves nothing of it, and nothing else changes."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import Client
from pytest_django import Settings

from catalog.models import CompletenessRule, ImportSource, Product, ProductImage
from closient.accounts import ratelimit
from closient.accounts.api_keys import create_api_key
from closient.accounts.models import ApiKeyRole, MemberRole, Organization, RateLimit, User
from closient.db.ids import format_id, uuid7
from closient.tally.audit import audit
from dashboard.audits import audit_due
from dashboard.erasure import accounts_only_in, tenant_models
from dashboard.imports.runs import actions
from dashboard.imports.saved_mappings import save_mapping
from dashboard.models import BulkEdit, HiddenChecklist, SampleRow, SavedView
from dashboard.snapshots import take_snapshots
from tests import factories
from tests.counting import assert_exact
from tests.operations import sample_data
from tests.servers import ROOT, environment
from tests.sessions import TIMEOUT_SECONDS, sessions

pytestmark = pytest.mark.django_db(transaction=True)

# In every text of the organization.
MARK = "zanzibar"


@pytest.fixture(autouse=True)
def folder(settings: Settings, tmp_path: Path) -> Path:
    """Store all files in a temporary folder."""
    settings.MEDIA_ROOT = tmp_path / "media"
    imports = settings.STORAGES["imports"]
    settings.STORAGES = settings.STORAGES | {
        "imports": {**imports, "OPTIONS": {**imports["OPTIONS"], "location": tmp_path / "imports"}}
    }
    return tmp_path


def delete(organization: Organization, *options: str) -> str:
    output = io.StringIO()
    call_command("delete_organization", format_id(organization.pk), *options, stdout=output)
    return output.getvalue()


def mentions(*words: str) -> list[str]:
    """Return the tables with a row that contains one of the words in any column."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class "
            "WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
        tables = [name for (name,) in cursor.fetchall()]
        found = []
        for table in tables:
            cursor.execute(
                f'SELECT 1 FROM public."{table}" AS t WHERE t::text ILIKE ANY (%s) LIMIT 1',
                [[f"%{word}%" for word in words]],
            )
            if cursor.fetchone():
                found.append(table)
    # Their data are encoded.
    sessions_data = [str(session.get_decoded()) for session in Session.objects.all()]
    if any(word in data for word in words for data in sessions_data):
        found.append("django_session")
    return found


def counts() -> dict[str, int]:
    return {model._meta.label: model._base_manager.count() for model in tenant_models()}


def contents(folder: Path) -> list[str]:
    return [path.read_text() for path in folder.rglob("*") if path.is_file()]


def with_everything(mark: str) -> tuple[Organization, User, str]:
    """Return an organization with a row in each of its tables, its owner and a key."""
    data = sample_data(name=f"{mark} product")
    organization = data.organization
    Organization.objects.filter(pk=organization.pk).update(name=f"{mark} foods")
    owner = factories.UserFactory(email=f"{mark}@example.com")
    factories.MembershipFactory(organization=organization, user=owner, role=MemberRole.OWNER)
    _, text = create_api_key(name=f"{mark} key", organization=organization, role=ApiKeyRole.EDITOR)
    name = default_storage.save(
        f"products/2026/01/{mark}.png", ContentFile(f"{mark} picture".encode())
    )
    small = default_storage.save(
        f"products/2026/01/{mark}.webp", ContentFile(f"{mark} thumbnail".encode())
    )
    factories.ProductImageFactory(
        product=data.product, external_url="", image=name, thumbnail=small
    )
    CompletenessRule.objects.create(organization=organization, threshold=70)
    client = Client(headers={"X-API-Key": text, "Idempotency-Key": mark})
    path = f"/dashboard/api/v1/trade-items/{format_id(organization.pk)}"
    made = client.post(
        path, {"gtin": factories.gtin(99_999_000 + len(mark)), "name": mark}, "application/json"
    )
    assert made.status_code == 201, made.content
    actions.start(
        organization, owner, ContentFile(f"gtin,name\n1,{mark}\n".encode()), f"{mark}.csv"
    )
    columns = {"EAN-Code": "gtin", "Artikelname": "name"}
    save_mapping(organization, list(columns), columns, f"{mark} mapping")
    factories.ProductFactory(organization=organization).delete()
    factories.SourcedRowFactory(source=ImportSource.objects.get(organization=organization))
    HiddenChecklist.objects.create(organization=organization)
    BulkEdit.objects.create(organization=organization, actor=f"{mark} owner", kind="offers")
    SavedView.objects.create(organization=organization, list_name="offers", name=mark, query="?")
    SampleRow.objects.create(organization=organization, row_id=uuid7(), table="brand")
    for row in (organization, data.product):
        LogEntry.objects.create(
            user_id=factories.UserFactory(is_staff=True).pk,
            content_type=ContentType.objects.get_for_model(row),
            object_id=str(row.pk),
            object_repr=f"{mark} row",
            action_flag=CHANGE,
        )
    take_snapshots()
    audit_due()
    return Organization.objects.get(pk=organization.pk), owner, text


def test_nothing_of_the_organization_remains_and_others_do_not_change(folder: Path) -> None:
    other, _, other_key = with_everything("bergamot")
    before, files_before = counts(), contents(folder)
    other_numbers = assert_exact(other)
    organization, owner, _ = with_everything(MARK)
    # A member of another organization, too, whose session names the last one that was opened.
    member = factories.UserFactory()
    factories.MembershipFactory(organization=other, user=member)
    before["accounts.Membership"] += 1
    factories.MembershipFactory(organization=organization, user=member)
    for user in (owner, member):
        browser = Client()
        browser.force_login(user)
        page = f"/dashboard/{format_id(organization.pk)}/"
        assert browser.get(page).status_code == 200
    words = (MARK, str(organization.pk), format_id(organization.pk), str(owner.pk))
    # Otherwise the search below would not find anything.
    expected = {model._meta.db_table for model in tenant_models()}
    assert {*expected, "django_session", "tally_audit"} <= set(mentions(*words))
    assert any(MARK in text for text in contents(folder))

    output = delete(organization, "--yes")

    assert mentions(*words) == []
    assert counts() == before
    assert sorted(contents(folder)) == sorted(files_before)
    assert assert_exact(other) == other_numbers
    assert f"{MARK} foods is deleted." in output
    assert "backups" in output
    url = f"/dashboard/api/v1/stats/{format_id(other.pk)}"
    assert Client(headers={"X-API-Key": other_key}).get(url).status_code == 200
    # Only the deleted account's session has ended.
    assert browser.get(f"/dashboard/{format_id(other.pk)}/").status_code == 200
    assert Session.objects.count() == 1


def test_dry_run_deletes_nothing_and_prints_what_would_be() -> None:
    organization, owner, _ = with_everything(MARK)
    before = counts()
    output = delete(organization, "--dry-run")
    assert counts() == before
    assert "2 products" in output
    assert owner.email in output


def test_wrong_name_deletes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    organization, _, _ = with_everything(MARK)
    before = counts()
    monkeypatch.setattr("builtins.input", lambda question: "y")
    with pytest.raises(CommandError, match="nothing was deleted"):
        delete(organization)
    assert counts() == before


def test_unknown_id_is_a_sentence() -> None:
    for given in ("nonsense", format_id(factories.UserFactory().pk)):
        with pytest.raises(CommandError, match=f"no organization with the id {given}"):
            call_command("delete_organization", given, "--yes")


def test_only_accounts_of_this_organization_are_deleted() -> None:
    organization, owner, _ = with_everything(MARK)
    shared = factories.UserFactory()
    for where in (organization, factories.OrganizationFactory()):
        factories.MembershipFactory(organization=where, user=shared)
    staff = factories.UserFactory(is_staff=True)
    factories.MembershipFactory(organization=organization, user=staff)
    assert list(accounts_only_in(organization)) == [owner]
    delete(organization, "--yes")
    assert set(User.objects.filter(pk__in=[owner.pk, shared.pk, staff.pk])) == {shared, staff}


def test_rate_limits_of_deleted_accounts_are_deleted() -> None:
    organization, user, _ = with_everything(MARK)
    ratelimit.count_session_request(user.pk)
    ratelimit.count_export(user.pk)
    ratelimit.count_login_attempt(address="192.0.2.1", email=user.email)
    delete(organization, "--yes")
    # These count an address, with a hash that cannot be found without it.
    kept = {subject.partition(":")[0] for subject in RateLimit.objects.values_list("pk", flat=True)}
    assert kept == {"login-from", "login"}


def test_accounts_are_kept_on_request() -> None:
    organization, owner, _ = with_everything(MARK)
    delete(organization, "--yes", "--keep-accounts")
    assert User.objects.filter(pk=owner.pk).exists()


def test_rows_of_a_transaction_that_was_open_are_deleted_too() -> None:
    """A write that began before access ended commits while the deletion runs."""
    organization, _, _ = with_everything(MARK)
    written, may_commit = threading.Event(), threading.Event()

    def write() -> None:
        with transaction.atomic():
            factories.ProductFactory(organization=organization, name="late")
            written.set()
            assert may_commit.wait(TIMEOUT_SECONDS)

    with sessions(2) as (writer, eraser):
        writing = writer.start(write)
        assert written.wait(TIMEOUT_SECONDS)
        erasing = eraser.start(lambda: delete(organization, "--yes"))
        eraser.wait_until_blocked()
        may_commit.set()
        writing.result(timeout=TIMEOUT_SECONDS)
        erasing.result(timeout=TIMEOUT_SECONDS)
    assert mentions(MARK, str(organization.pk), "late") == []


def start(organization: Organization) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "manage.py", "delete_organization", format_id(organization.pk), "--yes"],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.campaign
def test_killed_deletion_ends_access_and_continues_when_started_again() -> None:
    other, _, _ = with_everything("bergamot")
    organization, owner, key = with_everything(MARK)
    member = factories.UserFactory()
    for where in (organization, other):
        factories.MembershipFactory(organization=where, user=member)
    other_numbers = assert_exact(other)
    products = Product.objects.bulk_create(
        factories.ProductFactory.build_batch(6_000, organization=organization)
    )
    ProductImage.objects.bulk_create(
        ProductImage(
            product=product, organization=organization, external_url="https://images.example.com/1"
        )
        for product in products
    )
    process = start(organization)
    assert process.stdout
    for line in process.stdout:
        if "files deleted" in line:
            break
    wait_for_fewer(organization, 6_000)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=TIMEOUT_SECONDS)
    left = Product.objects.filter(organization=organization).count()
    assert 0 < left < 6_000
    assert not audit(organization.pk)
    # The key does not exist any more, and the user is a member no longer.
    url = f"/dashboard/api/v1/stats/{format_id(organization.pk)}"
    assert Client(headers={"X-API-Key": key}).get(url).status_code == 401
    session = Client()
    session.force_login(member)
    assert session.get(url).status_code == 404
    page = f"/dashboard/{format_id(organization.pk)}/"
    assert session.get(page).status_code == 404
    assert session.get(f"/dashboard/{format_id(other.pk)}/").status_code == 200
    again = start(organization)
    output = again.communicate(timeout=TIMEOUT_SECONDS * 4)[0]
    assert again.returncode == 0, output
    assert mentions(MARK, str(organization.pk), str(owner.pk)) == []
    assert assert_exact(other) == other_numbers


@pytest.mark.slow
@pytest.mark.campaign
def test_other_organizations_writers_do_not_wait() -> None:
    other = factories.ProductFactory()
    organization = factories.OrganizationFactory()
    Product.objects.bulk_create(
        factories.ProductFactory.build_batch(6_000, organization=organization)
    )
    process = start(organization)
    writes = 0
    while process.poll() is None:
        with transaction.atomic():
            with connection.cursor() as cursor:
                # Raises an error if a row, or a table, is locked for that long.
                cursor.execute("SET LOCAL lock_timeout = '200ms'")
            Product.objects.filter(pk=other.pk).update(description=f"written {writes}")
        writes += 1
    output, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 0, output
    assert writes > 10
    assert_exact(other.organization)


def wait_for_fewer(organization: Organization, count: int) -> None:
    rows = Product.objects.filter(organization=organization)
    while rows.count() >= count:
        pass
