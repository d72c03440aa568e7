"""The credentials of the demo: an administrator and an API key, stored in a private file.

The database stores passwords and keys only as digests, but every `make run` prints them. Only the
demo stores secrets like this.
"""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
from pathlib import Path

from django.db import transaction

from closient.accounts.api_keys import create_api_key
from closient.accounts.models import ApiKey, MemberRole, Membership, Organization, User
from closient.text.key_format import digest

DEMO_ORGANIZATION = "Demo Foods"
# An organization without products, to import into.
EMPTY_ORGANIZATION = "Harbour Kitchen"
DEMO_EMAIL = "admin@example.com"
KEY_NAME = "Demo (make run)"


@dataclasses.dataclass(frozen=True)
class DemoAccess:
    """The organizations of the demo and its credentials.

    ``password`` is ``None`` if it was changed. ``is_new``: the organization was just created and is
    empty. ``empty_organization`` stays empty until a user imports into it.
    """

    organization: Organization
    empty_organization: Organization
    is_new: bool
    email: str
    password: str | None
    api_key: str


@transaction.atomic
def ensure_access(file: Path) -> DemoAccess:
    """Return the credentials of the demo; creates what is missing.

    The file may belong to another database: its password and key are used only if they work. A
    password that a user has changed is never replaced.
    """
    remembered = _read(file)
    organization, is_new = _organization(DEMO_ORGANIZATION)
    empty_organization, _ = _organization(EMPTY_ORGANIZATION)
    user, password = _administrator(remembered.get("password"))
    for owned in (organization, empty_organization):
        Membership.objects.get_or_create(
            organization=owned, user=user, defaults={"role": MemberRole.OWNER}
        )
    access = DemoAccess(
        organization=organization,
        empty_organization=empty_organization,
        is_new=is_new,
        email=user.email,
        password=password,
        api_key=_api_key(organization, remembered.get("api_key")),
    )
    _write(file, {"password": access.password, "api_key": access.api_key})
    return access


def _organization(name: str) -> tuple[Organization, bool]:
    """Return the oldest organization with a name, and whether it was created."""
    found = Organization.objects.filter(name=name).order_by("created_at").first()
    if found:
        return found, False
    return Organization.objects.create(name=name), True


def _administrator(password: str | None) -> tuple[User, str | None]:
    """Return the demo's administrator, and the password if it is correct."""
    user = User.objects.filter(email=DEMO_EMAIL).first()
    if user is None:
        password = secrets.token_urlsafe(12)
        return User.objects.create_superuser(DEMO_EMAIL, password), password
    return user, password if password and user.check_password(password) else None


def _api_key(organization: Organization, text: str | None) -> str:
    """Return the stored key if it still works, else a new one."""
    if text:
        keys = ApiKey.objects.filter(digest=digest(text), organization=organization)
        if keys.filter(is_active=True, expires_at=None).exists():
            return text
    return create_api_key(organization=organization, name=KEY_NAME)[1]


def _read(file: Path) -> dict[str, str | None]:
    """Return the content of the file; empty if it is missing or damaged."""
    try:
        content = json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(file: Path, content: dict[str, str | None]) -> None:
    """Replace the file atomically, readable only by its owner."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        json.dump(content, stream)
    new.replace(file)
