"""Making API keys."""

from __future__ import annotations

import datetime

from closient.accounts import keytext
from closient.accounts.models import ApiKey, ApiKeyKind, ApiKeyRole, Organization, User

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
    """Return a new, saved key and its text, which is stored nowhere and can be shown only now.

    A user key (``csu``) needs a user, every other kind an organization. Limits of 0 stand for the
    defaults. Raises ``ValidationError`` when the fields do not fit together.
    """
    text = keytext.new_text(ApiKeyKind(kind).value)
    key = ApiKey(
        kind=kind,
        organization=organization,
        user=user,
        name=name,
        prefix=keytext.body_of(text)[:PREFIX_LENGTH],
        digest=keytext.digest(text),
        role=role,
        expires_at=expires_at,
        limit_per_minute=limit_per_minute,
        limit_per_day=limit_per_day,
    )
    key.full_clean()
    key.save(force_insert=True)
    return key, text
