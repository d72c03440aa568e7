"""Views that fail in various ways, for tests of the API's conventions."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import OperationalError, connection
from django.http import HttpRequest, HttpResponse
from django.urls import path
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from closient import urls
from closient.accounts.api_views import OrganizationView
from closient.accounts.models import ApiKeyRole
from closient.db.transactions import DatabaseBusy
from closient.http import parameters
from closient.http.views import ApiView

SECRET = "SELECT secret FROM /etc/passwd"


class Open(ApiView):
    authentication_classes = []
    permission_classes = []
    query_parameters = (parameters.text("key", "Anything.", max_length=100, example="x"),)


class Crash(Open):
    def get(self, request: Request) -> Response:
        raise RuntimeError(SECRET)


class Unrenderable(Open):
    def get(self, request: Request) -> Response:
        return Response({"value": object()})


class Unavailable(Open):
    def get(self, request: Request) -> Response:
        raise OperationalError(SECRET)


class Locked(Open):
    def get(self, request: Request) -> Response:
        raise DatabaseBusy(SECRET)


class BadSql(Open):
    def get(self, request: Request) -> Response:
        with connection.cursor() as cursor:
            cursor.execute("SELECT secret FROM nowhere")
        return Response({})


class Echo(Open):
    """Returns the request's body."""

    def post(self, request: Request) -> Response:
        return Response({"data": request.data})


class _Price(serializers.Serializer[Any]):
    amount = serializers.DecimalField(max_digits=8, decimal_places=2)


class _Item(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=5)
    prices = _Price(many=True)
    tags = serializers.ListField(child=serializers.CharField(max_length=3), required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["name"] == "bad":
            raise serializers.ValidationError("Bad as a whole.", code="whole")
        return attrs


class Validate(Open):
    def post(self, request: Request) -> Response:
        item = _Item(data=request.data)
        item.is_valid(raise_exception=True)
        return Response(item.validated_data)


class Writable(OrganizationView):
    """Accepts writes of editors, and stores nothing."""

    def get(self, request: Request, organization_id: Any) -> Response:
        return Response({})

    def post(self, request: Request, organization_id: Any) -> Response:
        return Response(request.data, status=201)


class ForManagers(Writable):
    write_role = ApiKeyRole.MANAGER


def plain_crash(request: HttpRequest) -> HttpResponse:
    raise RuntimeError(SECRET)


def plain_unavailable(request: HttpRequest) -> HttpResponse:
    raise OperationalError(SECRET)


def suspicious(request: HttpRequest) -> HttpResponse:
    raise SuspiciousOperation(SECRET)


def denied(request: HttpRequest) -> HttpResponse:
    raise PermissionDenied(SECRET)


_FAILING = {
    "crash": Crash.as_view(),
    "unrenderable": Unrenderable.as_view(),
    "away": Unavailable.as_view(),
    "locked": Locked.as_view(),
    "bad-sql": BadSql.as_view(),
    "echo": Echo.as_view(),
    "validate": Validate.as_view(),
    "plain-crash": plain_crash,
    "plain-away": plain_unavailable,
    "suspicious": suspicious,
    "denied": denied,
}
urlpatterns = [
    *(path(f"dashboard/api/test/{name}", view) for name, view in _FAILING.items()),
    path("dashboard/api/test/write/<id:organization_id>", Writable.as_view()),
    path("dashboard/api/test/manage/<id:organization_id>", ForManagers.as_view()),
    path("page-crash", plain_crash),
    path("page-away", plain_unavailable),
    path("page-suspicious", suspicious),
    path("page-denied", denied),
    *urls.urlpatterns,
]
handler400, handler403 = urls.handler400, urls.handler403
handler404, handler500 = urls.handler404, urls.handler500
