"""The OpenAPI document: parameters, headers and problems shared by all operations."""

from __future__ import annotations

import re
from typing import Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import force_instance
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse
from rest_framework import serializers

from closient.db.ids import ID_LENGTH, ID_PATTERN
from closient.http import etags, merge_patch, problems
from closient.http.problems import ERRORS, ErrorKind


def id_parameter(name: str, of: str) -> OpenApiParameter:
    """Return the path parameter for an id; ``of`` says what it identifies."""
    return OpenApiParameter(
        name,
        {
            "type": "string",
            "minLength": ID_LENGTH,
            "maxLength": ID_LENGTH,
            "pattern": f"^{ID_PATTERN}$",
            "examples": ["KwSysDpxcBU9FNhGkn2dCf"],
        },
        OpenApiParameter.PATH,
        description=f"Id of {of} (a shortuuid; the canonical UUID is taken as well).",
    )


ETAG = '"5e884898da28047151d0e56f8dc62927"'
ORGANIZATION_ID = id_parameter("organization_id", "the organization")
GTIN = OpenApiParameter(
    "gtin",
    {
        "type": "string",
        "pattern": "^(?:[0-9]{8}|[0-9]{12,14})$",
        "examples": ["04012345678901"],
    },
    OpenApiParameter.PATH,
    description="GTIN of the trade item: 8, 12, 13 or 14 digits with a right check digit.",
)
IF_MATCH = OpenApiParameter(
    "If-Match",
    {"type": "string", "pattern": etags.PATTERN, "examples": [ETAG]},
    OpenApiParameter.HEADER,
    description="Only if the resource is still this version: the `ETag` of the answer that showed "
    "it, or several with commas between. Else nothing is done (412). Weak tags match nothing.",
)
IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match",
    {"type": "string", "examples": [ETAG]},
    OpenApiParameter.HEADER,
    description="The `ETag` of a response that you have. If it is still current, the response is "
    "304 without a body.",
)
# Errors that every operation can return.
ALWAYS = (
    "bad_request",
    "unauthorized",
    "forbidden",
    "not_found",
    "not_acceptable",
    "precondition_failed",
    "payload_too_large",
    "uri_too_long",
    "validation_error",
    "rate_limited",
    "internal_error",
    "unavailable",
)
# Sent before authentication, so without rate limit headers.
UNAUTHENTICATED = ("401", "413", "414")
# Windows of the rate limit.
WINDOW_NAMES = ("minute", "day")
REQUEST_ID = "0f4b2c61f53e4b0aa1b6a2c0ee1f9d11"


class FieldErrorSerializer(serializers.Serializer[Any]):
    """An error in one value."""

    pointer = serializers.CharField(
        help_text="JSON pointer into the body (RFC 6901), `#/query/<name>` for a parameter or "
        "`#/header/<name>` for a header.",
        style={"example": "#/query/complete_at"},
    )
    code = serializers.CharField(
        help_text="Name of the rule that the value breaks.", style={"example": "range"}
    )
    detail = serializers.CharField(
        help_text="What is wrong, in a sentence.",
        style={"example": "Must be from 1 to 100."},
    )


