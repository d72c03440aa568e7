"""Create, change and rotate API keys."""

from __future__ import annotations

import copy
import datetime
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from uuid import UUID

from django.utils import timezone

from closient.accounts.key_policy import KeyPolicy
from closient.accounts.models import ApiKey, ApiKeyKind, ApiKeyRole, Organization, User
from closient.http.problems import FieldError, Problem
from closient.text import key_format

PREFIX_LENGTH = 8


def create_api_key(  # noqa: PLR0913 - one argument for each thing a key can be given
    *,
    name: str,
    organization: Organization | None = None,
    user: User | None = None,
    kind: ApiKeyKind = ApiKeyKind.ORGANIZATION,
    role: ApiKeyRole = ApiKeyRole.READONLY,
    expires_at: datetime.datetime | None = None,
    limit_per_minute: int = 0,
    limit_per_day: int = 0,
) -> tuple[ApiKey, str]:
    """Return a new, saved key and its text, which is not stored and can only be shown now.

    A user key (``csu``) needs a user, every other kind an organization. Limits of 0 stand for the
    defaults. Raises ``ValidationError`` when the fields do not fit together.
    """
    key = ApiKey(
        kind=kind,
        organization=organization,
        user=user,
        name=name,
        role=role,
        expires_at=expires_at,
        limit_per_minute=limit_per_minute,
        limit_per_day=limit_per_day,
    )
    text = _give_text(key)
    key.full_clean()
    key.save(force_insert=True)
    return key, text


def _give_text(key: ApiKey) -> str:
    text = key_format.new_text(ApiKeyKind(key.kind).value)
    key.prefix = key_format.body_of(text)[:PREFIX_LENGTH]
    key.digest = key_format.digest(text)
    return text


def grant_api_key(
    key_policy: KeyPolicy, organization: Organization, given: Mapping[str, Any]
) -> tuple[ApiKey, str]:
    """Return a new key of an organization and its text, limited by the caller's policy.

    Missing values become the default, or less if the caller has less. Raises a
    ``validation_error`` for values above the caller's own.
    """
    key = ApiKey(organization=organization, **given)
    key_policy.complete(key, frozenset(given))
    _refuse(key_policy.refusals(key, frozenset(given)))
    return _save_granted(key)


def find(organization: Organization, key_id: UUID | None, *, is_locked: bool = False) -> ApiKey:
    """Return a key of an organization, with its row locked if wanted; raises ``not_found``."""
    keys = ApiKey.objects.filter(organization=organization).order_by()
    if is_locked:
        keys = keys.select_for_update()
    key = keys.filter(pk=key_id).first() if key_id else None
    if key is None:
        raise Problem("not_found")
    return key


def change_api_key(key_policy: KeyPolicy, key: ApiKey, given: Mapping[str, Any]) -> None:
    """Set values of a key and save those that differ.

    Raises a ``validation_error`` for values above the caller's own. A value that the key already
    has is not a change.
    """
    before = copy.copy(key)
    changed = frozenset(name for name, value in given.items() if getattr(key, name) != value)
    for name in changed:
        setattr(key, name, given[name])
    _refuse(key_policy.refusals(key, changed, before=before))
    if changed:
        key.save(update_fields=changed)


def rotate_api_key(
    key_policy: KeyPolicy, old: ApiKey, given: Mapping[str, Any]
) -> tuple[ApiKey, str]:
    """Return a new key like an old one, and its text; the old one goes on, if need be not for long.

    ``given`` may name ``expires_at`` of the new key (without it the old one's) and
    ``old_expires_at``. Raises ``conflict`` for a revoked key, ``forbidden`` when it may do more
    requests than the caller, and ``validation_error`` for an end that is over, too late, or
    later than the old key's.
    """
    if not old.is_active:
        raise Problem("conflict", "This key is revoked: make a new one instead of replacing it.")
    new = ApiKey(
        organization_id=old.organization_id,
        kind=old.kind,
        name=old.name,
        role=old.role,
        expires_at=given.get("expires_at", old.expires_at),
        limit_per_minute=old.limit_per_minute,
        limit_per_day=old.limit_per_day,
    )
    if not key_policy.covers(new):
        raise Problem("forbidden", "This key may do more requests than yours: you cannot copy it.")
    errors = [*key_policy.refusals(new, frozenset({"role", "expires_at"}))]
    if "old_expires_at" in given:
        errors += _wrong_end_of_old(old, given["old_expires_at"])
        old.expires_at = given["old_expires_at"]
    _refuse(errors)
    old.save(update_fields=["expires_at"])
    return _save_granted(new)


def _save_granted(key: ApiKey) -> tuple[ApiKey, str]:
    text = _give_text(key)
    key.save(force_insert=True)
    key.refresh_from_db(fields=["created_at"])
    return key, text


def _wrong_end_of_old(old: ApiKey, ends_at: datetime.datetime) -> Iterator[FieldError]:
    if ends_at <= timezone.now():
        yield FieldError("#/old_expires_at", "past", "Must be in the future.")
    elif old.expires_at is not None and ends_at > old.expires_at:
        detail = f"The old key ends at {old.expires_at.isoformat()} already: this can be earlier."
        yield FieldError("#/old_expires_at", "later", detail)


def _refuse(errors: Iterable[FieldError]) -> None:
    if found := list(errors):
        raise Problem("validation_error", errors=found)
