"""What the management commands of an organization share."""

from __future__ import annotations

from django.core.management.base import CommandError

from closient.accounts.models import Organization
from closient.db.ids import parse_id


def find_organization(text: str) -> Organization:
    """Return the organization with an id. Raises ``CommandError`` if there is none."""
    try:
        return Organization.objects.get(pk=parse_id(text))
    except (Organization.DoesNotExist, ValueError):
        raise CommandError(f"There is no organization with the id {text}.") from None
