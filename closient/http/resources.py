"""Resources of the API: rows of one model that are listed, created, read, changed and deleted.

A resource declares its serializer, its route and its rows; an endpoint combines it with the base
classes below and overrides only what differs. :class:`ResourceSchema` documents the operations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from closient.db.transactions import run_with_retry
from closient.http import cursors, idempotency, merge_patch, openapi
from closient.http.cursors import Position
from closient.http.fields import merged_metadata
from closient.http.lists import PagedList
from closient.http.pagination import ListPage, page_of
from closient.http.parameters import Parameter
from closient.http.problems import Problem
from closient.http.serializers import values_of
from closient.http.views import ApiView

Serializer = type[serializers.BaseSerializer[Any]]


class Resource(ApiView):
    """The rows of a model that a request may access.

    ``lookup_argument`` is the argument of the path that identifies a row, ``lookup`` its column.
    """

    serializer_class: ClassVar[Serializer]
    lookup: ClassVar[str] = "pk"
    lookup_argument: ClassVar[str]

    def rows(self) -> QuerySet[Any]:
        """Return the rows that the request may access."""
        raise Problem("not_found")

    def with_related(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Add the related rows that the serializer shows."""
        return rows

    def context(self) -> dict[str, Any]:
        """Return the context of the serializer."""
        return {}

    def shown(self, row: Any) -> dict[str, Any]:
        """Serialize a row."""
        body: dict[str, Any] = self.serializer_class(row, context=self.context()).data
        return body

    def shown_rows(self, rows: Sequence[Any]) -> list[dict[str, Any]]:
        """Serialize several rows."""
        serializer = self.serializer_class(context=self.context())
        return [serializer.to_representation(row) for row in rows]

    def find(self, *, is_locked: bool = False) -> Any:
        """Return the row of the path, locked until the transaction ends if requested.

        Raises ``not_found``.
        """
        key = self.kwargs[self.lookup_argument]
        if key is None:
            raise Problem("not_found")
        alone = self.rows().filter(**{self.lookup: key}).order_by()
        rows = self.with_related(alone)
        if is_locked and rows.query.select_related:
            # A separate statement: after waiting for a lock, a join would return the related
            # rows as they were before.
            alone.select_for_update(no_key=True).values_list("pk").first()
        elif is_locked:
            rows = rows.select_for_update(no_key=True)
        row = rows.first()
        if row is None:
            raise Problem("not_found")
        return row

    def find_to_write(self) -> Any:
        """Return the row of the path with its lock held and its version checked."""
        row = self.find(is_locked=True)
        self.check_version(lambda: self.shown(row))
        return row


class AllRows:
    """The list of all rows of a resource, without filters; in the order of the model by default."""

    def __init__(
        self,
        rows: QuerySet[Any],
        *,
        total_count: int | None = None,
        order: Sequence[str] | None = None,
    ) -> None:
        self.rows = rows
        self.total_count = total_count
        self.order: Any = order or rows.model._meta.ordering

    def page(self, *, start: int, end: int, after: Position | None = None) -> tuple[list[Any], int]:
        """Return the rows from ``start`` to ``end`` and the total."""
        page = cursors.rows_between(self.rows, self.order, start=start, end=end, after=after)
        known = self.total_count
        return page, self.rows.order_by().count() if known is None else known

    def position(self, row: Any) -> Position:
        """Return the position of a row in the order."""
        return cursors.position_of(row, self.order)


class ListEndpoint(Resource):
    """GET: a page of a list."""

    def check_path(self) -> None:
        """Raise ``not_found`` for a path below a row that does not exist."""

    def row_list(self, values: Mapping[str, Any]) -> PagedList:
        """Return the list for the values of the query parameters."""
        return AllRows(self.rows())

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return a page."""
        self.check_path()
        page, values = ListPage.read(request, self.query_parameters)
        row_list = self.row_list(values)
        rows, total_count = row_list.page(start=page.start, end=page.end, after=page.after)
        return page.answer(
            rows, total_count=total_count, show=self.shown_rows, position=row_list.position
        )


class CreateEndpoint(Resource):
    """POST: a new row; idempotent with an ``Idempotency-Key``."""

    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Create a row."""
        given = values_of(self.serializer_class(data=request.data))

        def write() -> Response:
            row = self.create(given)
            headers = {"Location": str(self.address_of(row))}
            return Response(self.shown(row), status=201, headers=headers)

        return idempotency.idempotent(request, self.kwargs["organization_id"], write)

    def create(self, values: dict[str, Any]) -> Any:
        """Create a row in the current transaction, and return it with its related rows."""
        raise Problem("method_not_allowed")


