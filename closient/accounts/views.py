"""The view that every endpoint below one organization is made from."""

from __future__ import annotations

from typing import ClassVar

from closient.accounts.authentication import ApiKeyAuthentication, MemberSessionAuthentication
from closient.accounts.models import ApiKeyRole, Organization
from closient.accounts.permissions import Access, HasAccess
from closient.api.views import ApiView


class OrganizationView(ApiView):
    """A view whose path names an ``organization_id``, open to those who have access to it.

    ``organization_related`` names one-to-one rows of the organization that authentication reads
    along with it. ``write_role`` is the role that methods other than GET need.
    """

    authentication_classes = [ApiKeyAuthentication, MemberSessionAuthentication]
    permission_classes = [HasAccess]
    organization_related: ClassVar[tuple[str, ...]] = ()
    write_role: ClassVar[ApiKeyRole] = ApiKeyRole.EDITOR
    access: Access

    @property
    def organization(self) -> Organization:
        """The organization of the path; known once the checks have passed."""
        return self.access.organization
