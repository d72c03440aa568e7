"""The change feed: what a client has to read again, and what it has to delete."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from closient.accounts.api_views import OrganizationView
from closient.http import cursors, openapi, pagination, parameters
from closient.http.fields import IdField
from closient.http.problems import Problem
from dashboard.changes import BEGINNING, CHANGES, KINDS, Position, read_changes
from dashboard.retention import oldest_kept_deletion

DEFAULT_SIZE = 100
MAX_SIZE = 1_000

PARAMETERS = (
    pagination.cursor_parameter(
        "The `next_after` of another page: returns what has changed after it. Without it the feed "
        "starts with the oldest entry."
    ),
    parameters.moment(
        "since",
        "Instead of `after`: starts the feed with the changes at this time or later.",
        example="2026-11-24T09:30:00Z",
    ),
    parameters.integer(
        "page_size",
        f"How many entries a page has at most, {DEFAULT_SIZE} by default.",
        minimum=1,
        maximum=MAX_SIZE,
        example=DEFAULT_SIZE,
    ),
)


class ChangeSerializer(serializers.Serializer[Any]):
    """The last change of a row."""

    kind = serializers.ChoiceField(
        choices=KINDS, help_text="What the row is.", style={"example": KINDS[0]}
    )
    id = IdField(help_text="Id of the row.")
    gtin = serializers.CharField(
        help_text="GTIN of the trade item, or of the one that the row belongs to.",
        style={"example": "04012345678901"},
    )
    change = serializers.ChoiceField(
        choices=CHANGES,
        help_text="`changed`: created or changed, read it again. `deleted`: it no longer exists.",
        style={"example": CHANGES[0]},
    )
    at = serializers.DateTimeField(
        help_text="When: its `updated_at`, or the time of the deletion.",
        style={"example": "2026-11-24T09:30:00.123456Z"},
    )


class ChangePageSerializer(serializers.Serializer[Any]):
    """A page of the change feed."""

    data = ChangeSerializer(  # type: ignore[assignment]
        many=True, help_text="The entries, in the order of time."
    )
    has_next: Any = serializers.BooleanField(
        help_text="Whether there are more entries already.", style={"example": False}
    )
    next_after: Any = serializers.CharField(
        help_text="Cursor for `after`: keep it, and read on from it now or later.",
        style={"example": pagination.EXAMPLE_CURSOR},
    )


class ChangesView(OrganizationView):
    """The changes of an organization's rows."""

    query_parameters = PARAMETERS

    @extend_schema(
        operation_id="list_changes",
        summary="List changes and deletions",
        description="Which trade items, offers and certificates were changed or deleted, one entry "
        "for each row, at its last change. A client that follows `next_after` misses none: an "
        "entry appears once all changes before it are committed, so one that is just being "
        f"written may hold it back. Deletions are kept for {settings.KEEP_DELETIONS_DAYS or 'ever'}"
        f"{' days; an older cursor is 422' if settings.KEEP_DELETIONS_DAYS else ''}.",
        tags=["Dashboard"],
        parameters=[openapi.ORGANIZATION_ID, *(p.documented() for p in PARAMETERS)],
        responses=openapi.responses(ChangePageSerializer, "A page.", "validation_error"),
    )
    def get(self, request: Request, organization_id: UUID) -> Response:
        """Return a page of the feed."""
        values = parameters.read_query(request.query_params, self.query_parameters)
        list_id = f"changes {self.organization.pk}"
        after, began_at = _start(list_id, values)
        size = values["page_size"] or DEFAULT_SIZE
        page = read_changes(self.organization.pk, after=after, size=size)
        end = [page.end.at.isoformat(), str(page.end.id), began_at and began_at.isoformat()]
        next_after = cursors.encode(list_id, end)
        data = ChangeSerializer(page.changes, many=True).data
        return Response(
            {"data": data, "has_next": page.has_next, "next_after": next_after},
            headers=self._link(next_after) if page.has_next else {},
        )

    def _link(self, next_after: str) -> dict[str, str]:
        query = self.request.query_params.copy()
        query.pop("since", None)
        query["after"] = next_after
        return pagination.link_header(self.request.path, query)


def _start(list_id: str, values: Mapping[str, Any]) -> tuple[Position, datetime.datetime | None]:
    """Return the position that a request starts after, and when the feed was begun.

    The latter is known if it was read from the beginning: what was deleted earlier does not matter
    to the client. Raises a ``validation_error``, also if the client may miss deletions.
    """
    if values["after"] is None:
        if values["since"] is None:
            return BEGINNING, timezone.now()
        _check_kept(values["since"], "since", "This time")
        return Position(values["since"]), None
    if values["since"] is not None:
        raise pagination.after_problem("exclusive", "Give either `since` or `after`.")
    try:
        at, row_id, began_at = cursors.decode(list_id, values["after"])
    except ValueError:
        detail = "Not a cursor of this feed: use the `next_after` of one of its pages."
        raise pagination.after_problem("cursor", detail) from None
    start = Position(datetime.datetime.fromisoformat(at), UUID(row_id))
    began = datetime.datetime.fromisoformat(began_at) if began_at else None
    _check_kept(max(start.at, began or start.at), "after", "This cursor")
    return start, began


def _check_kept(since: datetime.datetime, name: str, noun: str) -> None:
    """Raise a ``validation_error`` if deletions since then may be forgotten."""
    oldest = oldest_kept_deletion()
    if oldest is not None and since < oldest:
        detail = (
            f"{noun} is more than {settings.KEEP_DELETIONS_DAYS} days ago, and older deletions are "
            "not kept: read the lists again, and then the changes since the time at which you "
            "began (`since`)."
        )
        raise Problem(
            "validation_error", errors=[parameters.parameter_error(name, "expired", detail)]
        )