class ProblemSerializer(serializers.Serializer[Any]):
    """An error in the format of RFC 9457."""

    type = serializers.CharField(
        help_text="Path of the page that explains the error, on this service. One for each "
        "`error_code`.",
        style={"example": ERRORS["not_found"].type},
    )
    title = serializers.CharField(help_text="Phrase of the status.", style={"example": "Not Found"})
    status = serializers.IntegerField(
        min_value=400, max_value=599, help_text="HTTP status.", style={"example": 404}
    )
    detail = serializers.CharField(
        help_text="What went wrong, in a sentence.",
        style={"example": ERRORS["not_found"].detail},
    )
    instance = serializers.CharField(
        help_text="Path of the request.",
        style={"example": "/dashboard/api/v1/stats/KwSysDpxcBU9FNhGkn2dCf"},
    )
    error_code = serializers.ChoiceField(
        choices=list(ERRORS), help_text="Kind of error.", style={"example": "not_found"}
    )
    timestamp = serializers.DateTimeField(
        help_text="When it happened, in UTC.", style={"example": "2026-11-24T09:30:00.000Z"}
    )
    retryable = serializers.BooleanField(
        help_text="Whether the same request may succeed later.", style={"example": False}
    )
    request_id = serializers.CharField(
        help_text="The X-Request-ID of the response.",
        style={"example": REQUEST_ID},
    )
    errors = FieldErrorSerializer(  # type: ignore[assignment]
        many=True,
        required=False,
        help_text="The values that are not valid; with 422.",
        style={"is_optional": True},
    )
    retry_after = serializers.IntegerField(
        min_value=0,
        required=False,
        help_text="Seconds to wait; with 429 and 503.",
        style={"example": 12, "is_optional": True},
    )
    window = serializers.ChoiceField(
        choices=WINDOW_NAMES,
        required=False,
        help_text="The window whose limit is used up; with 429.",
        style={"example": "minute", "is_optional": True},
    )
    conflicting_id = serializers.CharField(
        required=False,
        help_text="With 409: the id of the conflicting resource, if there is one; `Location` "
        "is its URL.",
        style={"example": "KwSysDpxcBU9FNhGkn2dCf", "is_optional": True},
    )


def responses(
    serializer: type[serializers.BaseSerializer[Any]], description: str, *error_codes: str
) -> dict[Any, OpenApiResponse]:
    """Return all responses of a read operation: its own, and its problems."""
    answers: dict[Any, OpenApiResponse] = {
        200: OpenApiResponse(serializer, description),
        304: OpenApiResponse(
            description="Not modified: the client already has this version (If-None-Match)."
        ),
    }
    return answers | _problems(*error_codes)


def download(description: str, *error_codes: str) -> dict[Any, OpenApiResponse]:
    """Return all responses of an operation that sends a file: its own, and its problems."""
    return {200: OpenApiResponse(OpenApiTypes.BINARY, description)} | _problems(*error_codes)


def errors(*error_codes: str) -> dict[Any, OpenApiResponse]:
    """Return the problems of an operation whose other responses are no serializer's."""
    return _problems(*error_codes)


def written(
    status: int,
    serializer: type[serializers.BaseSerializer[Any]] | None,
    description: str,
    *error_codes: str,
) -> dict[Any, OpenApiResponse]:
    """Return all responses of a write operation: its own (201, 200, 204), and its problems.

    One that takes a body names ``unsupported_media_type`` and ``validation_error`` as well.
    Without a serializer the answer has no content.
    """
    answers = _problems(*error_codes)
    if serializer is None:
        # An answer without content fits every Accept.
        del answers[ERRORS["not_acceptable"].status, problems.MEDIA_TYPE]
    return {status: OpenApiResponse(serializer, description), **answers}


def _problems(*error_codes: str) -> dict[Any, OpenApiResponse]:
    kinds = sorted((ERRORS[code] for code in {*ALWAYS, *error_codes}), key=lambda k: k.status)
    return {
        (kind.status, problems.MEDIA_TYPE): OpenApiResponse(
            ProblemSerializer, kind.detail, examples=[problem_example(kind)]
        )
        for kind in kinds
    }


def problem_example(kind: ErrorKind) -> OpenApiExample:
    """Return an example of a problem."""
    value = example_of(ProblemSerializer) | {
        "type": kind.type,
        "title": kind.title,
        "status": kind.status,
        "detail": kind.detail,
        "error_code": kind.error_code,
        "retryable": kind.is_retryable,
    }
    return OpenApiExample(
        kind.error_code,
        value=value,
        response_only=True,
        status_codes=[str(kind.status)],
        media_type=problems.MEDIA_TYPE,
    )


def example_of(serializer: type[serializers.Serializer[Any]]) -> dict[str, Any]:
    """Return an example of what a serializer shows: its required fields."""
    fields = serializer().fields
    return {name: field.style["example"] for name, field in fields.items() if field.required}


def _header(description: str, example: str | int) -> dict[str, Any]:
    kind = "integer" if isinstance(example, int) else "string"
    return {"description": description, "schema": {"type": kind, "examples": [example]}}


