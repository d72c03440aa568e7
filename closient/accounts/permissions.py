"""What whoever asks may do in the organization of the path."""

from __future__ import annotations

import dataclasses
from typing import Any
from uuid import UUID

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from closient.accounts.models import (
    ApiKey,
    ApiKeyKind,
    ApiKeyRole,
    MemberRole,
    Membership,
    Organization,
    User,
)
from closient.api.problems import Problem

# Roles from the least to the most powerful.
_RANKS = {role: rank for rank, role in enumerate(ApiKeyRole)}
_ROLE_OF_MEMBER = {
    MemberRole.OWNER: ApiKeyRole.MANAGER,
    MemberRole.MANAGER: ApiKeyRole.MANAGER,
    MemberRole.EDITOR: ApiKeyRole.EDITOR,
    MemberRole.BILLING: ApiKeyRole.READONLY,
    MemberRole.VIEWER: ApiKeyRole.READONLY,
}


@dataclasses.dataclass(frozen=True)
class Access:
    """An organization, and in which role it is opened; no role opens nothing in it."""

    organization: Organization
    role: ApiKeyRole | None

    def may(self, role: ApiKeyRole) -> bool:
        """Return whether the access reaches a role."""
        return self.role is not None and _RANKS[self.role] >= _RANKS[role]


def access_to(
    organization_id: UUID | None,
    *,
    user: User | None,
    key: ApiKey | None,
    related: tuple[str, ...] = (),
) -> Access | None:
    """Return the access that a key, or else a user, has to an organization.

    ``None`` for a stranger and for an id that names nothing. No query for a key of an
    organization, one for a user's key or session.
    """
    if organization_id is None:
        return None
    if key is not None and key.kind != ApiKeyKind.USER:
        if key.organization is None or key.organization.id != organization_id:
            return None
        is_publishable = key.kind == ApiKeyKind.PUBLISHABLE
        return Access(key.organization, None if is_publishable else ApiKeyRole(key.role))
    members = Membership.objects.select_related(
        "organization", *(f"organization__{r}" for r in related)
    )
    holder_id = key.user_id if key is not None else user.id if user is not None else None
    if holder_id is None:
        return None
    try:
        membership = members.get(organization_id=organization_id, user_id=holder_id)
    except Membership.DoesNotExist:
        return None
    role = _ROLE_OF_MEMBER[MemberRole(membership.role)]
    if key is not None:
        role = min(role, ApiKeyRole(key.role), key=_RANKS.__getitem__)
    return Access(membership.organization, role)


class HasAccess(BasePermission):
    """Opens a view of one organization, and puts the access onto the view.

    A stranger gets the 404 of an organization that does not exist; whoever lacks the role 403.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        """Return ``True``, or raise the ``not_found`` or ``forbidden`` problem."""
        key: Any = request.auth
        access = access_to(
            view.kwargs["organization_id"],
            user=request.user if isinstance(request.user, User) else None,
            key=key,
            related=view.organization_related,
        )
        if access is None:
            raise Problem("not_found")
        if request.method in view.allowed_methods or access.role is None:
            role = ApiKeyRole.READONLY if request.method in SAFE_METHODS else view.write_role
            if not access.may(role):
                raise Problem("forbidden")
        view.access = access
        return True
