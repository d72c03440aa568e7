"""Writing organizations."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from closient.accounts.models import Organization


def set_allowed_origins(
    organization_id: UUID,
    origins: list[str],
    *,
    check: Callable[[Organization], None] | None = None,
) -> Organization:
    """Give an organization other allowed origins, in their stored form, and return it.

    ``check`` gets the organization as it is, locked, and may refuse. To be called in a transaction.
    """
    organization = Organization.objects.select_for_update(no_key=True).get(pk=organization_id)
    if check is not None:
        check(organization)
    organization.allowed_origins = origins
    organization.save(update_fields=["allowed_origins"])
    return organization
