"""Deleting a user leaves nothing of the person."""

from __future__ import annotations

import io

import pytest
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.test import Client

from catalog.models import Product
from certifications.models import CertificationAssignment
from closient.accounts.api_keys import create_api_key
from closient.accounts.models import ApiKeyKind, MemberRole, User
from closient.db.ids import format_id
from offers.models import Offer
from tests import factories
from tests.counting import assert_exact
from tests.operations import sample_data
from tests.test_delete_organization import mentions

pytestmark = pytest.mark.django_db(transaction=True)


def delete(user: User) -> str:
    output = io.StringIO()
    call_command("delete_user", user.email, "--yes", stdout=output)
    return output.getvalue()


def member(role: MemberRole = MemberRole.EDITOR) -> tuple[User, Product]:
    """Return a member with a session, a key and changed rows, and one of the products."""
    data = sample_data()
    user = factories.UserFactory(email="zanzibar@example.com", first_name="Zan", last_name="Zibar")
    factories.MembershipFactory(organization=data.organization, user=user, role=role)
    create_api_key(name="own", user=user, kind=ApiKeyKind.USER)
    client = Client()
    client.force_login(user)
    path = f"/dashboard/api/v1/stats/{format_id(data.organization.pk)}"
    assert client.get(path).status_code == 200
    Product.objects.update(updated_by="Zan Zibar")
    Offer.objects.update(updated_by="Zan Zibar, import of offers.csv")
    CertificationAssignment.objects.update(updated_by="zanzibar@example.com")
    return user, data.product


def test_nothing_of_the_person_remains() -> None:
    user, product = member()
    factories.MembershipFactory(organization=product.organization, role=MemberRole.OWNER)
    other = factories.ProductFactory(organization=product.organization)
    Product.objects.filter(pk=other.pk).update(updated_by="Zan Zibarsky")
    changed_at = Product.objects.get(pk=product.pk).updated_at
    words = ("zanzibar", "Zan Zibar,", str(user.pk))
    # Otherwise the search below would not find anything.
    assert len(mentions(*words)) >= 5
    output = delete(user)
    assert mentions(*words) == []
    assert not Product.objects.filter(updated_by="Zan Zibar").exists()
    assert "blank in 3 rows" in output
    # Another person's name that begins like it, and the time of the change, are the same.
    assert Product.objects.get(pk=other.pk).updated_by == "Zan Zibarsky"
    assert Product.objects.get(pk=product.pk).updated_at == changed_at
    assert_exact(product.organization)


def test_sessions_of_the_person_end_and_others_do_not() -> None:
    user, product = member()
    other = factories.UserFactory()
    factories.MembershipFactory(
        organization=product.organization, user=other, role=MemberRole.OWNER
    )
    clients = {}
    for each in (user, other):
        clients[each.pk] = Client()
        clients[each.pk].force_login(each)
    delete(user)
    path = f"/dashboard/api/v1/stats/{format_id(product.organization.pk)}"
    # The user had two.
    assert Session.objects.count() == 1
    assert clients[user.pk].get(path).status_code == 401
    assert clients[other.pk].get(path).status_code == 200


def test_only_owner_is_rejected() -> None:
    user, product = member(MemberRole.OWNER)
    with pytest.raises(CommandError, match=f"is the only owner of {product.organization.name}"):
        delete(user)
    assert User.objects.filter(pk=user.pk).exists()
    assert Product.objects.filter(updated_by="Zan Zibar").exists()


def test_unknown_address_and_wrong_answer_delete_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    user, _ = member()
    with pytest.raises(CommandError, match=r"no user nobody@example\.com"):
        call_command("delete_user", "nobody@example.com", "--yes")
    monkeypatch.setattr("builtins.input", lambda question: "yes")
    with pytest.raises(CommandError, match="nothing was deleted"):
        call_command("delete_user", user.email)
    assert User.objects.filter(pk=user.pk).exists()
