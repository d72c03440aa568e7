"""Erasure of a person: the account with its keys and sessions, and the name in changed rows."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models import Q

from catalog.models.changed import ActorField
from closient.accounts import ratelimit
from closient.accounts.actors import actor_name
from closient.accounts.models import MemberRole, Membership, Organization, RateLimit, User
from closient.cells.routing import cells, in_cell
from closient.changes.models import Change
from closient.db.transactions import run_with_retry
from dashboard.models import BulkEdit
from dashboard.session_erasure import forget_in_sessions

BATCH_ROWS = 1_000


def owned_alone(user: User) -> list[Organization]:
    """Return the organizations whose only owner is the user."""
    owned = Membership.objects.filter(user=user, role=MemberRole.OWNER).values("organization")
    others = Membership.objects.filter(role=MemberRole.OWNER).exclude(user=user)
    return list(
        Organization.objects.filter(pk__in=owned).exclude(pk__in=others.values("organization"))
    )


def erase_user(user: User) -> int:
    """Delete the account and blank its name; return the number of rows that named it.

    The name comes first, in batches: an interrupted erasure can be started again with the account.
    """
    changed = 0
    for cell in cells():
        with in_cell(cell):
            changed += _blank_names(actor_name(user)) + _blank_names(user.email)
    forget_in_sessions(users=[str(user.pk)])
    subjects = ratelimit.subjects_of_account(user.pk, user.email)

    def delete() -> None:
        RateLimit.objects.filter(subject__in=subjects).delete()
        LogEntry.objects.filter(
            content_type=ContentType.objects.get_for_model(User), object_id=str(user.pk)
        ).delete()
        # Takes keys, memberships and log entries along.
        user.delete()

    run_with_retry(delete)
    return changed


def _blank_names(name: str) -> int:
    """Blank a name in the rows that it changed last, and in those of its imports."""
    count = 0
    for model in apps.get_models():
        for field in model._meta.fields:
            if isinstance(field, ActorField):
                count += _blank(model, field.name, name)
    for model in (Change, BulkEdit):
        count += _blank(model, "actor", name)
    return count


def _blank(model: type[models.Model], field: str, name: str) -> int:
    rows: models.QuerySet[Any] = model._base_manager.filter(
        Q(**{field: name}) | Q(**{f"{field}__startswith": f"{name}, import of "})
    )
    ids = list(rows.values_list("pk", flat=True))
    for start in range(0, len(ids), BATCH_ROWS):
        batch = rows.filter(pk__in=ids[start : start + BATCH_ROWS])
        run_with_retry(lambda batch=batch: batch.update(**{field: ""}))  # type: ignore[misc]
    return len(ids)