def shared_headers() -> dict[str, Any]:
    """Return all headers of responses, by name."""
    minute, day = settings.API_LIMIT_PER_MINUTE, settings.API_LIMIT_PER_DAY
    return {
        "X-Request-ID": _header(
            "Id of this response: the one sent with the request, or a new one.", REQUEST_ID
        ),
        "RateLimit-Policy": _header(
            "Requests allowed in each window (`w` in seconds).", f"{minute};w=60, {day};w=86400"
        ),
        "RateLimit-Limit": _header("Limit of the window with the fewest left.", minute),
        "RateLimit-Remaining": _header("Requests left in that window.", minute - 1),
        "RateLimit-Reset": _header("Seconds until that window ends.", 60),
        "ETag": _header("Version of the resource: a strong tag, for `If-Match`.", ETAG),
        "Cache-Control": _header("Revalidate before reuse.", "private, no-cache"),
        "Content-Disposition": _header(
            "`attachment` with the name of the file.",
            'attachment; filename="products-alpine-foods-2026-11-28.csv"',
        ),
        "Location": _header(
            "URL of the new resource; with 409, of the conflicting one.",
            "/dashboard/api/v1/offers/KwSysDpxcBU9FNhGkn2dCf/3mJr7AoUXx2Wqd4fEr8bGh",
        ),
        "Link": _header(
            'URL of the next page (RFC 8288, `rel="next"`); absent on the last page.',
            '</dashboard/api/v1/offers/KwSysDpxcBU9FNhGkn2dCf?after=WzFd.VqQ4>; rel="next"',
        ),
        "WWW-Authenticate": _header(
            "How to authenticate.", 'ApiKey realm="api", header="X-API-Key"'
        ),
        "Retry-After": _header("Seconds to wait before the next request.", 12),
    }


def header_names(status: str, *, is_list: bool = False, is_file: bool = False) -> list[str]:
    """Return the names of the shared headers of a response with a status."""
    names = ["X-Request-ID"]
    if status not in UNAUTHENTICATED:
        names += [f"RateLimit-{part}" for part in ("Policy", "Limit", "Remaining", "Reset")]
    if status == "200" and is_file:
        names.append("Content-Disposition")
    elif status in ("200", "201", "304"):
        names.append("ETag")
    if status in ("200", "304") and not is_file:
        names.append("Cache-Control")
    if status == "200" and is_list:
        names.append("Link")
    if status in ("201", "202", "409"):
        names.append("Location")
    if status == "401":
        names.append("WWW-Authenticate")
    if status in ("429", "503"):
        names.append("Retry-After")
    return names


