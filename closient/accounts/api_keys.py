"""Find, create, change and rotate API keys."""

from __future__ import annotations

import copy
import datetime
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
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
    """Create a key, and return it with its text. The text is not stored: show it now.

    A user key (``csu``) needs a user, every other kind an organization. A limit of 0 is the
    default. Raises ``ValidationError`` for an invalid combination of arguments.
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
    text = _generate_text(key)
    key.full_clean()
    key.save(force_insert=True)
    return key, text


def _generate_text(key: ApiKey) -> str:
    """Return a random text for a key, and set the key's prefix and digest."""
    text = key_format.new_text(ApiKeyKind(key.kind).value)
    key.prefix = key_format.body_of(text)[:PREFIX_LENGTH]
    key.digest = key_format.digest(text)
    return text


def grant_api_key(
    key_policy: KeyPolicy, organization: Organization, given: Mapping[str, Any]
) -> tuple[ApiKey, str]:
    """Create a key of an organization within the caller's policy; return it with its text.

    Missing values get the default, or the caller's own value if that is lower. Raises
    ``validation_error`` for values above the caller's own.
    """
    key = ApiKey(organization=organization, **given)
    key_policy.fill_defaults(key, frozenset(given))
    _raise_if_any(key_policy.errors(key, frozenset(given)))
    return _save_granted(key)


def personal_keys(user: User) -> QuerySet[ApiKey]:
    """Return the valid personal keys (``csu``) of a user, newest first."""
    unexpired = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
    return ApiKey.objects.filter(unexpired, user=user, is_active=True)


def find(organization: Organization, key_id: UUID | None, *, is_locked: bool = False) -> ApiKey:
    """Return a key of an organization, and optionally lock its row; raises ``not_found``."""
    keys = ApiKey.objects.filter(organization=organization).order_by()
    if is_locked:
        keys = keys.select_for_update()
    key = keys.filter(pk=key_id).first() if key_id else None
    if key is None:
        raise Problem("not_found")
    return key


def change_api_key(key_policy: KeyPolicy, key: ApiKey, given: Mapping[str, Any]) -> None:
    """Set values of a key and save the changed ones.

    Raises ``validation_error`` for changed values above the caller's own.
    """
    before = copy.copy(key)
    changed = frozenset(name for name, value in given.items() if getattr(key, name) != value)
    for name in changed:
        setattr(key, name, given[name])
    _raise_if_any(key_policy.errors(key, changed, before=before))
    if changed:
        key.save(update_fields=changed)


def rotate_api_key(
    key_policy: KeyPolicy, old: ApiKey, given: Mapping[str, Any]
) -> tuple[ApiKey, str]:
    """Create a copy of a key, and return it with its text. The old key keeps working.

    ``given`` may contain ``expires_at`` of the new key (default: that of the old key) and
    ``old_expires_at``. Raises ``conflict`` for a revoked key, ``forbidden`` for a key with higher
    limits than the caller's, and ``validation_error`` for an ``expires_at`` in the past or after
    the caller's, or an ``old_expires_at`` in the past or after the current one.
    """
    if not old.is_active:
        raise Problem("conflict", "This key is revoked. Create a new key instead.")
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
        raise Problem("forbidden", "You cannot rotate a key with higher limits than yours.")
    errors = [*key_policy.errors(new, frozenset({"role", "expires_at"}))]
    if "old_expires_at" in given:
        errors += _old_expiry_errors(old, given["old_expires_at"])
        old.expires_at = given["old_expires_at"]
    _raise_if_any(errors)
    old.save(update_fields=["expires_at"])
    return _save_granted(new)


def _save_granted(key: ApiKey) -> tuple[ApiKey, str]:
    text = _generate_text(key)
    key.save(force_insert=True)
    key.refresh_from_db(fields=["created_at"])
    return key, text


def _old_expiry_errors(old: ApiKey, expires_at: datetime.datetime) -> Iterator[FieldError]:
    if expires_at <= timezone.now():
        yield FieldError("#/old_expires_at", "past", "Must be in the future.")
    elif old.expires_at is not None and expires_at > old.expires_at:
        detail = f"Must be no later than {old.expires_at.isoformat()}, when the key expires now."
        yield FieldError("#/old_expires_at", "later", detail)


def _raise_if_any(errors: Iterable[FieldError]) -> None:
    if found := list(errors):
        raise Problem("validation_error", errors=found)
