"""Base views of endpoints: for one organization, or for the caller."""

from __future__ import annotations

from typing import ClassVar

from closient.accounts.authentication import ApiKeyAuthentication, MemberSessionAuthentication
from closient.accounts.models import ApiKeyRole, Organization
from closient.accounts.permissions import Access, HasAccess, IsSomebody
from closient.http.views import ApiView


class OrganizationView(ApiView):
    """A view whose path names an ``organization_id``, open to those who have access to it.

    ``organization_related`` names one-to-one rows of the organization that authentication reads
    along with it. Publishable keys read views that are ``open_to_publishable_keys``. ``read_role``
    is the role that GET needs, ``write_role`` the one that the other methods need.
    """

    authentication_classes = [ApiKeyAuthentication, MemberSessionAuthentication]
    permission_classes = [HasAccess]
    organization_related: ClassVar[tuple[str, ...]] = ()
    open_to_publishable_keys: ClassVar[bool] = False
    read_role: ClassVar[ApiKeyRole] = ApiKeyRole.READONLY
    write_role: ClassVar[ApiKeyRole] = ApiKeyRole.EDITOR
    access: Access

    @property
    def organization(self) -> Organization:
        """The organization of the path; known once the checks have passed."""
        return self.access.organization


class CallerView(ApiView):
    """A view about the caller: open to every key that opens anything, and to sessions."""

    authentication_classes = [ApiKeyAuthentication, MemberSessionAuthentication]
    permission_classes = [IsSomebody]