def inline_null(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Return the document with ``null`` itself where it refers to a component for it (a hook).

    A component that only ``null`` fits becomes a class of its own in generated clients.
    """
    reference, null = {"$ref": "#/components/schemas/NullEnum"}, {"type": "null"}

    def inline(node: Any) -> Any:
        if node == reference:
            return null
        if isinstance(node, dict):
            return {name: inline(value) for name, value in node.items()}
        return [inline(value) for value in node] if isinstance(node, list) else node

    inlined: dict[str, Any] = inline(result)
    inlined["components"]["schemas"].pop("NullEnum", None)
    return inlined


def share(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Return the document with headers and problems written once and referred to (a hook)."""
    components = result["components"]
    components["headers"] = shared_headers()
    problem_answers = components.setdefault("responses", {})
    for operations in result["paths"].values():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    name = problems.BY_STATUS[int(status)].error_code
                    problem_answers[name] = answer
                    operation["responses"][status] = {"$ref": f"#/components/responses/{name}"}
    return result


class DocumentedSchema(AutoSchema):
    """Adds the shared headers, and each field's example (``style={"example": ...}``).

    An answer has every field, whether or not a request may leave it out; a field that an answer
    lacks at times says ``style={"is_optional": True}``.
    """

    def map_parsers(self) -> list[str]:
        """Return the media types of the body: generated clients send the first, JSON.

        A merge patch is taken as well (docs/api.md); two types make two functions of some clients.
        """
        media_types: list[str] = super().map_parsers()
        return [name for name in media_types if name != merge_patch.MEDIA_TYPE]

    def _get_parameters(self) -> list[dict[str, Any]]:
        """Return the parameters: those of the path as it has them, then the others as declared.

        Generators make the arguments of a function from them, in this order.
        """
        parameters: list[dict[str, Any]] = super()._get_parameters()
        in_path = re.findall(r"{(\w+)}", self.path)
        return sorted(
            parameters,
            key=lambda p: in_path.index(p["name"]) if p["in"] == "path" else len(in_path),
        )

    def _map_serializer_field(
        self, field: Any, direction: Any, bypass_extensions: bool = False
    ) -> Any:
        """Add the lengths of lists, which drf-spectacular leaves out for those of objects."""
        schema: Any = super()._map_serializer_field(  # type: ignore[no-untyped-call]
            field, direction, bypass_extensions
        )
        if isinstance(field, serializers.ListSerializer):
            lengths = {"minItems": "min_length", "maxItems": "max_length"}
            for name, argument in lengths.items():
                if (length := getattr(field, argument)) is not None:
                    schema[name] = length
        return schema

    def _insert_field_validators(self, field: Any, schema: dict[str, Any]) -> None:
        """Add what the field's validators ask for, and keep one string one string.

        drf-spectacular writes a string that may be empty as a union of two, which some generated
        clients cannot read. The patterns of such fields fit the empty string themselves.
        """
        super()._insert_field_validators(field, schema)  # type: ignore[no-untyped-call]
        if schema.get("oneOf", [None])[-1] == {"type": "string", "maxLength": 0}:
            schema |= schema.pop("oneOf")[0]

    def get_override_parameters(self) -> list[Any]:
        """Return the parameters of the operation: its own, and its preconditions."""
        own: list[Any] = super().get_override_parameters()
        view: Any = self.view
        if self.method == "GET":
            return [*own, IF_NONE_MATCH] if view.has_version else own
        if self.method == "POST" and not view.post_checks_version:
            return own
        return [*own, IF_MATCH]

    def _is_list_of_pages(self) -> bool:
        return any(
            isinstance(parameter, OpenApiParameter) and parameter.name == "after"
            for parameter in self.get_override_parameters()
        )

    def _get_response_headers_for_code(
        self, status_code: str, direction: str = "response"
    ) -> dict[str, Any]:
        own = super()._get_response_headers_for_code(status_code, direction)
        view: Any = self.view
        shared = {
            name: {"$ref": f"#/components/headers/{name}"}
            for name in header_names(
                status_code, is_list=self._is_list_of_pages(), is_file=not view.has_version
            )
        }
        return {**shared, **own}

    def _get_serializer_field_meta(self, field: Any, direction: str) -> dict[str, Any]:
        meta: dict[str, Any] = super()._get_serializer_field_meta(  # type: ignore[no-untyped-call]
            field, direction
        )
        if "example" in getattr(field, "style", {}):
            meta["examples"] = [field.style["example"]]
        return meta

    def _map_basic_serializer(self, serializer: Any, direction: str) -> dict[str, Any]:
        mapped: dict[str, Any] = super()._map_basic_serializer(  # type: ignore[no-untyped-call]
            serializer, direction
        )
        if direction == "response" and mapped.get("properties"):
            fields = force_instance(serializer).fields  # type: ignore[no-untyped-call]
            mapped["required"] = [
                name for name in mapped["properties"] if not fields[name].style.get("is_optional")
            ]
        return mapped


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Documents API keys."""

    target_class = "closient.accounts.authentication.ApiKeyAuthentication"
    name = "ApiKey"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        return {
            "type": "apiKey",
            "in": "header",
            "name": "X-API-Key",
            "description": "A key of an organization (`csb_...`) or of a user (`csu_...`).",
        }


class MemberSessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Documents browser sessions."""

    target_class = "closient.accounts.authentication.MemberSessionAuthentication"
    name = "Session"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        return {
            "type": "apiKey",
            "in": "cookie",
            "name": settings.SESSION_COOKIE_NAME,
            "description": "The session of a logged-in member; writes need the CSRF token too.",
        }
