"""Permissions: what the caller may do in an organization."""

from __future__ import annotations

import dataclasses
from typing import Any
from uuid import UUID

from django.conf import settings
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
from closient.cells.routing import in_directory, is_in_directory
from closient.http.problems import Problem

# Higher ranks include lower ones.
_RANKS = {role: rank for rank, role in enumerate(ApiKeyRole)}
_ROLE_OF_MEMBER = {
    MemberRole.OWNER: ApiKeyRole.MANAGER,
    MemberRole.MANAGER: ApiKeyRole.MANAGER,
    MemberRole.EDITOR: ApiKeyRole.EDITOR,
    MemberRole.BILLING: ApiKeyRole.READONLY,
    MemberRole.VIEWER: ApiKeyRole.READONLY,
}


def is_above(role: ApiKeyRole, other: ApiKeyRole) -> bool:
    """Return whether a role allows more than another role."""
    return _RANKS[role] > _RANKS[other]


@dataclasses.dataclass(frozen=True)
class Access:
    """An organization and the caller's role in it; ``None`` allows nothing."""

    organization: Organization
    role: ApiKeyRole | None

    def may(self, role: ApiKeyRole) -> bool:
        """Return whether the access includes a role."""
        return self.role is not None and _RANKS[self.role] >= _RANKS[role]


def access_to(
    organization_id: UUID | None,
    *,
    user: User | None,
    key: ApiKey | None,
    related: tuple[str, ...] = (),
) -> Access | None:
    """Return the access of a key, or of a user without a key, to an organization.

    ``None`` without access and for an unknown id. No query for a key of an organization, one for a
    user's key or session; ``related`` names one-to-one rows of the organization to select as well.
    """
    if organization_id is None:
        return None
    if key is not None and key.kind != ApiKeyKind.USER:
        if key.organization is None or key.organization.id != organization_id:
            return None
        is_publishable = key.kind == ApiKeyKind.PUBLISHABLE
        return Access(key.organization, None if is_publishable else ApiKeyRole(key.role))
    organization_is_here = is_in_directory()
    members = Membership.objects.select_related(
        "organization", *(f"organization__{r}" for r in related if organization_is_here)
    )
    holder_id = key.user_id if key is not None else user.id if user is not None else None
    if holder_id is None:
        return None
    try:
        with in_directory():
            membership = members.get(organization_id=organization_id, user_id=holder_id)
    except Membership.DoesNotExist:
        return None
    organization = membership.organization
    if not organization_is_here:
        # The rows of the organization are in the cell.
        organization = Organization.objects.select_related(*related).get(pk=organization_id)
    return Access(organization, role_of(membership, key))


def all_access(*, user: User | None, key: ApiKey | None) -> list[tuple[Access, MemberRole | None]]:
    """Return the accesses of a key, or of a user without a key, ordered by organization name.

    Each comes with the user's role as a member, or ``None`` for a key of an organization. One query
    for a user's key or session, none for other keys.
    """
    if key is not None and key.kind != ApiKeyKind.USER:
        access = key.organization and access_to(key.organization.id, user=None, key=key)
        return [(access, None)] if access else []
    members = Membership.objects.filter(user=key.user_id if key is not None else user)
    in_order = members.select_related("organization").order_by(
        "organization__name", "organization_id"
    )
    with in_directory():
        return [
            (Access(member.organization, role_of(member, key)), MemberRole(member.role))
            for member in in_order
        ]


def role_of(membership: Membership, key: ApiKey | None) -> ApiKeyRole:
    """Return the effective role: the member's, or the key's if that is lower."""
    role = _ROLE_OF_MEMBER[MemberRole(membership.role)]
    return role if key is None else min(role, ApiKeyRole(key.role), key=_RANKS.__getitem__)


PUBLISHABLE_DETAIL = (
    "A publishable key (cpk) only reads the stats, the forecast and the history of its "
    "organization, from a page on an allowed origin."
)


def check_publishable_key(request: Request, view: Any, organization: Organization) -> None:
    """Raise ``forbidden`` unless a publishable key may make this request.

    The text of the key is public. Checking the origin only prevents other pages from using it.
    """
    if not view.open_to_publishable_keys or request.method not in SAFE_METHODS:
        raise Problem("forbidden", PUBLISHABLE_DETAIL)
    origin = request.headers.get("Origin")
    if origin is None:
        raise Problem("forbidden", f"{PUBLISHABLE_DETAIL} This request has no Origin header.")
    if origin not in settings.CORS_ALLOWED_ORIGINS and origin not in organization.allowed_origins:
        raise Problem(
            "forbidden", f"{PUBLISHABLE_DETAIL} The origin of this request is not allowed."
        )


class HasAccess(BasePermission):
    """Requires access to the organization in the path, and sets ``view.access``.

    404 without access, as for an unknown organization; 403 without the required role.
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
        # Read by the CORS middleware.
        django_request: Any = request._request
        django_request.organization_of_path = access.organization
        if key is not None and key.kind == ApiKeyKind.PUBLISHABLE:
            check_publishable_key(request, view, access.organization)
            access = Access(access.organization, ApiKeyRole.READONLY)
        if request.method in view.allowed_methods:
            role = view.read_role if request.method in SAFE_METHODS else view.write_role
            if not access.may(role):
                raise Problem("forbidden")
        view.access = access
        return True


class HasSecretKeyOrSession(BasePermission):
    """Allows every authenticated caller except publishable keys."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Return ``True``, or raise the ``forbidden`` problem."""
        key: Any = request.auth
        if key is not None and key.kind == ApiKeyKind.PUBLISHABLE:
            raise Problem("forbidden", PUBLISHABLE_DETAIL)
        return True
