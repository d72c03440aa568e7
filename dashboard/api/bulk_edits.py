"""The API of bulk edits and undo."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar
from uuid import UUID

from django.urls import reverse
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response

from closient.accounts.api_views import OrganizationView
from closient.accounts.models import ApiKeyRole
from closient.changes.models import Change
from closient.db.transactions import run_with_retry
from closient.http import idempotency, openapi
from closient.http.problems import FieldError, Problem
from closient.http.serializers import values_of
from closient.text.validators import InvalidField
from dashboard.bulk_edits import runs
from dashboard.bulk_edits.preview import preview
from dashboard.bulk_edits.serializers import (
    BulkEditRequestSerializer,
    BulkEditSerializer,
)
from dashboard.bulk_edits.targets import CERTIFICATES, OFFERS, PRODUCTS, Target
from dashboard.models import BulkEdit

TAGS = ["Bulk edits"]


def _documented(nouns: str, operation: str) -> Any:
    operation_schema = extend_schema(
        operation_id=operation,
        summary=f"Change many {nouns}",
        description=f"Sets the same values in all {nouns} with the given ids, or in all that match "
        "a filter: all of them or, if one cannot be changed, none. Up to "
        f"{runs.MAX_ROWS_IN_REQUEST:,} rows are changed before the answer (200); more are changed "
        "by a worker (202): follow `Location` until the status is `done` or `failed`. `dry_run` "
        "returns the exact effect instead. A bulk edit counts as one request, and can be undone "
        "for 30 days.",
        tags=TAGS,
        parameters=[openapi.ORGANIZATION_ID, idempotency.PARAMETER, idempotency.REPLAYED_HEADER],
        request=BulkEditRequestSerializer,
        responses={
            **openapi.written(
                202,
                BulkEditSerializer,
                "A worker will change the rows.",
                "unsupported_media_type",
                "validation_error",
                "conflict",
            ),
            200: OpenApiResponse(
                response=BulkEditSerializer,
                description="The rows are changed; with `dry_run` a preview: `matched`, "
                "`changed`, `completes` and `average_gain`.",
            ),
        },
    )
    return extend_schema_view(post=operation_schema)


class _BulkView(OrganizationView):
    target: ClassVar[Target]

    def post(self, request: Request, organization_id: UUID) -> Response:
        """Change rows, or return what would change."""
        body = values_of(BulkEditRequestSerializer(data=request.data))
        if ("filter" in body) == ("ids" in body):
            raise Problem(
                "validation_error",
                errors=[FieldError("#", "filter_or_ids", "Give either `filter` or `ids`.")],
            )
        filter_texts = _texts(body["filter"]) if "filter" in body else None
        asked = runs.Request(self.target, filter_texts, body.get("ids"), body["set"])
        if body["dry_run"]:
            effect = self._preview(asked)
            return Response(BulkEditSerializer((self.target.kind, effect)).data)
        return idempotency.idempotent(
            request,
            organization_id,
            lambda: _shown(_started(lambda: runs.start(self.organization, asked, _user(request)))),
        )

    def _preview(self, asked: runs.Request) -> Any:
        values = self.target.validated(asked.given)
        rows = self.target.rows(self.organization, asked.filter, asked.ids)
        try:
            return run_with_retry(lambda: preview(self.organization, self.target, rows, values))
        except InvalidField as error:
            raise Problem("conflict", str(error)) from error


@_documented("trade items", "bulk_edit_trade_items")
class ProductsBulkView(_BulkView):
    """Many products."""

    target = PRODUCTS


@_documented("offers", "bulk_edit_offers")
class OffersBulkView(_BulkView):
    """Many offers."""

    target = OFFERS


@_documented("certification assignments", "bulk_edit_certification_assignments")
class CertificationsBulkView(_BulkView):
    """Many certificates."""

    target = CERTIFICATES


class BulkEditView(OrganizationView):
    """One bulk edit."""

    read_role = ApiKeyRole.READONLY

    @extend_schema(
        operation_id="get_bulk_edit",
        summary="Get a bulk edit",
        description="Its status and what it changed.",
        tags=TAGS,
        parameters=[
            openapi.ORGANIZATION_ID,
            openapi.id_parameter("bulk_edit_id", "the bulk edit"),
        ],
        responses=openapi.responses(BulkEditSerializer, "The bulk edit."),
    )
    def get(self, request: Request, organization_id: UUID, bulk_edit_id: UUID | None) -> Response:
        """Return it."""
        mine = BulkEdit.objects.of(self.organization)
        found = mine.filter(pk=bulk_edit_id).first() if bulk_edit_id else None
        if found is None:
            raise Problem("not_found")
        return Response(BulkEditSerializer(found).data)


class UndoView(OrganizationView):
    """The undo of a change."""

    @extend_schema(
        operation_id="undo_change",
        summary="Undo a change",
        description="Puts back the values that a change replaced, where they are still as it left "
        "them; `detail` names those that have been changed since and stay. Rows that it created "
        "or deleted stay so. Possible for 30 days. The undo is a change too, and can be undone. "
        "Large ones are made by a worker (202).",
        tags=TAGS,
        parameters=[
            openapi.ORGANIZATION_ID,
            openapi.id_parameter("change_id", "the change"),
            idempotency.PARAMETER,
            idempotency.REPLAYED_HEADER,
        ],
        request=None,
        responses={
            **openapi.written(202, BulkEditSerializer, "A worker will undo it.", "conflict"),
            200: OpenApiResponse(response=BulkEditSerializer, description="It is undone."),
        },
    )
    def post(self, request: Request, organization_id: UUID, change_id: UUID | None) -> Response:
        """Undo a change."""
        if change_id is None:
            raise Problem("not_found")
        key = change_id

        def write() -> Response:
            try:
                return _shown(
                    _started(lambda: runs.start_undo(self.organization, key, _user(request)))
                )
            except Change.DoesNotExist:
                raise Problem("not_found") from None

        return idempotency.idempotent(request, organization_id, write)


def _started(start: Callable[[], BulkEdit]) -> BulkEdit:
    try:
        return start()
    except runs.EditFailed as error:
        raise Problem("conflict", str(error)) from error


def _shown(edit: BulkEdit) -> Response:
    address = reverse("bulk-edit", args=[edit.organization_id, edit.pk])
    return Response(
        BulkEditSerializer(edit).data,
        status=200 if edit.is_ended else 202,
        headers={"Location": address},
    )


def _user(request: Request) -> UUID | None:
    return request.user.pk if request.user.is_authenticated else None


def _texts(given: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts that the parameters of a query have for JSON values."""
    return {name: _text(name, value) for name, value in given.items()}


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return ",".join(value)
    if isinstance(value, str | int):
        return str(value)
    detail = "Must be a text, a number, true or false, or a list of texts."
    raise Problem("validation_error", errors=[FieldError(f"#/filter/{name}", "type", detail)])
