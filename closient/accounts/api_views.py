"""Base views of the API: for an organization, or for the caller."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse

from closient.accounts.authentication import (
    ApiKeyAuthentication,
    MemberSessionAuthentication,
    has_organization_key,
)
from closient.accounts.models import ApiKeyRole, Organization
from closient.accounts.permissions import Access, HasAccess, HasSecretKeyOrSession
from closient.cells.routing import in_cell_of
from closient.http.resources import Resource
from closient.http.views import ApiView


class OrganizationView(ApiView):
    """A view of the organization whose ``organization_id`` is in the path.

    Requires ``read_role`` for GET and ``write_role`` for other methods. Publishable keys can read
    it if ``open_to_publishable_keys`` is set. ``organization_related`` names one-to-one rows of the
    organization that authentication selects with it.
    """

    authentication_classes = [ApiKeyAuthentication, MemberSessionAuthentication]
    permission_classes = [HasAccess]
    organization_related: ClassVar[tuple[str, ...]] = ()
    open_to_publishable_keys: ClassVar[bool] = False
    read_role: ClassVar[ApiKeyRole] = ApiKeyRole.READONLY
    write_role: ClassVar[ApiKeyRole] = ApiKeyRole.EDITOR
    access: Access

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Respond in the cell of the organization."""
        if not settings.CELLS:
            return super().dispatch(request, *args, **kwargs)
        # Authentication corrects an old placement if the cell does not know the key. Sessions and
        # keys of users are read in the directory anyway.
        is_fresh = not has_organization_key(request)
        with in_cell_of(kwargs["organization_id"], is_fresh=is_fresh):
            return super().dispatch(request, *args, **kwargs)

    @property
    def organization(self) -> Organization:
        """The organization in the path; available after the permission check."""
        return self.access.organization


class OrganizationResource(OrganizationView, Resource):
    """Rows of the organization of the path; ``route`` is the route of one row."""

    model: ClassVar[type[Any]]
    route: ClassVar[str]

    def rows(self) -> QuerySet[Any]:
        """Return the organization's rows."""
        rows: QuerySet[Any] = self.model._default_manager.filter(organization=self.organization)
        return rows

    def address_of(self, row: Any) -> str:
        """Return the URL of a row."""
        return reverse(self.route, args=(row.organization_id, getattr(row, self.lookup)))


class CallerView(ApiView):
    """A view of the caller, for all keys except publishable ones, and for sessions."""

    authentication_classes = [ApiKeyAuthentication, MemberSessionAuthentication]
    permission_classes = [HasSecretKeyOrSession]