class RowEndpoint(Resource):
    """GET, PATCH and DELETE of one row."""

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return the row."""
        return Response(self.shown(self.find()))

    def patch(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Change the row."""
        # A row that does not exist is 404 whatever the body says. A body may also arrive slowly,
        # so it is read before the row is locked.
        self.given_for(self.find())

        def write() -> dict[str, Any]:
            row = self.find_to_write()
            # Merged again, with what the row contains now that it is locked.
            given = self.given_for(row)
            if "metadata" in given:
                given["metadata"] = merged_metadata(row.metadata, given["metadata"])
            return self.shown(self.change(row, given))

        return Response(run_with_retry(write))

    def given_for(self, row: Any) -> dict[str, Any]:
        """Return the values of the body, a merge patch merged into the row."""
        body = merge_patch.body_of(self.request, lambda: self.shown(row))
        return values_of(self.serializer_class(data=body, partial=True))

    def change(self, row: Any, values: dict[str, Any]) -> Any:
        """Change a locked row, and return it as it is to be shown."""
        raise Problem("method_not_allowed")

    def delete(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Delete the row."""
        run_with_retry(lambda: self.remove(self.find_to_write()))
        return Response(status=204)

    def remove(self, row: Any) -> None:
        """Delete a locked row."""
        row.delete()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResourceSchema:
    """The OpenAPI operations of a resource.

    ``noun`` and ``nouns`` name the resource in the ids of operations, ``a_noun`` in summaries and
    descriptions. ``path`` has the parameters of the list's path, ``row`` the one that identifies
    a row.
    """

    noun: str
    nouns: str
    a_noun: str
    serializer: Serializer
    tags: Sequence[str]
    row: OpenApiParameter
    path: Sequence[OpenApiParameter] = (openapi.ORGANIZATION_ID,)
    has_conflicts: bool = True

    @property
    def _the_noun(self) -> str:
        return f"The {self.a_noun.partition(' ')[2]}."

    @property
    def _body_errors(self) -> tuple[str, ...]:
        errors = ("unsupported_media_type", "validation_error")
        return (*errors, "conflict") if self.has_conflicts else errors

    def list(
        self,
        description: str,
        *,
        parameters: Sequence[Parameter],
        summary: str = "",
        answer: str = "A page.",
    ) -> Any:
        """Document the list."""
        return extend_schema(
            operation_id=f"list_{self.nouns}",
            summary=summary or f"List {self.nouns.replace('_', ' ')}",
            description=description,
            tags=list(self.tags),
            parameters=[*self.path, *(parameter.documented() for parameter in parameters)],
            responses=openapi.responses(
                page_of(self.serializer),  # type: ignore[arg-type]  # classes are hashable
                answer,
                "validation_error",
            ),
        )

    def create(  # noqa: PLR0913 - what an operation can say
        self,
        description: str,
        *,
        summary: str = "",
        answer: str = "",
        request: Any = None,
        serializer: Serializer | None = None,
        is_kept: bool = True,
    ) -> Any:
        """Document the creation; with ``is_kept=False`` the response is not stored for replays."""
        replayed = [idempotency.REPLAYED_HEADER] if is_kept else []
        return extend_schema(
            operation_id=f"create_{self.noun}",
            summary=summary or f"Create {self.a_noun}",
            description=description,
            tags=list(self.tags),
            parameters=[*self.path, idempotency.PARAMETER, *replayed],
            request=request or self.serializer,
            responses=openapi.written(
                201,
                serializer or self.serializer,
                answer or f"The new {self.a_noun.partition(' ')[2]}.",
                *{*self._body_errors, "conflict"},
            ),
        )

    def get(self, description: str = "", *, summary: str = "") -> Any:
        """Document the reading of one row."""
        return extend_schema(
            operation_id=f"get_{self.noun}",
            summary=summary or f"Get {self.a_noun}",
            description=description or self._the_noun,
            tags=list(self.tags),
            parameters=[*self.path, self.row],
            responses=openapi.responses(self.serializer, self._the_noun),
        )

    def update(self, description: str, *, summary: str = "", request: Any = None) -> Any:
        """Document the change of one row."""
        return extend_schema(
            operation_id=f"update_{self.noun}",
            summary=summary or f"Change {self.a_noun}",
            description=description,
            tags=list(self.tags),
            parameters=[*self.path, self.row],
            request=request or self.serializer(partial=True),
            responses=openapi.written(200, self.serializer, self._the_noun, *self._body_errors),
        )

    def delete(self, description: str, *, summary: str = "") -> Any:
        """Document the deletion of one row."""
        return extend_schema(
            operation_id=f"delete_{self.noun}",
            summary=summary or f"Delete {self.a_noun}",
            description=description,
            tags=list(self.tags),
            parameters=[*self.path, self.row],
            responses=openapi.written(204, None, "Deleted."),
        )
